"""Requirements and updates as the Iceberg REST specification has them in JSON: those that deliveries are made of.

``cordillera.commit_codec`` reads what these functions write.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel

from cordillera.spec.commit import (
    AddPartitionSpec,
    AddSchema,
    AddSnapshot,
    RemoveProperties,
    SetCurrentSchema,
    SetDefaultSpec,
    SetProperties,
    SetSnapshotRef,
    Update,
    UpgradeFormatVersion,
)
from cordillera.spec.metadata_updates import AddSortOrder, AssignUuid, SetDefaultSortOrder, SetLocation
from cordillera.spec.requirements import (
    AssertCurrentSchemaId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    AssertRefSnapshot,
    AssertTableUuid,
    Requirement,
)

CREATE = {"type": "assert-create"}
_LAST = -1
"""Stands for what the same commit added last."""


def requirement_to_plain(requirement: Requirement) -> dict[str, Any]:
    """Return a requirement as decoded JSON."""
    match requirement:
        case AssertTableUuid(uuid):
            return {"type": "assert-table-uuid", "uuid": uuid}
        case AssertRefSnapshot(ref, snapshot_id):
            return {"type": "assert-ref-snapshot-id", "ref": ref, "snapshot-id": snapshot_id}
        case AssertCurrentSchemaId(schema_id):
            return {"type": "assert-current-schema-id", "current-schema-id": schema_id}
        case AssertLastAssignedFieldId(field_id):
            return {"type": "assert-last-assigned-field-id", "last-assigned-field-id": field_id}
        case AssertDefaultSpecId(spec_id):
            return {"type": "assert-default-spec-id", "default-spec-id": spec_id}
        case _:
            raise TypeError(f"No delivery requires {requirement!r}.")


def update_to_plain(update: Update) -> dict[str, Any]:
    """Return an update as decoded JSON."""
    match update:
        case AddSchema(schema):
            return {"action": "add-schema", "schema": _plain(schema), "last-column-id": schema.highest_field_id}
        case SetCurrentSchema(schema_id):
            return {"action": "set-current-schema", "schema-id": _LAST if schema_id is None else schema_id}
        case AddSnapshot(snapshot):
            return {"action": "add-snapshot", "snapshot": snapshot.to_dict()}
        case SetSnapshotRef(ref, snapshot_id, kind, options):
            return {
                "action": "set-snapshot-ref", "ref-name": ref, "snapshot-id": snapshot_id, "type": kind, **options,
            }  # fmt: skip
        case SetProperties(values):
            return {"action": "set-properties", "updates": dict(values)}
        case RemoveProperties(names):
            return {"action": "remove-properties", "removals": list(names)}
        case _:
            return _creating(update)


def _creating(update: Update) -> dict[str, Any]:
    """Return what makes a table out of nothing."""
    match update:
        case AssignUuid(uuid):
            return {"action": "assign-uuid", "uuid": uuid}
        case UpgradeFormatVersion(format_version):
            return {"action": "upgrade-format-version", "format-version": format_version}
        case AddPartitionSpec(spec):
            return {"action": "add-spec", "spec": _plain(spec)}
        case SetDefaultSpec():
            return {"action": "set-default-spec", "spec-id": _LAST}
        case AddSortOrder(order):
            return {"action": "add-sort-order", "sort-order": dict(order)}
        case SetDefaultSortOrder():
            return {"action": "set-default-sort-order", "sort-order-id": _LAST}
        case SetLocation(location):
            return {"action": "set-location", "location": location}
        case _:
            raise TypeError(f"No delivery makes {update!r}.")


def _plain(model: BaseModel) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(model.model_dump_json())
    return found
