"""Contracts of dataset versions: kept, and enforced on every write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from uuid import UUID

from cordillera.catalog.consumers import consumers_of, others
from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.contracts.checking import RowChecker, try_rules
from cordillera.contracts.table_rules import TableRules, types_of, unique_key
from cordillera.errors import (
    AlreadyExistsError,
    BreakingChangeError,
    CommitConflictError,
    ContractNotFoundError,
    ContractViolationError,
    InvalidContractError,
    InvalidSqlError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.commit_guard import Change, RowInspector, Verdict
from cordillera.ports.engine import QueryEngine
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.contracts import ContractDocument, KeptPartials
from cordillera.spec.access import Privilege
from cordillera.spec.arrow_types import to_arrow_schema
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.spec.contract import (
    AggregateRule,
    Contract,
    ContractChange,
    Problem,
    RowRule,
    Scope,
    Severity,
    Violation,
    contract_changes,
    costs,
    describe_violations,
    parse_contract,
    schema_problems,
    to_document,
)
from cordillera.spec.counting import counted
from cordillera.spec.merge import Operation
from cordillera.spec.refs import ancestors
from cordillera.spec.snapshot_summary import contract_mark, has_met, rolls_back
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.changes import SnapshotChanges
from cordillera.table.reader import ReadOptions


@dataclass(frozen=True, slots=True)
class ContractInForce:
    """The contract of a dataset version: the document as it was given, what it says, and where the dataset differs.

    ``costs`` tells by rule what checking it grows with.
    """

    document: ContractDocument
    contract: Contract
    problems: tuple[Problem, ...]
    costs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FittingContract:
    """What a document says that a dataset can keep, where the dataset has more than it describes, and what it costs."""

    contract: Contract
    problems: tuple[Problem, ...]
    costs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Revision:
    """A document that was put, what it says, and what it changed."""

    document: ContractDocument
    contract: Contract
    changes: tuple[ContractChange, ...]


class ContractService:
    """Keeps contracts and guards commits with them (``CommitGuard``).

    Args:
        store: Keeps the documents.
        lookup: Knows who may be told of rows that were there.
        tables: Reads tables, for rules about a whole table.
        engine: Evaluates rules.
        clock: Time.
    """

    def __init__(
        self, store: MetadataStore, lookup: Lookup, tables: TableService, engine: QueryEngine, clock: Clock
    ) -> None:
        self._store, self._lookup = store, lookup
        self._tables, self._engine, self._clock = tables, engine, clock
        self._parsed = lru_cache(maxsize=500)(_parse)

    # --- documents -----------------------------------------------------------------------------------------------

    def put(self, target: ResolvedDataset, text: str) -> ContractInForce:
        """Put a contract document in force for a dataset version.

        Raises:
            InvalidContractError: If the document is malformed, or promises what the dataset cannot keep.
            BreakingChangeError: If it takes back what others rely on, who have to be asked first.
        """
        fitting = self.fitting(target, text)
        with self._store.write() as tx:
            _, concerned = self.concerned(tx, target, text)
            if asked := others(tx, self._lookup, concerned):
                raise BreakingChangeError(
                    f"The contract takes back what {counted(len(asked), 'consumer relies', 'consumers rely')} on in "
                    f"{target.name}.",
                    hint=f"Ask them: cordillera contract propose {target.name} FILE --reason TEXT. What it breaks: "
                    f"cordillera contract diff {target.name} FILE.",
                )
            document = self.put_in_force(tx, target, fitting, text, current().principal)
        return ContractInForce(document, fitting.contract, fitting.problems, fitting.costs)

    def concerned(
        self, tx: Transaction, target: ResolvedDataset, text: str
    ) -> tuple[int, Mapping[str, tuple[str, ...]]]:
        """Return the revision in force, and whom a document breaks, with what of theirs; 0 where none is in force."""
        before = tx.contracts.current(target.version.id)
        if before is None:
            return 0, {}
        breaking = [change for change in contract_changes(before.text, text) if change.breaks_consumers]
        if not breaking:
            return before.revision, {}
        columns = {change.column for change in breaking}
        known = None if None in columns else {name for name in columns if name is not None}
        return before.revision, consumers_of(tx, target, known)

    def fitting(self, target: ResolvedDataset, text: str) -> FittingContract:
        """Return what a document says, if the dataset can keep it.

        Raises:
            InvalidContractError: If it is malformed, or the dataset cannot.
        """
        contract = parse_contract(text)
        metadata = self._tables.load(target.version)
        problems = schema_problems(contract, to_arrow_schema(metadata.schema), target.version.key)
        errors = [problem for problem in problems if problem.severity is Severity.ERROR]
        if errors:
            raise InvalidContractError(
                f"The contract does not fit {target.name}: {'; '.join(problem.message for problem in errors)}.",
                hint="Change the document, or evolve the dataset first.",
                details={"problems": [problem.message for problem in errors]},
            )
        try:
            try_rules(self._engine, contract, ReadOptions(metadata.schema).arrow_schema())
        except InvalidSqlError as error:
            raise InvalidContractError(
                f"A rule of the contract cannot be evaluated on {target.name}: {error.message}",
                hint="Compare columns with values of their own type.",
            ) from error
        return FittingContract(contract, tuple(problems), _costs(contract, metadata))

    def put_in_force(
        self, tx: Transaction, target: ResolvedDataset, fitting: FittingContract, text: str, by: str
    ) -> ContractDocument:
        """Put a document in force, of which nobody has to be asked any more; open proposals are void then."""
        context, now = current(), self._clock.now()
        before = tx.contracts.current(target.version.id)
        document = ContractDocument(target.version.id, before.revision + 1 if before else 1, text, by, now)
        try:
            tx.contracts.insert(document)
        except AlreadyExistsError as error:
            raise CommitConflictError(
                f"Somebody else put a contract for {target.name} at the same time.", hint="Look at it, then retry."
            ) from error
        tx.contract_proposals.void(target.version.id, context.principal, now, "The contract has changed.")
        tx.service_levels.watch(target.version.id, now)
        trail = Trail(tx, now, context)
        details = {"revision": document.revision, "document_version": fitting.contract.document_version}
        trail.audit("contract.put", "dataset", target.name, details)
        told = {"revision": document.revision, **_ends(fitting.contract)}
        trail.dataset_changed(target.dataset, target.version, "contract", told)
        return document

    def get(self, target: ResolvedDataset) -> ContractInForce:
        """Return the contract in force, or raise ``ContractNotFoundError``."""
        document = self._document(target.version.id)
        if document is None:
            raise ContractNotFoundError(
                f"{target.name} has no contract.",
                hint=f"Begin one with: cordillera contract draft {target.name} > contract.yaml.",
            )
        contract = self._parsed(document.text)
        metadata = self._tables.load(target.version)
        problems = schema_problems(contract, to_arrow_schema(metadata.schema), target.version.key)
        return ContractInForce(document, contract, tuple(problems), _costs(contract, metadata))

    def diff(self, target: ResolvedDataset, text: str) -> list[ContractChange]:
        """Return what a document would change about the contract in force, breaking changes first.

        Raises:
            ContractNotFoundError: If none is in force.
            InvalidContractError: If the document is malformed.
        """
        return contract_changes(self.get(target).document.text, text)

    def revisions(self, target: ResolvedDataset, before: int | None = None, limit: int = 100) -> list[Revision]:
        """Return a page of the documents that were put, newest first, each with what it changed."""
        with self._store.read() as tx:
            found = tx.contracts.page(target.version.id, before, limit + 1)
        earlier = [*(one.text for one in found[1:]), None]
        return [
            Revision(one, self._parsed(one.text), tuple(contract_changes(was, one.text)) if was else ())
            for one, was in zip(found[:limit], earlier, strict=False)
        ]

    def draft(self, target: ResolvedDataset) -> str:
        """Return an ODCS document that describes a dataset as it is, to begin a contract from."""
        schema = to_arrow_schema(self._tables.load(target.version).schema)
        return to_document(
            schema,
            target.version.key,
            contract_id=str(target.version.id),
            name=target.dataset.name,
            owner=target.dataset.owner,
            description=target.dataset.description,
        )

    # --- guarding commits ----------------------------------------------------------------------------------------

    def inspector(
        self,
        dataset: Dataset,
        version: DatasetVersion,
        operation: Operation,
        columns: Sequence[str],
        seen: Sequence[str] = (),
    ) -> RowInspector | None:
        """Return what checks the rows of a write; the work grows with the write, not with the table."""
        if not version.contract_revision or operation is Operation.DELETE:
            return None
        contract = self._contract(version.id)
        if contract is None:
            return None
        given = set(columns)
        row_rules = [rule for rule in contract.row_rules if given.issuperset(rule.columns)]
        batch_rules = [
            rule for rule in contract.aggregate_rules if rule.scope is Scope.BATCH and given.issuperset(rule.columns)
        ]
        if seen:
            row_rules, batch_rules = [rule for rule in row_rules if not set(seen).issuperset(rule.columns)], []
        if not row_rules and not batch_rules:
            return None
        return RowChecker(self._engine, contract, dataset.full_name, version.key, row_rules, batch_rules).inspect

    def check(self, change: Change) -> Verdict:
        """Say which rules a commit breaks, and whether it is refused for that; a schema that breaks it is raised."""
        unconcerned = change.keeps_columns_and_rows or not change.version.contract_revision
        document = None if unconcerned else self._document(change.version.id)
        if document is None:
            return Verdict()
        contract = self._parsed(document.text)
        if change.after.current_schema_id != change.before.current_schema_id:
            self._check_schema(change, contract)
        try:
            found, partials = self._table_rules(change, contract)
            found += self._broken_by_change(change, contract, contract_mark(change.version.id, document.revision))
        except InvalidSqlError:
            if self._reads_all(change.dataset):
                raise
            raise _untold(change.dataset) from None
        refusal = self._refusal(change.dataset, found) if any(one.severity is Severity.ERROR for one in found) else None
        return Verdict(tuple(found), refusal, document.revision, partials)

    def _refusal(self, dataset: Dataset, found: Sequence[Violation]) -> ContractViolationError:
        """Return the error for a commit. It tells of values only to whoever may read all of a dataset: others could
        make rules to ask by.
        """
        if not self._reads_all(dataset):
            return _untold(dataset)
        return describe_violations(dataset.full_name, found, "Readers see nothing of it.")

    def _reads_all(self, dataset: Dataset) -> bool:
        with self._store.read() as tx:
            return Privilege.READ in self._lookup.held(tx, dataset)

    def _table_rules(self, change: Change, contract: Contract) -> tuple[list[Violation], KeptPartials | None]:
        """Return the rules on the whole table that it would break, and what to keep for their next check."""
        rules = [rule for rule in contract.aggregate_rules if rule.scope is Scope.TABLE]
        if not rules or change.after.current_snapshot_id == change.before.current_snapshot_id:
            return [], None
        with self._store.read() as tx:
            kept = tx.contracts.partials(change.version.id)
        return TableRules(self._tables.io, self._engine, change, contract, kept).check(rules)

    def _broken_by_change(self, change: Change, contract: Contract, mark: str) -> list[Violation]:
        """Return the rules that rows break which came or changed, as they are stored, whoever wrote them."""
        if change.after.current_snapshot_id == change.before.current_snapshot_id:
            return []
        unseen = [one for one in _published(change) if not has_met(one, mark)]
        return self._check_rows(change, contract, _rules_to_check(change, contract, unseen))

    def _check_rows(self, change: Change, contract: Contract, rules: _Rules) -> list[Violation]:
        """Check the rows that came or changed; the work grows with them."""
        row_rules, batch_rules = rules
        before, after, name = change.before.current_snapshot, change.after.current_snapshot, change.dataset.full_name
        if after is None or not (row_rules or batch_rules):
            return []
        columns = [field.name for field in change.after.schema.fields]
        changes = SnapshotChanges(self._tables.io, change.after, before, after, columns)
        checker = RowChecker(self._engine, contract, name, change.version.key, row_rules, batch_rules)
        with suppress(ContractViolationError):  # whether it is refused is decided when all rules have been looked at
            for _ in checker.inspect(iter(changes.upserts())):
                pass
        return checker.found

    def _check_schema(self, change: Change, contract: Contract) -> None:
        schema = to_arrow_schema(change.after.schema)
        broken = [
            problem.message
            for problem in schema_problems(contract, schema, change.after.semantics.key)
            if problem.severity is Severity.ERROR
        ]
        if broken:
            raise InvalidContractError(
                f"The new schema of {change.dataset.full_name} breaks its contract: {'; '.join(broken)}.",
                hint="Put a contract that allows the change first, or create a new dataset version.",
                details={"problems": broken},
            )

    def _contract(self, version_id: UUID) -> Contract | None:
        document = self._document(version_id)
        return self._parsed(document.text) if document else None

    def _document(self, version_id: UUID) -> ContractDocument | None:
        with self._store.read() as tx:
            return tx.contracts.current(version_id)


def _ends(contract: Contract) -> dict[str, str]:
    """Return when the promises of a contract end, for those who have to be off the dataset version by then."""
    level = contract.service_level
    ends = {"end_of_support": level.end, "end_of_life": level.end_of_life}
    return {name: end.isoformat() for name, end in ends.items() if end is not None}


def _untold(dataset: Dataset) -> ContractViolationError:
    return ContractViolationError(
        f"The commit to {dataset.full_name} breaks its contract. Readers see nothing of it.",
        hint=f"By which rows is told to those who may read all of it; ask its owner, {dataset.owner}.",
        details={"dataset": dataset.full_name, "violations": []},
    )


_Rules: TypeAlias = tuple[list[RowRule], list[AggregateRule]]


def _rules_to_check(change: Change, contract: Contract, unseen: Sequence[IcebergSnapshot]) -> _Rules:
    """Return the rules that rows are held to on their way to readers.

    Those that have not met the contract, of other engines or from before it was in force, are held to all of them, but
    what is rolled back is no write. Rows that have met it broke no error, and are looked at again for warnings, if
    there are any such rules.
    """
    given = {field.name for field in change.after.schema.fields}
    written = not all(map(rolls_back, unseen))
    row_rules = [
        rule
        for rule in contract.row_rules
        if given.issuperset(rule.columns) and (unseen or rule.severity is Severity.WARNING)
    ]
    batch_rules = [
        rule
        for rule in contract.aggregate_rules
        if rule.scope is Scope.BATCH and (written or rule.severity is Severity.WARNING)
    ]
    return row_rules, batch_rules


def _published(change: Change) -> Iterator[IcebergSnapshot]:
    """Yield the snapshots that readers of ``main`` get to see: new ones, and those of a branch that is published."""
    for snapshot in ancestors(change.after, change.after.current_snapshot_id):
        if snapshot.snapshot_id == change.before.current_snapshot_id:
            break
        yield snapshot


def _costs(contract: Contract, metadata: TableMetadata) -> dict[str, str]:
    return costs(contract, types_of(metadata), unique_key(metadata))


def _parse(text: str) -> Contract:
    return parse_contract(text)
