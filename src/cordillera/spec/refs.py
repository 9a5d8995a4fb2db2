"""Branches and tags: names for snapshots (Iceberg specification, "Snapshot References").

Sequence numbers rise over all branches of a table, so one names a snapshot whatever branch it was committed to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cordillera.errors import InvalidNameError, NotAllowedError, SnapshotNotFoundError
from cordillera.spec.argument_types import of_type
from cordillera.spec.table_metadata import MAIN_BRANCH, IcebergSnapshot, TableMetadata

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")


class RefKind(StrEnum):
    """What a reference does when its branch is written to."""

    BRANCH = "branch"
    """It moves on to the new snapshot."""
    TAG = "tag"
    """It stays."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long snapshot expiry keeps a reference and the snapshots behind it; None leaves it to the table's properties.

    Attributes:
        max_ref_age_ms: Age of its snapshot, in milliseconds, at which the reference itself goes. ``main`` never goes.
        max_snapshot_age_ms: Age at which snapshots of the branch go.
        min_snapshots_to_keep: Snapshots of the branch that stay, whatever their age.
    """

    max_ref_age_ms: int | None = None
    max_snapshot_age_ms: int | None = None
    min_snapshots_to_keep: int | None = None

    def options(self) -> dict[str, int]:
        """Return the fields as table metadata has them."""
        values = {
            "max-ref-age-ms": self.max_ref_age_ms,
            "max-snapshot-age-ms": self.max_snapshot_age_ms,
            "min-snapshots-to-keep": self.min_snapshots_to_keep,
        }
        return {name: value for name, value in values.items() if value is not None}


DEFAULT_RETENTION = Retention()


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or tag of a dataset version.

    Attributes:
        sequence_number: The sequence number of its snapshot.
    """

    name: str
    kind: RefKind
    snapshot_id: int
    sequence_number: int
    retention: Retention = Retention()


def refs_of(metadata: TableMetadata) -> tuple[Ref, ...]:
    """Return the branches and tags of a table by name."""
    return tuple(_ref(metadata, name, raw) for name, raw in sorted(metadata.refs.items()))


def _ref(metadata: TableMetadata, name: str, raw: Mapping[str, Any]) -> Ref:
    snapshot = metadata.snapshot_by_id(raw["snapshot-id"])
    retention = Retention(raw.get("max-ref-age-ms"), raw.get("max-snapshot-age-ms"), raw.get("min-snapshots-to-keep"))
    return Ref(name, RefKind(raw["type"]), raw["snapshot-id"], snapshot.sequence_number if snapshot else 0, retention)


def find_ref(metadata: TableMetadata, name: str, dataset: str, kind: RefKind | None = None) -> Ref:
    """Return a branch or tag by name.

    Args:
        metadata: The table.
        name: The branch or tag.
        dataset: The dataset's name, for messages.
        kind: What it has to be; None for either.

    Raises:
        SnapshotNotFoundError: If there is none of that name.
        NotAllowedError: If it is of the other kind.
    """
    raw = metadata.refs.get(name)
    if raw is None:
        known = ", ".join(sorted(metadata.refs)) or "none"
        what = kind or "branch or tag"
        raise SnapshotNotFoundError(f"{dataset} has no {what} {name[:130]!r}.", hint=f"Branches and tags: {known}.")
    found = _ref(metadata, name, raw)
    if kind is not None and found.kind is not kind:
        raise NotAllowedError(f"{name!r} of {dataset} is a {found.kind}, not a {kind}.")
    return found


def check_ref_name(name: str) -> str:
    """Return a name for a new branch or tag if it is a legal one: it can be told from a number and from a date.

    Raises:
        InvalidNameError: If it is not.
    """
    if not _NAME.fullmatch(of_type(name, str, "name of a branch or tag")):
        raise InvalidNameError(
            f"{name[:130]!r} cannot be the name of a branch or tag.",
            hint="Begin with a letter; letters, digits and _ . - may follow, 128 characters in all.",
        )
    return name


def ancestors(metadata: TableMetadata, snapshot_id: int | None) -> Iterator[IcebergSnapshot]:
    """Yield a snapshot and those it was made from, newest first, as far back as they have not expired."""
    older = reversed(metadata.snapshots)  # a snapshot stands behind its parent
    while snapshot_id is not None:
        found = next((snapshot for snapshot in older if snapshot.snapshot_id == snapshot_id), None)
        if found is None:
            return
        yield found
        snapshot_id = found.parent_snapshot_id


def commits_between(
    metadata: TableMetadata, after: IcebergSnapshot | None, upto: IcebergSnapshot | None, dataset: str
) -> list[IcebergSnapshot]:
    """Return the snapshots that lead from one to another, oldest first: those behind ``after``, and ``upto`` itself.

    Args:
        metadata: The table.
        after: Where to begin; None for the empty table before the first snapshot.
        upto: Where to end.
        dataset: The dataset's name, for messages.

    Raises:
        SnapshotNotFoundError: If one of them has expired.
        NotAllowedError: If ``upto`` was not made from ``after``.
    """
    wanted = after.snapshot_id if after else None
    chain: list[IcebergSnapshot] = []
    for snapshot in ancestors(metadata, upto.snapshot_id if upto else None):
        if snapshot.snapshot_id == wanted:
            return chain[::-1]
        chain.append(snapshot)
    first = chain[-1].parent_snapshot_id if chain else None
    if first == wanted:
        return chain[::-1]
    if first is None:
        raise NotAllowedError(
            f"No commits of {dataset} lead from {_named(after)} to {_named(upto)}.",
            hint="Ask for the net change, which can be told between any two snapshots.",
        )
    raise SnapshotNotFoundError(
        f"Of the commits of {dataset} between {_named(after)} and {_named(upto)}, those before snapshot "
        f"{chain[-1].sequence_number} have expired.",
        hint="Ask for the net change, which needs the two snapshots only.",
    )


def _named(snapshot: IcebergSnapshot | None) -> str:
    return f"snapshot {snapshot.sequence_number}" if snapshot else "the empty table"


def head_of(metadata: TableMetadata, branch: str) -> IcebergSnapshot | None:
    """Return the newest snapshot of a branch; None if it has none, or does not exist."""
    if branch == MAIN_BRANCH:
        return metadata.current_snapshot
    raw = metadata.refs.get(branch)
    return metadata.snapshot_by_id(raw["snapshot-id"]) if raw else None


def on_branch(metadata: TableMetadata, branch: str, dataset: str) -> TableMetadata:
    """Return the table as a reader and writer of a branch sees it; it is not for storing.

    Raises:
        SnapshotNotFoundError, NotAllowedError: If there is no such branch.
    """
    if branch == MAIN_BRANCH:
        return metadata
    head = find_ref(metadata, branch, dataset, RefKind.BRANCH)
    return metadata.with_changes(branch=branch, current_snapshot_id=head.snapshot_id)
