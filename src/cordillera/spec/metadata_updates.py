"""Updates to what surrounds a table's rows: sort orders, statistics files, outdated schemas, encryption keys.

They are of the Iceberg REST specification ("TableUpdate") like those in ``cordillera.spec.commit``, which applies them;
most come from other engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cordillera.errors import InvalidInputError, NotAllowedError
from cordillera.spec.table_metadata import TableMetadata


@dataclass(frozen=True, slots=True)
class AssignUuid:
    """Give a table its id; one that has an id keeps it."""

    uuid: str


@dataclass(frozen=True, slots=True)
class SetLocation:
    """Say where a table lives; one that lives somewhere stays there."""

    location: str


@dataclass(frozen=True, slots=True)
class AddSortOrder:
    """Add a sort order: an object as table metadata has it."""

    order: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SetDefaultSortOrder:
    """Make a sort order the one new files are written in; None means the one added last in this commit."""

    order_id: int | None = None


@dataclass(frozen=True, slots=True)
class SetStatistics:
    """Register the statistics file of a snapshot, in place of an earlier one.

    Attributes:
        file: An object as table metadata has it.
        kind: ``statistics`` or ``partition-statistics``.
    """

    file: Mapping[str, Any]
    kind: str = "statistics"

    @property
    def snapshot_id(self) -> int:
        """The snapshot that it tells of."""
        return int(self.file["snapshot-id"])

    @property
    def path(self) -> str:
        """Where the file is."""
        return str(self.file["statistics-path"])


@dataclass(frozen=True, slots=True)
class RemoveStatistics:
    """Forget the statistics file of a snapshot."""

    snapshot_id: int
    kind: str = "statistics"


@dataclass(frozen=True, slots=True)
class RemoveSchemas:
    """Forget schemas that no snapshot was written under; the current one is refused."""

    schema_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class AddEncryptionKey:
    """Add an encrypted key: an object as table metadata has it."""

    key: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RemoveEncryptionKey:
    """Forget an encrypted key."""

    key_id: str


MetadataUpdate = (
    AssignUuid
    | SetLocation
    | AddSortOrder
    | SetDefaultSortOrder
    | SetStatistics
    | RemoveStatistics
    | RemoveSchemas
    | AddEncryptionKey
    | RemoveEncryptionKey
)


def _assign_uuid(metadata: TableMetadata, update: AssignUuid) -> TableMetadata:
    if update.uuid.lower() != metadata.table_uuid.lower():
        raise NotAllowedError(f"The table at {metadata.location} has the uuid {metadata.table_uuid} and keeps it.")
    return metadata


def _set_location(metadata: TableMetadata, update: SetLocation) -> TableMetadata:
    if update.location.rstrip("/") != metadata.location:
        raise NotAllowedError(
            f"The table at {metadata.location} stays where it is; the lake chooses where tables live.",
            hint="Leave the location out.",
        )
    return metadata


def _add_sort_order(metadata: TableMetadata, update: AddSortOrder) -> TableMetadata:
    if any(order["order-id"] == update.order["order-id"] for order in metadata.sort_orders):
        raise InvalidInputError(
            f"The table at {metadata.location} already has a sort order {update.order['order-id']}."
        )
    return metadata.with_changes(sort_orders=(*metadata.sort_orders, update.order))


def _set_default_sort_order(metadata: TableMetadata, update: SetDefaultSortOrder) -> TableMetadata:
    wanted = metadata.sort_orders[-1]["order-id"] if update.order_id is None else update.order_id
    if all(order["order-id"] != wanted for order in metadata.sort_orders):
        raise InvalidInputError(f"The table at {metadata.location} has no sort order {wanted}.")
    changed = metadata.with_changes(default_sort_order_id=wanted)
    for field in changed.sort_order["fields"]:
        for source in field.get("source-ids", [field.get("source-id")]):
            if metadata.schema.find_column_name(source) is None:
                raise InvalidInputError(
                    f"The sort order {wanted} of the table at {metadata.location} names the field {source}, which is "
                    "not among the columns."
                )
    return changed


def _set_statistics(metadata: TableMetadata, update: SetStatistics) -> TableMetadata:
    if metadata.snapshot_by_id(update.snapshot_id) is None:
        raise InvalidInputError(f"There is no snapshot {update.snapshot_id} that statistics could tell of.")
    without = _remove_statistics(metadata, RemoveStatistics(update.snapshot_id, update.kind))
    return _with_extra(without, update.kind, update.file)


def _remove_statistics(metadata: TableMetadata, update: RemoveStatistics) -> TableMetadata:
    return _without_extra(metadata, update.kind, "snapshot-id", update.snapshot_id)


def _remove_schemas(metadata: TableMetadata, update: RemoveSchemas) -> TableMetadata:
    used = {metadata.current_schema_id, *(snapshot.schema_id for snapshot in metadata.snapshots)}
    if kept := sorted(update.schema_ids & used):
        raise NotAllowedError(f"The schemas {kept} of the table at {metadata.location} are in use.")
    now = {field.field_id: field.name for field in metadata.schema.fields}
    schemas = tuple(
        schema
        for schema in metadata.schemas
        if schema.schema_id not in update.schema_ids
        # Grants and policy tags name columns by what they were called: a schema that knows stays, whoever cleans up.
        or any(now.get(field.field_id, field.name) != field.name for field in schema.fields)
    )
    return metadata.with_changes(schemas=schemas)


def _add_encryption_key(metadata: TableMetadata, update: AddEncryptionKey) -> TableMetadata:
    removed = _remove_encryption_key(metadata, RemoveEncryptionKey(update.key["key-id"]))
    return _with_extra(removed, _KEYS, update.key)


def _remove_encryption_key(metadata: TableMetadata, update: RemoveEncryptionKey) -> TableMetadata:
    return _without_extra(metadata, _KEYS, "key-id", update.key_id)


def _with_extra(metadata: TableMetadata, name: str, item: Mapping[str, Any]) -> TableMetadata:
    return metadata.with_changes(extra={**metadata.extra, name: [*metadata.extra.get(name, []), item]})


def _without_extra(metadata: TableMetadata, name: str, identity: str, wanted: object) -> TableMetadata:
    items = metadata.extra.get(name, [])
    kept = [item for item in items if item[identity] != wanted]
    return metadata if len(kept) == len(items) else metadata.with_changes(extra={**metadata.extra, name: kept})


_KEYS = "encryption-keys"

HANDLERS: dict[type, Callable[[TableMetadata, Any], TableMetadata]] = {
    AssignUuid: _assign_uuid,
    SetLocation: _set_location,
    AddSortOrder: _add_sort_order,
    SetDefaultSortOrder: _set_default_sort_order,
    SetStatistics: _set_statistics,
    RemoveStatistics: _remove_statistics,
    RemoveSchemas: _remove_schemas,
    AddEncryptionKey: _add_encryption_key,
    RemoveEncryptionKey: _remove_encryption_key,
}
"""How each update changes a table."""
