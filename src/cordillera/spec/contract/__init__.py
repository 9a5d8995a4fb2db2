"""Data contracts: reading Open Data Contract Standard documents and turning what they promise into checks.

parse_contract      document → Contract: columns, rules, service level, owner
schema_problems     contract against a dataset's schema and key
to_arrow_schema     the schema of a dataset made from a contract; key_of, partition_columns_of
count_sql           one pass over the rows for all row rules; examples_sql, values_sql
row_violation       what is said about a broken rule; aggregate_violation, describe_violations
lint_contract       all that is wrong in a document, with lines; or what of it is not enforced
costs               what checking each rule grows with
contract_changes    what differs between two documents, and whom it breaks
to_document         a document to begin from, for a dataset without one
"""

from cordillera.spec.contract.changes import Compatibility, ContractChange, Party
from cordillera.spec.contract.check import (
    MAX_EXAMPLES,
    Violation,
    aggregate_violation,
    count_sql,
    describe_violations,
    examples_sql,
    row_violation,
    values_sql,
)
from cordillera.spec.contract.compare import Problem, ProblemKind, schema_problems
from cordillera.spec.contract.diff import contract_changes
from cordillera.spec.contract.generate import to_document
from cordillera.spec.contract.lint import ContractCheck, LintFinding, check_contract, lint_contract
from cordillera.spec.contract.model import (
    AggregateRule,
    Availability,
    Column,
    Comparison,
    Contract,
    Period,
    PeriodUnit,
    RowRule,
    Scope,
    ServiceLevel,
    Severity,
    SupportChannel,
    TeamMember,
    TypeOptions,
    Unenforced,
    end_moment,
    key_of,
    partition_columns_of,
)
from cordillera.spec.contract.parse import parse_contract
from cordillera.spec.contract.partials import costs, stated_types
from cordillera.spec.contract.types import to_arrow_schema

__all__ = [
    "MAX_EXAMPLES",
    "AggregateRule",
    "Availability",
    "Column",
    "Comparison",
    "Compatibility",
    "Contract",
    "ContractChange",
    "ContractCheck",
    "LintFinding",
    "Party",
    "Period",
    "PeriodUnit",
    "Problem",
    "ProblemKind",
    "RowRule",
    "Scope",
    "ServiceLevel",
    "Severity",
    "SupportChannel",
    "TeamMember",
    "TypeOptions",
    "Unenforced",
    "Violation",
    "aggregate_violation",
    "check_contract",
    "contract_changes",
    "costs",
    "count_sql",
    "describe_violations",
    "end_moment",
    "examples_sql",
    "key_of",
    "lint_contract",
    "parse_contract",
    "partition_columns_of",
    "row_violation",
    "schema_problems",
    "stated_types",
    "to_arrow_schema",
    "to_document",
    "values_sql",
]
