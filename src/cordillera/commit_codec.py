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
from cordillera.spec.table_metadata import IcebergSnapshot

CREATE = "assert-create"
"""The requirement that there is no such table yet; it is about the catalog, not about a table."""

_T = TypeVar("_T")
_Object = Mapping[str, Any]
_MAX_DEPTH = 4 * MAX_NESTING
"""A field of a struct of a struct lies three levels deeper in JSON."""
_INTEGERS = range(-(2**63), 2**63)
_OPERATIONS = ("append", "replace", "overwrite", "delete")
_REF_OPTIONS = ("max-ref-age-ms", "max-snapshot-age-ms", "min-snapshots-to-keep")


def requirements_from_plain(items: Sequence[_Object]) -> tuple[Requirement, ...]:
    """Return the requirements that decoded JSON describes.

    Raises:
        InvalidInputError: Naming one that is unknown or malformed.
    """
    return tuple(_read(_REQUIREMENTS, item, "type", "requirement") for item in items)


def updates_from_plain(items: Sequence[_Object]) -> tuple[Update, ...]:
    """Return the updates that decoded JSON describes.

    Raises:
        InvalidInputError: Naming one that is unknown or malformed.
    """
    check_depth(items)
    return tuple(_read(_UPDATES, item, "action", "update") for item in items)


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


def _read(readers: Mapping[str, Callable[[_Object], _T]], item: _Object, tag: str, what: str) -> _T:
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


def _last_or(number: int) -> int | None:
    """Return an id; -1 stands for what the same commit added last."""
    return None if _integer(number) == -1 else number


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is no whole number")
    if value not in _INTEGERS:
        raise ValueError(f"{str(value)[:40]} does not fit into 64 bits")
    return value


def _count(value: Any) -> int:
    if _integer(value) < 0:
        raise ValueError(f"{value} is below zero")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value


def _snapshot(item: _Object) -> AddSnapshot:
    raw = item["snapshot"]
    for name in ("snapshot-id", "timestamp-ms"):
        _count(raw[name])
    for name in ("parent-snapshot-id", "sequence-number", "schema-id", "first-row-id", "added-rows"):
        if raw.get(name) is not None:
            _count(raw[name])
    summary = {"operation": "overwrite"} | {_text(name): _text(value) for name, value in raw["summary"].items()}
    if summary["operation"] not in _OPERATIONS:
        raise ValueError(f"{summary['operation'][:40]!r} is no operation")
    _text(raw["manifest-list"])
    return AddSnapshot(IcebergSnapshot.from_dict({**raw, "summary": summary}))


def _ref(item: _Object) -> SetSnapshotRef:
    options = {name: _count(item[name]) for name in _REF_OPTIONS if item.get(name) is not None}
    return SetSnapshotRef(_text(item["ref-name"]), _integer(item["snapshot-id"]), _text(item["type"]), options)


def _sort_order(item: _Object) -> AddSortOrder:
    return AddSortOrder(SortOrder.model_validate(item["sort-order"]).model_dump(mode="json", by_alias=True))


def _statistics(name: str) -> Callable[[_Object], SetStatistics]:
    def read(item: _Object) -> SetStatistics:
        file = item[name]
        _integer(file["snapshot-id"])
        _text(file["statistics-path"])
        return SetStatistics(dict(file), name)

    return read


def _encryption_key(item: _Object) -> AddEncryptionKey:
    key = item["encryption-key"]
    _text(key["key-id"])
    return AddEncryptionKey(dict(key))


_REQUIREMENTS: Mapping[str, Callable[[_Object], Requirement]] = {
    "assert-table-uuid": lambda item: AssertTableUuid(_text(item["uuid"])),
    "assert-ref-snapshot-id": lambda item: AssertRefSnapshot(
        _text(item["ref"]), None if item["snapshot-id"] is None else _integer(item["snapshot-id"])
    ),
    "assert-last-assigned-field-id": lambda item: AssertLastAssignedFieldId(_integer(item["last-assigned-field-id"])),
    "assert-current-schema-id": lambda item: AssertCurrentSchemaId(_integer(item["current-schema-id"])),
    "assert-last-assigned-partition-id": lambda item: AssertLastAssignedPartitionId(
        _integer(item["last-assigned-partition-id"])
    ),
    "assert-default-spec-id": lambda item: AssertDefaultSpecId(_integer(item["default-spec-id"])),
    "assert-default-sort-order-id": lambda item: AssertDefaultSortOrderId(_integer(item["default-sort-order-id"])),
}

_UPDATES: Mapping[str, Callable[[_Object], Update]] = {
    "assign-uuid": lambda item: AssignUuid(_text(item["uuid"])),
    "upgrade-format-version": lambda item: UpgradeFormatVersion(_integer(item["format-version"])),
    "add-schema": lambda item: AddSchema(Schema.model_validate(item["schema"])),
    "set-current-schema": lambda item: SetCurrentSchema(_last_or(item["schema-id"])),
    "add-spec": lambda item: AddPartitionSpec(PartitionSpec.model_validate(item["spec"])),
    "set-default-spec": lambda item: SetDefaultSpec(_last_or(item["spec-id"])),
    "remove-partition-specs": lambda item: RemovePartitionSpecs(frozenset(map(_integer, item["spec-ids"]))),
    "add-sort-order": _sort_order,
    "set-default-sort-order": lambda item: SetDefaultSortOrder(_last_or(item["sort-order-id"])),
    "add-snapshot": _snapshot,
    "set-snapshot-ref": _ref,
    "remove-snapshots": lambda item: RemoveSnapshots(frozenset(map(_integer, item["snapshot-ids"]))),
    "remove-snapshot-ref": lambda item: RemoveSnapshotRef(_text(item["ref-name"])),
    "set-location": lambda item: SetLocation(_text(item["location"])),
    "set-properties": lambda item: SetProperties({_text(k): _text(v) for k, v in item["updates"].items()}),
    "remove-properties": lambda item: RemoveProperties(tuple(map(_text, item["removals"]))),
    "set-statistics": _statistics("statistics"),
    "remove-statistics": lambda item: RemoveStatistics(_integer(item["snapshot-id"])),
    "set-partition-statistics": _statistics("partition-statistics"),
    "remove-partition-statistics": lambda item: RemoveStatistics(_integer(item["snapshot-id"]), "partition-statistics"),
    "remove-schemas": lambda item: RemoveSchemas(frozenset(map(_integer, item["schema-ids"]))),
    "add-encryption-key": _encryption_key,
    "remove-encryption-key": lambda item: RemoveEncryptionKey(_text(item["key-id"])),
}
