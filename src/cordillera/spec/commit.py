"""The updates of a commit, in the terms of the Iceberg REST specification ("CommitTableRequest"): what changes.

``apply`` is pure, so the same code decides for our own writers and for other engines that commit through the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from cordillera.errors import CommitConflictError, InvalidInputError, NotAllowedError
from cordillera.spec.metadata_updates import HANDLERS, MetadataUpdate
from cordillera.spec.table_metadata import (
    MAIN_BRANCH,
    SUPPORTED_FORMAT_VERSIONS,
    IcebergSnapshot,
    TableMetadata,
)


@dataclass(frozen=True, slots=True)
class UpgradeFormatVersion:
    """Raise the format version; a metadata-only change."""

    format_version: int


@dataclass(frozen=True, slots=True)
class AddSchema:
    """Add a schema; the highest field id it uses becomes the table's last column id, if higher."""

    schema: Schema


@dataclass(frozen=True, slots=True)
class SetCurrentSchema:
    """Make a schema current; None means the one added last in this commit."""

    schema_id: int | None = None


@dataclass(frozen=True, slots=True)
class AddPartitionSpec:
    """Add a partition spec."""

    spec: PartitionSpec


@dataclass(frozen=True, slots=True)
class SetDefaultSpec:
    """Make a partition spec the one new files are written by; None means the one added last in this commit."""

    spec_id: int | None = None


@dataclass(frozen=True, slots=True)
class RemovePartitionSpecs:
    """Forget partition specs that no file is written by any more."""

    spec_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class AddSnapshot:
    """Add a snapshot, not yet visible on any branch."""

    snapshot: IcebergSnapshot


@dataclass(frozen=True, slots=True)
class SetSnapshotRef:
    """Point a branch or tag at a snapshot."""

    ref: str
    snapshot_id: int
    type: str = "branch"
    options: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoveSnapshots:
    """Forget snapshots; those that a branch or tag still needs are refused."""

    snapshot_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class RemoveSnapshotRef:
    """Remove a branch or tag."""

    ref: str


@dataclass(frozen=True, slots=True)
class SetProperties:
    """Set table properties."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RemoveProperties:
    """Remove table properties; unknown names are passed over."""

    names: tuple[str, ...]


Update = (
    UpgradeFormatVersion
    | AddSchema
    | SetCurrentSchema
    | AddPartitionSpec
    | SetDefaultSpec
    | RemovePartitionSpecs
    | AddSnapshot
    | SetSnapshotRef
    | RemoveSnapshots
    | RemoveSnapshotRef
    | SetProperties
    | RemoveProperties
    | MetadataUpdate
)


def apply(updates: Iterable[Update], metadata: TableMetadata, now_ms: int) -> TableMetadata:
    """Return the table metadata after ``updates``.

    Args:
        updates: Applied in order.
        metadata: The table as it is.
        now_ms: Milliseconds since the epoch; ``last-updated-ms`` never goes back, whatever the clock says.

    Raises:
        InvalidInputError: If an update refers to something that does not exist or would break the specification.
        CommitConflictError: If a snapshot was numbered before another writer's, of whichever branch, was added.
        NotAllowedError: If a snapshot that is still referenced would be removed.
    """
    changed = metadata.with_changes(last_updated_ms=max(now_ms, metadata.last_updated_ms))
    for update in updates:
        changed = _HANDLERS[type(update)](changed, update)
    return changed


def _upgrade(metadata: TableMetadata, update: UpgradeFormatVersion) -> TableMetadata:
    if update.format_version == metadata.format_version:
        return metadata
    if update.format_version not in SUPPORTED_FORMAT_VERSIONS or update.format_version < metadata.format_version:
        raise InvalidInputError(
            f"The table at {metadata.location} has format version {metadata.format_version} and cannot become "
            f"{update.format_version}."
        )
    return metadata.with_changes(format_version=update.format_version, next_row_id=0)


def _add_schema(metadata: TableMetadata, update: AddSchema) -> TableMetadata:
    if any(schema.schema_id == update.schema.schema_id for schema in metadata.schemas):
        raise InvalidInputError(f"The table at {metadata.location} already has a schema {update.schema.schema_id}.")
    highest = max(metadata.last_column_id, update.schema.highest_field_id)
    return metadata.with_changes(schemas=(*metadata.schemas, update.schema), last_column_id=highest)


def _set_current_schema(metadata: TableMetadata, update: SetCurrentSchema) -> TableMetadata:
    wanted = metadata.schemas[-1].schema_id if update.schema_id is None else update.schema_id
    if all(schema.schema_id != wanted for schema in metadata.schemas):
        raise InvalidInputError(f"The table at {metadata.location} has no schema {wanted}.")
    return metadata.with_changes(current_schema_id=wanted)


def _add_spec(metadata: TableMetadata, update: AddPartitionSpec) -> TableMetadata:
    if any(spec.spec_id == update.spec.spec_id for spec in metadata.partition_specs):
        raise InvalidInputError(f"The table at {metadata.location} already has a partition spec {update.spec.spec_id}.")
    meant = {
        part.field_id: (part.source_id, part.transform) for spec in metadata.partition_specs for part in spec.fields
    }
    for part in update.spec.fields:
        if meant.get(part.field_id, (part.source_id, part.transform)) != (part.source_id, part.transform):
            raise InvalidInputError(
                f"The partition field id {part.field_id} means something else in the table at {metadata.location}."
            )
        if metadata.schema.find_column_name(part.source_id) is None:
            raise InvalidInputError(f"The table at {metadata.location} has no column {part.source_id} to partition by.")
    highest = max([metadata.last_partition_id, *(part.field_id for part in update.spec.fields)])
    return metadata.with_changes(partition_specs=(*metadata.partition_specs, update.spec), last_partition_id=highest)


def _set_default_spec(metadata: TableMetadata, update: SetDefaultSpec) -> TableMetadata:
    wanted = metadata.partition_specs[-1].spec_id if update.spec_id is None else update.spec_id
    if all(spec.spec_id != wanted for spec in metadata.partition_specs):
        raise InvalidInputError(f"The table at {metadata.location} has no partition spec {wanted}.")
    return metadata.with_changes(default_spec_id=wanted)


def _remove_specs(metadata: TableMetadata, update: RemovePartitionSpecs) -> TableMetadata:
    if metadata.default_spec_id in update.spec_ids:
        raise InvalidInputError(
            f"The partition spec {metadata.default_spec_id} is what the table at {metadata.location} is written by."
        )
    return metadata.with_changes(
        partition_specs=tuple(spec for spec in metadata.partition_specs if spec.spec_id not in update.spec_ids)
    )


def _add_snapshot(metadata: TableMetadata, update: AddSnapshot) -> TableMetadata:
    snapshot = update.snapshot
    if snapshot.sequence_number <= metadata.last_sequence_number:
        raise CommitConflictError(
            f"The snapshot {snapshot.snapshot_id} has sequence number {snapshot.sequence_number}, not above the "
            f"table's last, {metadata.last_sequence_number}.",
            hint="Read the table again and retry.",
        )
    if snapshot.snapshot_id in map(_SNAPSHOT_ID, metadata.snapshots):
        raise InvalidInputError(f"The table at {metadata.location} already has a snapshot {snapshot.snapshot_id}.")
    _check_relations(metadata, snapshot)
    changed = metadata.with_changes(
        snapshots=(*metadata.snapshots, snapshot), last_sequence_number=snapshot.sequence_number
    )
    if metadata.format_version < 3:
        return changed
    return changed.with_changes(next_row_id=_next_row_id(metadata, snapshot))


def _check_relations(metadata: TableMetadata, snapshot: IcebergSnapshot) -> None:
    """Refuse a snapshot whose columns nobody knows, or that comes from itself: readers would go round for ever."""
    if snapshot.schema_id is not None and all(one.schema_id != snapshot.schema_id for one in metadata.schemas):
        raise InvalidInputError(
            f"The snapshot {snapshot.snapshot_id} is of schema {snapshot.schema_id}, which the table at "
            f"{metadata.location} has not.",
            hint="Add the schema first.",
        )
    if snapshot.snapshot_id in (snapshot.parent_snapshot_id, *map(_PARENT_ID, metadata.snapshots)):
        raise InvalidInputError(
            f"The snapshot {snapshot.snapshot_id} of the table at {metadata.location} would be made from itself.",
            hint="Take another id for it.",
        )


def _next_row_id(metadata: TableMetadata, snapshot: IcebergSnapshot) -> int:
    next_row_id = metadata.next_row_id or 0
    if snapshot.first_row_id is None or snapshot.added_rows is None:
        raise InvalidInputError(
            f"The snapshot {snapshot.snapshot_id} lacks first-row-id or added-rows, which format version 3 requires."
        )
    if snapshot.first_row_id < next_row_id:
        raise CommitConflictError(
            f"The snapshot {snapshot.snapshot_id} begins at row id {snapshot.first_row_id}, below the table's next "
            f"row id, {next_row_id}.",
            hint="Read the table again and retry.",
        )
    return snapshot.first_row_id + snapshot.added_rows


def _set_ref(metadata: TableMetadata, update: SetSnapshotRef) -> TableMetadata:
    if metadata.snapshot_by_id(update.snapshot_id) is None:
        raise InvalidInputError(f"The table at {metadata.location} has no snapshot {update.snapshot_id}.")
    _check_ref(metadata, update)
    ref = {"snapshot-id": update.snapshot_id, "type": update.type, **update.options}
    changed = metadata.with_changes(refs={**metadata.refs, update.ref: ref})
    if update.ref != MAIN_BRANCH or update.snapshot_id == metadata.current_snapshot_id:
        return changed
    entry = {"snapshot-id": update.snapshot_id, "timestamp-ms": metadata.last_updated_ms}
    return changed.with_changes(current_snapshot_id=update.snapshot_id, snapshot_log=(*metadata.snapshot_log, entry))


def _check_ref(metadata: TableMetadata, update: SetSnapshotRef) -> None:
    before = metadata.refs.get(update.ref, {}).get("type", update.type)
    if update.type not in _RETENTION_OF or (update.ref == MAIN_BRANCH and update.type != "branch"):
        raise InvalidInputError(f"{update.ref!r} cannot be a {update.type}.")
    if before != update.type:
        raise InvalidInputError(f"{update.ref!r} is a {before} and cannot become a {update.type}.")
    for name, value in update.options.items():
        if name not in _RETENTION_OF[update.type]:
            raise InvalidInputError(f"A {update.type} has no {name}.", hint="Tags have max-ref-age-ms only.")
        if value <= 0:
            raise InvalidInputError(f"The {name} of {update.ref!r} has to be above 0, not {value}.")


def _remove_snapshots(metadata: TableMetadata, update: RemoveSnapshots) -> TableMetadata:
    kept_by = {ref["snapshot-id"]: name for name, ref in metadata.refs.items()}
    for snapshot_id in update.snapshot_ids:
        if snapshot_id in kept_by:
            raise NotAllowedError(
                f"The snapshot {snapshot_id} is what {kept_by[snapshot_id]!r} points at and cannot be removed."
            )
    return metadata.with_changes(
        snapshots=tuple(s for s in metadata.snapshots if s.snapshot_id not in update.snapshot_ids),
        snapshot_log=tuple(e for e in metadata.snapshot_log if e["snapshot-id"] not in update.snapshot_ids),
        extra={
            name: [item for item in value if item.get("snapshot-id") not in update.snapshot_ids]
            if name in ("statistics", "partition-statistics")
            else value
            for name, value in metadata.extra.items()
        },
    )


def _remove_ref(metadata: TableMetadata, update: RemoveSnapshotRef) -> TableMetadata:
    refs = {name: ref for name, ref in metadata.refs.items() if name != update.ref}
    current = None if update.ref == MAIN_BRANCH else metadata.current_snapshot_id
    return metadata.with_changes(refs=refs, current_snapshot_id=current)


def _set_properties(metadata: TableMetadata, update: SetProperties) -> TableMetadata:
    return metadata.with_changes(properties={**metadata.properties, **update.values})


def _remove_properties(metadata: TableMetadata, update: RemoveProperties) -> TableMetadata:
    kept = {name: value for name, value in metadata.properties.items() if name not in update.names}
    return metadata.with_changes(properties=kept)


_SNAPSHOT_ID = attrgetter("snapshot_id")
_PARENT_ID = attrgetter("parent_snapshot_id")
_RETENTION_OF: Mapping[str, tuple[str, ...]] = {
    "branch": ("max-ref-age-ms", "max-snapshot-age-ms", "min-snapshots-to-keep"),
    "tag": ("max-ref-age-ms",),
}

_HANDLERS: dict[type, Callable[[TableMetadata, Any], TableMetadata]] = {
    **HANDLERS,
    UpgradeFormatVersion: _upgrade,
    AddSchema: _add_schema,
    SetCurrentSchema: _set_current_schema,
    AddPartitionSpec: _add_spec,
    SetDefaultSpec: _set_default_spec,
    RemovePartitionSpecs: _remove_specs,
    AddSnapshot: _add_snapshot,
    SetSnapshotRef: _set_ref,
    RemoveSnapshots: _remove_snapshots,
    RemoveSnapshotRef: _remove_ref,
    SetProperties: _set_properties,
    RemoveProperties: _remove_properties,
}
