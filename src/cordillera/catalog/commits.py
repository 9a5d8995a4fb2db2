"""Commits: the one way by which anything about a table changes.

A commit is checked by the guards, then made visible by ONE database transaction: the metadata pointers of all datasets
it concerns move by compare-and-swap, and snapshots, manifests, completions, audit entries, events and idempotency
receipts are written with them, or nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

import stamina

from cordillera.catalog.candidates import candidate_of, keeping, refused, remove_files
from cordillera.catalog.commit_plan import CommitPlan, CommitStep
from cordillera.catalog.commit_records import CommitRecords
from cordillera.catalog.leases import check_lease
from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.requests import CommitRequest, CommitResult
from cordillera.catalog.tables import MetadataFile, TableService, columns_of
from cordillera.catalog.turns import Turns, check_turn
from cordillera.context import RequestContext, current
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CommitConflictError,
    CommitInDoubtError,
    ContractViolationError,
    CordilleraError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    LeaseLostError,
    LifecycleError,
    NotAllowedError,
    NotFoundError,
    StorageFullError,
    StorageUnavailableError,
)
from cordillera.metrics import COMMIT_SECONDS, COMMITS, CONFLICTS
from cordillera.ports.clock import Clock
from cordillera.ports.commit_guard import Change, CommitGuard, Verdict
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.catalog import CommitReceipt
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import DatasetVersion, Lifecycle
from cordillera.spec.commit import RemoveSnapshots, apply
from cordillera.spec.requirements import check
from cordillera.spec.table_metadata import TableMetadata

__all__ = ["REFUSALS", "CommitRequest", "CommitResult", "CommitService"]

_CHANGING = frozenset({Privilege.WRITE, Privilege.ALTER, Privilege.ADMINISTER})
_MOST = (Privilege.WRITE, Privilege.ALTER)
_Outcome: TypeAlias = tuple[ResolvedDataset, CommitResult]
REFUSALS = (
    CommitConflictError,
    LeaseLostError,
    InvalidInputError,
    NotFoundError,
    NotAllowedError,
    ContractViolationError,
    StorageFullError,
    StorageUnavailableError,
    AccessDeniedError,
)
"""Errors that say for certain that a commit did not happen, so that what was written for it may be removed. After any
other, an interruption or ``CommitInDoubtError``, it may have happened all the same."""


class CommitService:
    """Commits changes to dataset versions.

    Args:
        store: The metadata store.
        lookup: Finds what whoever commits may.
        tables: Loads and writes table metadata.
        clock: Time and ids.
        guards: Who may refuse a commit.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        tables: TableService,
        clock: Clock,
        guards: Sequence[CommitGuard] = (),
    ) -> None:
        self._store, self._lookup, self._tables = store, lookup, tables
        self._clock, self._guards = clock, tuple(guards)
        self._turns = Turns(store, clock)

    def attempts(self, *version_ids: UUID) -> AbstractContextManager[Iterator[stamina.Attempt]]:
        """Return attempts to commit to dataset versions together, until one does not raise ``CommitConflictError``."""
        return self._turns.attempts(*version_ids)

    def commit(self, target: ResolvedDataset, request: CommitRequest) -> CommitResult:
        """Check a commit and make it visible.

        Raises:
            CommitConflictError: If the table changed in a way the requirements forbid, or another writer was faster.
            AccessDeniedError: If whoever commits lacks, by now, a privilege that the change needs.
            LeaseLostError: If it is made under a lease that has ended.
            IdempotencyKeyReusedError: If the key stands for a different request.
            LifecycleError: If the dataset version is retired.
            ContractViolationError, IncompatibleSchemaError: If a guard refuses.
        """
        return self.commit_all([(target, request)])[0]

    def commit_all(self, parts: Sequence[tuple[ResolvedDataset, CommitRequest]]) -> list[CommitResult]:
        """Check commits to one or several dataset versions and make them visible together, or none of them.

        Args:
            parts: What to commit to what. Requests to one dataset version are applied in their order, each on top of
                the one before.

        Raises:
            CordilleraError: As for ``commit``, for any of them.
        """
        return [result for _, result in self.committed(parts)]

    @COMMIT_SECONDS.time()
    @CONFLICTS.count_exceptions(CommitConflictError)
    def committed(
        self, parts: Sequence[tuple[ResolvedDataset, CommitRequest]], *, looked_up_now: bool = False
    ) -> list[_Outcome]:
        """Do what ``commit_all`` does, and return with each result the dataset as the commit left it.

        Args:
            parts: See ``commit_all``.
            looked_up_now: Whether each dataset was looked up, with the privileges that its change needs, by this very
                call: then that is not done again, unless a request may be a repetition.
        """
        replayed: list[CommitResult] = []
        by_version = {target.version.id: target for target, _ in parts}
        if not looked_up_now or any(request.idempotency_key is not None for _, request in parts):
            with self._store.read() as tx:
                replayed = self.replay_all(tx, [(target.version, request) for target, request in parts])
                by_version = {one: self._lookup.present(tx, _changing(of)) for one, of in by_version.items()}
        if replayed:
            return [
                (by_version[target.version.id], result) for (target, _), result in zip(parts, replayed, strict=True)
            ]
        for target in by_version.values():
            check_writable(target)
        plans = [
            self._plan(target, [request for other, request in parts if other.version.id == version_id])
            for version_id, target in sorted(by_version.items())  # always in one order: no two transactions deadlock
        ]
        results = self._publish_all([self._guarded(plan) for plan in plans])
        for _, request in parts:
            COMMITS.labels(request.manifest.operation if request.manifest else "metadata").inc()
        return [results[target.version.id].pop(0) for target, _ in parts]

    def _plan(self, target: ResolvedDataset, requests: Sequence[CommitRequest]) -> CommitPlan:
        location, metadata = target.version.metadata_location, self._tables.load(target.version)
        now_ms = int(self._clock.now().timestamp() * 1000)
        steps = []
        for request in requests:
            check(request.requirements, metadata)
            after = apply(request.updates, metadata, now_ms) if request.updates else metadata
            _check_forward(target.name, metadata, after)
            steps.append(CommitStep(request, metadata, after))
            metadata = after
        return CommitPlan(target, MetadataFile(location, steps[0].before), tuple(steps))

    def _guarded(self, plan: CommitPlan) -> CommitPlan:
        """Return a plan that no guard refuses, with what they note about it."""
        if plan.keeps_rows:
            return plan
        change = Change(plan.target.dataset, plan.target.version, plan.before.metadata, plan.steps[-1].after)
        verdicts = [guard.check(change) for guard in self._guards]
        for verdict in verdicts:
            if verdict.refusal is not None:
                raise self._kept(plan, verdict) or verdict.refusal
        noted = [violation for verdict in verdicts for violation in verdict.violations]
        plan = plan.with_warnings(noted) if noted else plan
        kept = next((verdict.partials for verdict in verdicts if verdict.partials is not None), None)
        return plan if kept is None else plan.changed(partials=kept)

    def _kept(self, plan: CommitPlan, verdict: Verdict) -> ContractViolationError | None:
        """Keep what a guard refuses beside what readers see; return the error that says where, or None if it cannot be.

        Raises:
            CommitConflictError: If another writer was faster: the verdict was about a table that is no more.
        """
        target, before, after = plan.target, plan.before.metadata, plan.steps[-1].after
        candidate = candidate_of(target, before, after, verdict, current().principal, self._clock.now())
        if candidate is None or verdict.refusal is None:
            return None
        with self._store.read() as tx:
            present = tx.candidates.of(target.version.id)
        requests = keeping(candidate, present, before, after, [step.request for step in plan.steps])
        try:
            kept = self._plan(target, requests)
            self._publish_all([kept])
        except (StorageFullError, StorageUnavailableError):
            return None
        remove_files(self._tables, before, kept.steps[-1].after)
        named = target.name if target.version.lifecycle is Lifecycle.ACTIVE else target.pinned_name
        return refused(named, candidate, verdict.refusal)

    def _publish_all(self, plans: Sequence[CommitPlan]) -> dict[UUID, list[_Outcome]]:
        """Write the metadata files and make them current, in one transaction."""
        written: dict[UUID, MetadataFile] = {}
        outdated: list[str] = []
        storages = [step.request.storage for plan in plans for step in plan.steps if step.request.storage is not None]
        storages = storages or [self._tables.io.storage.together()]
        try:
            for plan in plans:
                if plan.changes_table:
                    file, old = self._tables.write_successor(plan.before, plan.steps[-1].after, storages[0])
                    written[plan.target.version.id] = file
                    outdated += old
            for storage in storages:
                storage.settle()
            results = self._publish_once(plans, written)
        except REFUSALS:
            for file in written.values():
                self._tables.forget_metadata(file.location)
            raise
        with suppress(CordilleraError):  # the commit has happened; a file that stays is one for the doctor to find
            self._tables.io.storage.delete(self._unheld(outdated, plans))
        return results

    def _unheld(self, outdated: Sequence[str], plans: Sequence[CommitPlan]) -> list[str]:
        """Return the metadata files that no target points at; those are removed when it points elsewhere."""
        if not outdated:
            return []
        with self._store.read() as tx:
            held = [one for plan in plans for one in tx.pointers.held(plan.target.version.id)]
        pointed_at = {one.metadata_location for one in held}
        return [location for location in outdated if location not in pointed_at]

    def replay(self, tx: Transaction, version: DatasetVersion, request: CommitRequest) -> CommitResult | None:
        """Return what the same request did when it was committed before, or None."""
        if request.idempotency_key is None:
            return None
        receipt = tx.snapshots.receipt(version.id, request.idempotency_key)
        if receipt is None:
            return None
        check_request(receipt, request.idempotency_key, request.request_hash)
        completion = receipt.result.get("completed")
        return CommitResult(
            sequence_number=receipt.result["sequence_number"],
            snapshot_committed=receipt.sequence_number is not None,
            completion=tx.completions.latest(version.id, completion) if completion else None,
            replayed=True,
            **receipt.result["rows"],
        )

    def replay_all(self, tx: Transaction, parts: Sequence[tuple[DatasetVersion, CommitRequest]]) -> list[CommitResult]:
        """Return what the same requests did when they were committed together before; nothing if they were not.

        Raises:
            IdempotencyKeyReusedError: If only some of them were.
        """
        replayed = [self.replay(tx, version, request) for version, request in parts]
        return _all_replayed(replayed) if any(replayed) else []

    # --- the transaction -----------------------------------------------------------------------------------------

    def _publish_once(
        self, plans: Sequence[CommitPlan], written: Mapping[UUID, MetadataFile]
    ) -> dict[UUID, list[_Outcome]]:
        names = ", ".join(plan.target.name for plan in plans)
        try:
            return self._publish(plans, written)
        except CommitInDoubtError as error:
            raise in_doubt(names, plans[0].steps[0].request.idempotency_key, error) from error
        except AlreadyExistsError as error:
            raise CommitConflictError(
                f"Another writer committed to {names} first: {error.message}", hint="Read it again and retry."
            ) from error

    def _publish(self, plans: Sequence[CommitPlan], written: Mapping[UUID, MetadataFile]) -> dict[UUID, list[_Outcome]]:
        context, now = current(), self._clock.now()
        by_version = {plan.target.version.id: plan for plan in plans}
        with self._store.write_together() as tx:
            check_lease(tx, now)
            states = {one: plan.states(written.get(one), now) for one, plan in by_version.items()}
            for one in written:
                _check_pointed_at(tx, by_version[one])
                _swap(tx, by_version[one], states[one][-1], context)
            return {one: _record(tx, plan, states[one], context) for one, plan in by_version.items()}


def check_request(receipt: CommitReceipt, key: str, request_hash: str) -> None:
    """Refuse to take a request for the repetition of another; one without a hash is compared later.

    Raises:
        IdempotencyKeyReusedError: If they differ.
    """
    if request_hash and receipt.request_hash != request_hash:
        raise IdempotencyKeyReusedError(
            f"The idempotency key {key!r} was used for a different write.",
            hint="Use a fresh key for every write; repeat a key only with the same rows.",
        )


def _all_replayed(results: Sequence[CommitResult | None]) -> list[CommitResult]:
    found = [result for result in results if result is not None]
    if len(found) < len(results):
        raise IdempotencyKeyReusedError(
            "The idempotency key was used for another commit, to some of these datasets only.",
            hint="Use a fresh key for every transaction; repeat a key only with the same writes.",
        )
    return found


def in_doubt(names: str, key: str | None, error: CommitInDoubtError) -> CommitInDoubtError:
    """Return the error that says what may have been committed, and how to find out."""
    hint = (
        f"Repeat it under the same idempotency key, {key!r}: what was done is not done again."
        if key
        else "See the newest snapshots before you repeat it; under an idempotency key it could be repeated unseen."
    )
    return CommitInDoubtError(f"It is not known whether the commit to {names} was done. {error.message}", hint=hint)


def _swap(tx: Transaction, plan: CommitPlan, version: DatasetVersion, context: RequestContext) -> None:
    """Move a dataset version's pointer, unless another has moved it, has put a contract in force, or has the turn.

    All of that is one condition of the statement: to ask for the turn first would take PostgreSQL a round trip more.
    """
    before, after = plan.before.metadata, plan.steps[-1].after
    columns = columns_of(after.schema) if after.current_schema_id != before.current_schema_id else None
    expected = plan.before.location
    if not tx.dataset_versions.swap(version, columns, expected_location=expected, writer=context.turn):
        check_turn(tx, version.id, plan.target.name, version.updated_at)
        raise CommitConflictError(
            f"Another writer committed to {plan.target.name} first, or its contract has changed.",
            hint="Read it again and retry.",
        )


def _record(
    tx: Transaction, plan: CommitPlan, states: Sequence[DatasetVersion], context: RequestContext
) -> list[_Outcome]:
    """Write what the steps of a plan leave beside the pointer, each with the dataset version as it is after it."""
    outcomes = []
    for step, version in zip(plan.steps, states, strict=True):
        now = version.updated_at
        records = CommitRecords(tx, plan.target, version, step.request, step.before, step.after, context, now)
        outcomes.append((replace(plan.target, version=version), records.write()))
    return outcomes


def _check_pointed_at(tx: Transaction, plan: CommitPlan) -> None:
    """Refuse to forget a snapshot that a target still shows to its readers."""
    if not any(isinstance(update, RemoveSnapshots) for step in plan.steps for update in step.request.updates):
        return
    kept = {snapshot.sequence_number for snapshot in plan.steps[-1].after.snapshots}
    gone = {snapshot.sequence_number for snapshot in plan.before.metadata.snapshots} - kept
    for held in tx.pointers.held(plan.target.version.id):
        if held.sequence_number in gone:
            raise NotAllowedError(
                f"Snapshot {held.sequence_number} of {plan.target.name} cannot be forgotten: a subscription's target "
                "points at it.",
                hint="Whoever administers the dataset sees its subscriptions: resume the one that is behind, or end it "
                "with: cordillera subscription revoke ID --delete-rows.",
            )


def _check_forward(name: str, before: TableMetadata, after: TableMetadata) -> None:
    """Refuse to point readers at an older snapshot: cursors and completions rely on numbers that rise."""
    old, new = before.current_snapshot, after.current_snapshot
    if old is not None and (new is None or new.sequence_number < old.sequence_number):
        raise NotAllowedError(
            f"{name} is at snapshot {old.sequence_number} and cannot go back to an earlier one as it is.",
            hint="Use rollback, which commits the earlier snapshot's files as a new snapshot.",
        )


def _changing(target: ResolvedDataset) -> ResolvedDataset:
    """Return a dataset version as one that is about to change, even if nobody said so when it was looked up."""
    return target if _CHANGING.intersection(target.needed) else replace(target, needed=_MOST)


def check_writable(target: ResolvedDataset) -> None:
    """Refuse to change a dataset version that is retired.

    Raises:
        LifecycleError: If it is.
    """
    if target.version.lifecycle is Lifecycle.RETIRED:
        raise LifecycleError(
            f"Dataset version {target.version.number} of {target.name} is retired and takes no more changes.",
            hint="Write to its active dataset version.",
        )
