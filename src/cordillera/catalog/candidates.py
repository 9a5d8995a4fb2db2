"""Keeping what a contract refuses: a commit that readers never see, on a branch beside ``main``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.requests import CommitRequest
from cordillera.catalog.tables import TableService
from cordillera.errors import ContractViolationError, CordilleraError
from cordillera.ports.commit_guard import Verdict
from cordillera.spec.candidate import KEPT_FOR, Candidate, free_name, retention, surplus
from cordillera.spec.commit import (
    AddPartitionSpec,
    AddSchema,
    AddSnapshot,
    RemoveProperties,
    RemoveSnapshotRef,
    RemoveSnapshots,
    SetSnapshotRef,
    Update,
)
from cordillera.spec.contract import Violation
from cordillera.spec.counting import counted
from cordillera.spec.merge import TOMBSTONES_PROPERTY
from cordillera.spec.metadata_updates import AddSortOrder
from cordillera.spec.refs import ancestors
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.branching import tombstones_update
from cordillera.table.reachable import snapshot_files
from cordillera.table.tombstones import tombstones_as_of

_CARRIED = (AddSnapshot, AddSchema, AddPartitionSpec, AddSortOrder)
"""What a snapshot needs of a commit to be read; nothing of it changes what readers of ``main`` see."""


def candidate_of(
    target: ResolvedDataset,
    before: TableMetadata,
    after: TableMetadata,
    verdict: Verdict,
    by: str,
    now: datetime,
) -> Candidate | None:
    """Return what to keep of a refused commit; None if it has no snapshot of its own, as one that publishes a branch.

    Args:
        target: What was to be committed to.
        before, after: The table without the commit, and with it.
        verdict: Why it is refused.
        by, now: Who wanted to commit, and when.
    """
    made = after.current_snapshot
    if made is None or before.snapshot_by_id(made.snapshot_id) is not None:
        return None
    if after.format_version != before.format_version:
        return None
    base = before.current_snapshot
    return Candidate(
        target.version.id,
        free_name(made.sequence_number, before.refs),
        made.sequence_number,
        base.sequence_number if base else 0,
        by,
        now,
        now + KEPT_FOR,
        verdict.revision,
        tuple(map(_kept, verdict.violations)),
    )


def keeping(
    candidate: Candidate,
    present: Sequence[Candidate],
    before: TableMetadata,
    after: TableMetadata,
    requests: Sequence[CommitRequest],
) -> list[CommitRequest]:
    """Return the requests that put refused ones on the candidate's branch instead of ``main``.

    Args:
        candidate: What is kept.
        present: The candidates that there are; the oldest go where there would be too many.
        before, after: The table without the refused commit, and with it.
        requests: What the refused commit consists of.
    """
    gone = [one.branch for one in surplus(present)]
    details = {"rules": [one.rule for one in candidate.violations], "expires_at": candidate.expires_at.isoformat()}
    kept = [_on_branch(candidate.branch, request, details) for request in requests]
    made = after.current_snapshot
    assert made is not None, "a candidate is a snapshot"
    tombstones = tombstones_update(before.with_changes(branch=candidate.branch), tombstones_as_of(after, made))
    options = retention(sum(isinstance(update, AddSnapshot) for one in kept for update in one.updates)).options()
    last = kept[-1]
    updates = (
        *last.updates,
        SetSnapshotRef(candidate.branch, made.snapshot_id, options=options),
        *tombstones,
        *removal(before, gone),
    )
    return [*kept[:-1], replace(last, updates=updates, candidate=candidate)]


def _on_branch(branch: str, request: CommitRequest, details: Mapping[str, Any]) -> CommitRequest:
    """Return a request for a branch; under no idempotency key, since what was asked for has not been done."""
    updates = tuple(update for update in request.updates if isinstance(update, _CARRIED))
    added = [update.snapshot.snapshot_id for update in updates if isinstance(update, AddSnapshot)]
    return CommitRequest(
        updates=(*updates, *(SetSnapshotRef(branch, one) for one in added)),
        manifest=request.manifest if added else None,
        properties=request.properties,
        branch=branch,
        action="contract.refuse",
        details={**request.details, **details},
        storage=request.storage,
    )


def refused(name: str, candidate: Candidate, error: ContractViolationError) -> ContractViolationError:
    """Return the error that refuses a commit and says where to find what it would have become."""
    day = candidate.expires_at.date().isoformat()
    return ContractViolationError(
        error.message,
        hint=f"What it would have become is kept on the branch {candidate.branch} until {day}: "
        f"cordillera contract candidate {name} {candidate.branch}. {error.hint}",
        details={**error.details, "candidate": candidate.branch},
    )


def is_kept(error: BaseException, target: ResolvedDataset) -> bool:
    """Tell whether what was written for a commit that an error refuses belongs to a candidate, and has to stay."""
    if not isinstance(error, ContractViolationError):
        return False
    return error.details.get("dataset") == target.name and "candidate" in error.details


def removal(metadata: TableMetadata, branches: Collection[str]) -> tuple[Update, ...]:
    """Return what makes a table forget branches, and the snapshots that nothing else leads to."""
    if not branches:
        return ()
    gone = _led_to(metadata, branches) - _led_to(metadata, metadata.refs.keys() - set(branches))
    properties = RemoveProperties(tuple(f"{TOMBSTONES_PROPERTY}.{branch}" for branch in branches))
    refs = (RemoveSnapshotRef(branch) for branch in branches if branch in metadata.refs)
    return (*refs, properties, *([RemoveSnapshots(frozenset(gone))] if gone else []))


def remove_files(tables: TableService, before: TableMetadata, after: TableMetadata) -> None:
    """Remove the files of snapshots that a table has forgotten; what cannot be removed now is an orphan."""
    if len(before.snapshots) <= len(after.snapshots) and set(before.refs) <= set(after.refs):
        return
    with suppress(CordilleraError):
        tables.io.storage.delete(snapshot_files(tables.io, before, after))


def _led_to(metadata: TableMetadata, refs: Collection[str]) -> set[int]:
    heads = [int(metadata.refs[name]["snapshot-id"]) for name in refs if name in metadata.refs]
    return {snapshot.snapshot_id for head in heads for snapshot in ancestors(metadata, head)}


def _kept(violation: Violation) -> Violation:
    """Return a violation as it is kept: rows stay where they are, and are looked up for whoever may see them."""
    if violation.rows is None:
        return violation
    return replace(violation, examples=(), message=f"{counted(violation.rows, 'row breaks it', 'rows break it')}.")
