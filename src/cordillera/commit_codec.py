"""Commits as the Iceberg REST specification has them in JSON ("TableRequirement", "TableUpdate")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortOrder

from cordillera.errors import InvalidInputError
from cordillera.spec.arrow_types import MAX_NESTING
from cordillera.spec.commit import (
    AddPartitionSpec,
    AddSchema,
    AddSnapshot,
    RemovePartitionSpecs,
    RemoveProperties,
    RemoveSnapshotRef,
    RemoveSnapshots,
    SetCurrentSchema,
    SetDefaultSpec,
    SetProperties,
    SetSnapshotRef,
    Update,
    UpgradeFormatVersion,
)
from cordillera.spec.metadata_updates import (
    AddEncryptionKey,
    AddSortOrder,
    AssignUuid,
    RemoveEncryptionKey,
    RemoveSchemas,
    RemoveStatistics,
    SetDefaultSortOrder,
    SetLocation,
    SetStatistics,
)
from cordillera.spec.plain_values import text, texts, whole
from cordillera.spec.requirements import (
    AssertCurrentSchemaId,
    AssertDefaultSortOrderId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    AssertLastAssignedPartitionId,
    AssertRefSnapshot,
    AssertTableUuid,
    Requirement,
)
from cordillera.spec.statistics import STATISTICS
from cordillera.spec.table_metadata import IcebergSnapshot

CREATE = "assert-create"
"""The requirement that there is no such table yet; it is about the catalog, not about a table."""

_T = TypeVar("_T")
_Object = Mapping[str, Any]
_MAX_DEPTH = 4 * MAX_NESTING
"""A field of a struct of a struct lies three levels deeper in JSON."""
_LAST_MOMENT_MS = 253_402_300_799_999
"""The end of the year 9999."""
_OPERATIONS = ("append", "replace", "overwrite", "delete")
_REF_OPTIONS = ("max-ref-age-ms", "max-snapshot-age-ms", "min-snapshots-to-keep")


def requirements_from_plain(items: Sequence[_Object]) -> tuple[Requirement, ...]:
    """Return the requirements that decoded JSON describes.

    Raises:
        InvalidInputError: Naming one that is unknown or malformed.
    """
    return tuple(read_tagged(_REQUIREMENTS, item, "type", "requirement") for item in items)


def updates_from_plain(items: Sequence[_Object]) -> tuple[Update, ...]:
    """Return the updates that decoded JSON describes.

    Raises:
        InvalidInputError: Naming one that is unknown or malformed.
    """
    check_depth(items)
    return tuple(read_tagged(_UPDATES, item, "action", "update") for item in items)


def check_depth(document: object) -> None:
    """Refuse decoded JSON that is nested so deep that the libraries that read it give up.

    Raises:
        InvalidInputError: If it is.
    """
    level = [document]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise InvalidInputError(f"The document is nested more than {_MAX_DEPTH} deep.", hint="Make it flatter.")


def _inner(value: object) -> Iterable[object]:
    match value:
        case Mapping():
            return value.values()
        case list():
            return value
        case _:
            return ()


def read_tagged(readers: Mapping[str, Callable[[_Object], _T]], item: _Object, tag: str, what: str) -> _T:
    """Return what decoded JSON describes that says in a field which of several things it is.

    Args:
        readers: What there is, by name.
        item: The JSON.
        tag: The field that has the name.
        what: What all of them are, for messages.

    Raises:
        InvalidInputError: If it is unknown or malformed.
    """
    name = item.get(tag) if isinstance(item, Mapping) else None
    reader = readers.get(name) if isinstance(name, str) else None
    if reader is None:
        raise InvalidInputError(
            f"There is no {what} {str(name)[:60]!r}.", hint=f"Known are: {', '.join(sorted(readers))}."
        )
    try:
        return reader(item)
    except KeyError as error:
        raise InvalidInputError(f"The {what} {name!r} lacks the field {error.args[0]!r}.") from error
    except (ValidationError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"The {what} {name!r} cannot be read: {str(error)[:300]}.") from error


def last_or(number: int) -> int | None:
    """Return an id; -1 stands for what the same commit added last."""
    return None if whole(number) == -1 else number


def _count(value: Any) -> int:
    if whole(value) < 0:
        raise ValueError(f"{value} is below zero")
    return int(value)


def _snapshot(item: _Object) -> AddSnapshot:
    raw = item["snapshot"]
    for name in ("snapshot-id", "timestamp-ms"):
        _count(raw[name])
    for name in ("parent-snapshot-id", "sequence-number", "schema-id", "first-row-id", "added-rows"):
        if raw.get(name) is not None:
            _count(raw[name])
    if raw["timestamp-ms"] > _LAST_MOMENT_MS:
        raise ValueError(f"{raw['timestamp-ms']} is no time in milliseconds")
    summary = {"operation": "overwrite"} | texts(raw["summary"])
    if summary["operation"] not in _OPERATIONS:
        raise ValueError(f"{summary['operation'][:40]!r} is no operation")
    text(raw["manifest-list"])
    return AddSnapshot(IcebergSnapshot.from_dict({**raw, "summary": summary}))


def _ref(item: _Object) -> SetSnapshotRef:
    options = {name: _count(item[name]) for name in _REF_OPTIONS if item.get(name) is not None}
    return SetSnapshotRef(text(item["ref-name"]), whole(item["snapshot-id"]), text(item["type"]), options)


def _sort_order(item: _Object) -> AddSortOrder:
    return AddSortOrder(SortOrder.model_validate(item["sort-order"]).model_dump(mode="json", by_alias=True))


def _statistics(name: str) -> Callable[[_Object], SetStatistics]:
    def read(item: _Object) -> SetStatistics:
        file = item[name]
        whole(file["snapshot-id"])
        text(file["statistics-path"])
        _count(file["file-size-in-bytes"])
        if name == STATISTICS:
            _count(file["file-footer-size-in-bytes"])
            for blob in file["blob-metadata"]:
                _check_blob(blob)
        return SetStatistics(dict(file), name)

    return read


def _check_blob(blob: _Object) -> None:
    text(blob["type"])
    for name in ("snapshot-id", "sequence-number"):
        whole(blob[name])
    list(map(whole, blob["fields"]))
    texts(blob.get("properties") or {})


def _encryption_key(item: _Object) -> AddEncryptionKey:
    key = item["encryption-key"]
    for name in ("key-id", "encrypted-key-metadata"):
        text(key[name])
    text(key.get("encrypted-by-id") or "")
    texts(key.get("properties") or {})
    return AddEncryptionKey(dict(key))


_REQUIREMENTS: Mapping[str, Callable[[_Object], Requirement]] = {
    "assert-table-uuid": lambda item: AssertTableUuid(text(item["uuid"])),
    "assert-ref-snapshot-id": lambda item: AssertRefSnapshot(
        text(item["ref"]), None if item["snapshot-id"] is None else whole(item["snapshot-id"])
    ),
    "assert-last-assigned-field-id": lambda item: AssertLastAssignedFieldId(whole(item["last-assigned-field-id"])),
    "assert-current-schema-id": lambda item: AssertCurrentSchemaId(whole(item["current-schema-id"])),
    "assert-last-assigned-partition-id": lambda item: AssertLastAssignedPartitionId(
        whole(item["last-assigned-partition-id"])
    ),
    "assert-default-spec-id": lambda item: AssertDefaultSpecId(whole(item["default-spec-id"])),
    "assert-default-sort-order-id": lambda item: AssertDefaultSortOrderId(whole(item["default-sort-order-id"])),
}

_UPDATES: Mapping[str, Callable[[_Object], Update]] = {
    "assign-uuid": lambda item: AssignUuid(text(item["uuid"])),
    "upgrade-format-version": lambda item: UpgradeFormatVersion(whole(item["format-version"])),
    "add-schema": lambda item: AddSchema(Schema.model_validate(item["schema"])),
    "set-current-schema": lambda item: SetCurrentSchema(last_or(item["schema-id"])),
    "add-spec": lambda item: AddPartitionSpec(PartitionSpec.model_validate(item["spec"])),
    "set-default-spec": lambda item: SetDefaultSpec(last_or(item["spec-id"])),
    "remove-partition-specs": lambda item: RemovePartitionSpecs(frozenset(map(whole, item["spec-ids"]))),
    "add-sort-order": _sort_order,
    "set-default-sort-order": lambda item: SetDefaultSortOrder(last_or(item["sort-order-id"])),
    "add-snapshot": _snapshot,
    "set-snapshot-ref": _ref,
    "remove-snapshots": lambda item: RemoveSnapshots(frozenset(map(whole, item["snapshot-ids"]))),
    "remove-snapshot-ref": lambda item: RemoveSnapshotRef(text(item["ref-name"])),
    "set-location": lambda item: SetLocation(text(item["location"])),
    "set-properties": lambda item: SetProperties(texts(item["updates"])),
    "remove-properties": lambda item: RemoveProperties(tuple(map(text, item["removals"]))),
    "set-statistics": _statistics(STATISTICS),
    "remove-statistics": lambda item: RemoveStatistics(whole(item["snapshot-id"])),
    "set-partition-statistics": _statistics("partition-statistics"),
    "remove-partition-statistics": lambda item: RemoveStatistics(whole(item["snapshot-id"]), "partition-statistics"),
    "remove-schemas": lambda item: RemoveSchemas(frozenset(map(whole, item["schema-ids"]))),
    "add-encryption-key": _encryption_key,
    "remove-encryption-key": lambda item: RemoveEncryptionKey(text(item["key-id"])),
}
