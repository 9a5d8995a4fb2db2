"""Which snapshots a table no longer keeps (Iceberg specification, "Snapshot Retention Policy")."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cordillera.spec.commit import RemoveProperties, RemoveSnapshotRef, RemoveSnapshots, Update
from cordillera.spec.merge import TOMBSTONES_PROPERTY
from cordillera.spec.refs import ancestors
from cordillera.spec.requirements import AssertTableUuid, Requirement
from cordillera.spec.table_metadata import MAIN_BRANCH, IcebergSnapshot, TableMetadata

_REF_AGE_PROPERTY = "history.expire.max-ref-age-ms"


@dataclass(frozen=True, slots=True)
class ExpiryPlan:
    """What goes.

    Attributes:
        snapshots: Snapshots to forget.
        refs: Branches and tags whose own age limit has passed.
    """

    snapshots: tuple[IcebergSnapshot, ...]
    refs: tuple[str, ...]

    def updates(self) -> tuple[Update, ...]:
        """Return the commit's updates."""
        removed: list[Update] = [RemoveSnapshotRef(ref) for ref in self.refs]
        if self.refs:
            removed.append(RemoveProperties(tuple(f"{TOMBSTONES_PROPERTY}.{ref}" for ref in self.refs)))
        if self.snapshots:
            removed.append(RemoveSnapshots(frozenset(s.snapshot_id for s in self.snapshots)))
        return tuple(removed)

    def requirements(self, metadata: TableMetadata) -> tuple[Requirement, ...]:
        """Return what has to hold. A snapshot that a branch or tag points at by then is refused in any case."""
        return (AssertTableUuid(metadata.table_uuid),)


def plan_expiry(
    metadata: TableMetadata, now_ms: int, max_age_ms: int, keep_last: int, held: Collection[int] = ()
) -> ExpiryPlan:
    """Return what may go.

    Of every branch its newest snapshots stay, and those younger than the limit; of a tag its snapshot. A branch's own
    limits, where it has some, count for it. What no branch or tag leads to, such as a staged write that nobody has
    published, stays until it is old.

    Args:
        metadata: The table.
        now_ms: Milliseconds since the epoch.
        max_age_ms: Snapshots up to this age stay.
        keep_last: So many of each branch stay.
        held: Sequence numbers of snapshots that stay whatever their age.
    """
    by_id = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    old_refs = tuple(name for name, ref in metadata.refs.items() if _is_old(name, ref, by_id, metadata, now_ms))
    kept: set[int] = set()
    led_to: set[int] = set()
    for name, ref in metadata.refs.items():
        if name in old_refs:
            continue
        if ref.get("type") == "tag":
            kept.add(ref["snapshot-id"])
            continue
        least = ref.get("min-snapshots-to-keep", keep_last)
        since = now_ms - ref.get("max-snapshot-age-ms", max_age_ms)
        for number, snapshot in enumerate(ancestors(metadata, ref["snapshot-id"])):
            led_to.add(snapshot.snapshot_id)
            if number < max(least, 1) or snapshot.timestamp_ms >= since:
                kept.add(snapshot.snapshot_id)
    loose = {i for i, s in by_id.items() if i not in led_to and s.timestamp_ms >= now_ms - max_age_ms}
    kept |= loose | {i for i, s in by_id.items() if s.sequence_number in held}
    gone = tuple(s for s in metadata.snapshots if s.snapshot_id not in kept)
    return ExpiryPlan(gone, old_refs)


def _is_old(
    name: str, ref: Mapping[str, Any], by_id: Mapping[int, IcebergSnapshot], metadata: TableMetadata, now_ms: int
) -> bool:
    declared = metadata.properties.get(_REF_AGE_PROPERTY)
    limit = ref.get("max-ref-age-ms", int(declared) if declared else None)
    snapshot = by_id.get(ref["snapshot-id"])
    return name != MAIN_BRANCH and limit is not None and snapshot is not None and now_ms - snapshot.timestamp_ms > limit
