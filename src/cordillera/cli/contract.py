"""``cordillera contract``: what a dataset promises, as an Open Data Contract Standard document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import Place, command
from cordillera.cli.options import DEFAULT_LIMIT, DatasetName, Everything, Limit, read_text
from cordillera.cli.output import Part, View, number, show, show_list, show_outcome, show_text
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce, warn
from cordillera.errors import BreakingChangeError, InvalidContractError
from cordillera.spec.counting import counted

if TYPE_CHECKING:
    from cordillera.client.contract_backend import ContractDetails, ContractRevision
    from cordillera.spec.contract import Contract, LintFinding

app = typer.Typer(
    name="contract", no_args_is_help=True, help="What a dataset promises: an ODCS document, enforced on every write."
)
ContractFile = Annotated[Path, typer.Argument(metavar="FILE", help="The ODCS document, YAML or JSON; - for stdin.")]
_Side = Annotated[str, typer.Argument(help="An ODCS document (- for stdin), or a dataset, for its contract in force.")]
_VIEW: View = {
    "dataset": "dataset",
    "revision": "revision",
    "document_version": "document_version",
    "status": "status",
    "owner": "owner",
    "rules": "rules",
    "put_by": "put_by",
    "put_at": "put_at",
}
_CHECKED: View = {
    "name": "contract.name",
    "document_version": "contract.document_version",
    "status": "contract.status",
    "owner": "contract.owner",
    "object": "contract.object_name",
    "description": "contract.description",
}
_COLUMNS: View = {"column": "name", "type": "logical_type", "required": "required", "description": "description"}
_RULES: View = {"rule": "name", "severity": "severity", "description": "description"}
_CHANGES: View = {
    "compatibility": "compatibility",
    "breaks": "breaks",
    "element": "element",
    "change": "message",
    "why": "why",
}
_REVISIONS: View = {
    "revision": "revision",
    "document_version": "document_version",
    "put_by": "put_by",
    "put_at": "put_at",
    "changes": lambda revision: [change.message for change in revision.changes],
}
_SERVICE_LEVEL: View = {
    "dataset": "dataset",
    "state": "freshness.state",
    "since": "since",
    "promise": "freshness.promise",
    "newest_partition": lambda status: status.freshness.newest and status.freshness.newest.partition,
    "waits_for": "freshness.due_partition",
    "due_at": "freshness.due_at",
    "likely_at": lambda status: status.prediction and status.prediction.at,
    "summary": "summary",
}
_FINDINGS: View = {"line": number("line"), "path": "path", "severity": "severity", "message": "message", "hint": "hint"}


@dataclass(frozen=True, slots=True)
class _Checked:
    """A contract as a document states it, with what is not enforced, and what each rule grows with."""

    contract: Contract
    findings: Sequence[LintFinding]
    costs: Mapping[str, str]


@command(app, "put", example="cordillera contract put sales.orders orders.odcs.yaml")
def put(name: DatasetName, file: ContractFile) -> None:
    """Put a contract in force. From then on a write that breaks it is refused."""
    text = read_text(file)
    with open_lake() as lake:
        details = lake.backend.put_contract(name, text)
    show_outcome(f"Revision {details.revision} of the contract of {name} is in force.", details, _VIEW)
    _remark(details)


@command(app, "show", example="cordillera contract show sales.orders > orders.odcs.yaml")
def show_contract(name: DatasetName) -> None:
    """Show the contract in force: the document on stdout, remarks on stderr."""
    with open_lake() as lake:
        details = lake.backend.contract(name)
    announce(f"Revision {details.revision}, put by {details.put_by} at {details.put_at}.")
    _remark(details)
    show_text(details.text, details)


def _remark(details: ContractDetails) -> None:
    for problem in details.problems:
        warn(problem)
    for item in details.unenforced:
        warn(f"Not enforced: {item}")
    _remark_costs(details.costs)


def _remark_costs(costs: Mapping[str, str]) -> None:
    for rule, cost in costs.items():
        if cost.startswith("the table"):
            warn(f"At every commit, {rule} reads {cost}.")


@command(app, "draft", example="cordillera contract draft sales.orders > orders.odcs.yaml")
def draft(name: DatasetName) -> None:
    """Write a document that describes a dataset as it is, to begin a contract from."""
    with open_lake() as lake:
        text = lake.backend.draft_contract(name)
    show_text(text, {"dataset": name, "text": text})


@command(app, "check", example="cordillera contract check orders.odcs.yaml", place=Place.NOWHERE)
def check(file: ContractFile) -> None:
    """Say all that is wrong with a contract, by line, or what would be enforced; it is not put in force."""
    from cordillera.spec.contract import check_contract, parse_contract

    text = read_text(file)
    found = check_contract(text)
    findings = found.findings
    if found.wrong:
        for finding in findings[1:]:
            warn(f"{finding.message} {finding.hint}".rstrip())
        raise InvalidContractError(
            f"The contract {file} has {counted(len(findings), 'error')}: {findings[0].message}",
            hint=findings[0].hint,
            details={"findings": [{"line": one.line, "path": one.path, "message": one.message} for one in findings]},
        )
    contract = parse_contract(text)
    rules = [*contract.row_rules, *contract.aggregate_rules]
    rules_view: View = {**_RULES, "grows_with": lambda rule: found.costs[rule.name]}
    parts = [Part("Columns", contract.columns, _COLUMNS), Part("Rules", rules, rules_view)]
    parts.append(Part("Not enforced", findings, _FINDINGS))
    announce(f"The contract is valid: {counted(len(contract.columns), 'column')}, {counted(len(rules), 'rule')}.")
    _remark_costs(found.costs)
    show(_Checked(contract, findings, found.costs), _CHECKED, parts)


@command(app, "diff", example="cordillera contract diff sales.orders orders.odcs.yaml")
def diff(old: _Side, new: _Side) -> None:
    """Tell what differs between two contracts, and whom it breaks; the exit code is 4 where it breaks consumers."""
    from cordillera.spec.contract import contract_changes

    changes = contract_changes(_document(old), _document(new))
    show_list(changes, _CHANGES, none="The contracts promise the same.")
    if breaking := sum(change.breaks_consumers for change in changes):
        raise BreakingChangeError(
            f"{counted(breaking, 'change takes', 'changes take')} back what consumers of {old} were promised.",
            hint="Keep the promise, or make a new dataset version for the change.",
        )


def _document(side: str) -> str:
    """Return the document a side of a comparison means: a file where there is one, else a dataset's."""
    if side == "-" or Path(side).exists() or "/" in side:
        return read_text(Path(side))
    with open_lake() as lake:
        return lake.backend.contract(side).text


@command(app, "history", example="cordillera contract history sales.orders")
def history(name: DatasetName, limit: Limit = DEFAULT_LIMIT, everything: Everything = False) -> None:
    """List the contracts a dataset has had, newest first, each with what it changed."""
    with open_lake() as lake:

        def fetch(before: int | None, size: int) -> list[ContractRevision]:
            return lake.backend.contract_revisions(name, before, size)

        found = paged(fetch, None, lambda revision: revision.revision, limit=limit, everything=everything)
        show_list(found, _REVISIONS, none=f"{name} has no contract.")


@command(app, "sla", example="cordillera contract sla sales.orders")
def sla(name: DatasetName) -> None:
    """Show how a dataset stands to its promises about time, and when its next partition is likely to be complete."""
    with open_lake() as lake:
        status = lake.backend.service_level(name)
    show(status, _SERVICE_LEVEL)
