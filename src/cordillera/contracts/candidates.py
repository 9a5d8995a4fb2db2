"""Candidates: what contracts have refused, looked at as whoever asks may see it, and removed when its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa

from cordillera.catalog.candidates import removal, remove_files
from cordillera.catalog.commits import CommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.requests import CommitRequest
from cordillera.catalog.tables import TableService
from cordillera.context import acting
from cordillera.contracts.checking import RowChecker
from cordillera.errors import CandidateNotFoundError, CommitConflictError, ContractViolationError, NotFoundError
from cordillera.ports.clock import Clock
from cordillera.ports.engine import QueryEngine
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.candidate import Candidate
from cordillera.spec.contract import Contract, RowRule, Violation, parse_contract
from cordillera.spec.row_access import RowView

_AT_ONCE = 100


class CandidateService:
    """Shows candidates and lets them expire.

    Args:
        store: Keeps them.
        tables: Reads their rows.
        commits: Forgets their branches.
        engine: Evaluates rules.
        clock: Time.
    """

    def __init__(
        self, store: MetadataStore, tables: TableService, commits: CommitService, engine: QueryEngine, clock: Clock
    ) -> None:
        self._store, self._tables, self._commits = store, tables, commits
        self._engine, self._clock = engine, clock

    def of(self, target: ResolvedDataset) -> list[Candidate]:
        """Return the candidates of a dataset version, newest first.

        Whoever is shown a part of the rows is told of no violations here: they may be of rows that he is not shown.

        Args:
            target: What was looked up to be read.
        """
        with self._store.read() as tx:
            found = tx.candidates.of(target.version.id)
        return found if target.rows is None else [replace(one, violations=()) for one in found]

    def candidate(self, target: ResolvedDataset, branch: str) -> Candidate:
        """Return a candidate with examples of the rows that break the contract, as whoever asks sees rows.

        What he is not shown counts for nothing: rules on columns that are masked for him are left out, and so are rules
        on a value over many rows, unless he may read them all.

        Args:
            target: What was looked up to be read.
            branch: The candidate's branch.

        Raises:
            CandidateNotFoundError: If there is none.
        """
        with self._store.read() as tx:
            candidate = next((one for one in tx.candidates.of(target.version.id) if one.branch == branch), None)
            if candidate is None:
                raise CandidateNotFoundError(
                    f"{target.name} has no candidate {branch[:130]!r}.",
                    hint=f"List them with: cordillera contract candidates {target.name}.",
                )
            contract = self._contract(tx, candidate)
        rows = {one.rule: one for one in self._rows(target, candidate, contract)}
        whole = target.rows is None
        shown = (rows.get(one.rule) or (one if whole else None) for one in candidate.violations)
        return replace(candidate, violations=tuple(one for one in shown if one is not None))

    def follow_up(self) -> int:
        """Remove the candidates that have expired, with their files; return how many there were."""
        with self._store.read() as tx:
            due = tx.candidates.due(self._clock.now(), _AT_ONCE)
            found = [(one, _target(tx, one)) for one in due]
        for candidate, target in found:
            with acting(operator=True), suppress(CommitConflictError, NotFoundError):  # the next look meets it again
                self._expire(candidate, target)
        return len(found)

    def _expire(self, candidate: Candidate, target: ResolvedDataset) -> None:
        before = self._tables.load(target.version)
        details = {"branch": candidate.branch, "sequence_number": candidate.sequence_number}
        request = CommitRequest(
            updates=removal(before, [candidate.branch]), action="contract.expire_candidate", details=details
        )
        [(after, _)] = self._commits.committed([(target, request)], looked_up_now=True)
        remove_files(self._tables, before, self._tables.load(after.version))

    def _contract(self, tx: Transaction, candidate: Candidate) -> Contract:
        [document] = tx.contracts.page(candidate.dataset_version_id, candidate.contract_revision + 1, 1)
        return parse_contract(document.text)

    def _rows(self, target: ResolvedDataset, candidate: Candidate, contract: Contract) -> Sequence[Violation]:
        """Look up the rows that break rules on single rows, among those that came or changed."""
        metadata = self._tables.load(target.version)
        view = None if target.rows is None else self._tables.view(target.version, target.rows, metadata.schema)
        visible = _visible(view, [field.name for field in metadata.schema.fields])
        broken = {one.rule for one in candidate.violations}
        rules = [one for one in contract.row_rules if one.name in broken and set(one.columns) <= set(visible)]
        changes = self._tables.changes(
            target.name, metadata, candidate.base, candidate.sequence_number, visible, view=view
        )
        if not rules or changes is None:
            return []
        return self._found(target, contract, rules, visible, changes.upserts())

    def _found(
        self,
        target: ResolvedDataset,
        contract: Contract,
        rules: Sequence[RowRule],
        visible: Sequence[str],
        rows: pa.RecordBatchReader,
    ) -> Sequence[Violation]:
        key = [name for name in target.version.key if name in visible]
        checker = RowChecker(self._engine, contract, target.name, key, rules, [])
        with suppress(ContractViolationError):  # that there are such rows is known; which ones is asked
            for _ in checker.inspect(iter(rows)):
                pass
        return checker.found


def _visible(view: RowView | None, columns: Sequence[str]) -> list[str]:
    """Return the columns whose values are shown as they are."""
    return [name for name in columns if view is None or name in view.clear]


def _target(tx: Transaction, candidate: Candidate) -> ResolvedDataset:
    version = tx.dataset_versions.get(candidate.dataset_version_id)
    assert version is not None, "a candidate goes with its dataset version"
    dataset = tx.datasets.get_by_id(version.dataset_id)
    assert dataset is not None, "a dataset version is one of a dataset"
    return ResolvedDataset(dataset, version)
