"""The requirements of a commit, in the terms of the Iceberg REST specification: what its writer took the table to be.

``check`` is pure, as ``apply`` is for updates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cordillera.errors import CommitConflictError
from cordillera.spec.table_metadata import TableMetadata


@dataclass(frozen=True, slots=True)
class AssertTableUuid:
    """The table is the one the writer read, not a successor of the same name."""

    uuid: str


@dataclass(frozen=True, slots=True)
class AssertRefSnapshot:
    """A branch or tag points at this snapshot; None: it does not exist."""

    ref: str
    snapshot_id: int | None


@dataclass(frozen=True, slots=True)
class AssertLastAssignedFieldId:
    """Nobody added a column meanwhile."""

    field_id: int


@dataclass(frozen=True, slots=True)
class AssertCurrentSchemaId:
    """Nobody changed the schema meanwhile."""

    schema_id: int


@dataclass(frozen=True, slots=True)
class AssertLastAssignedPartitionId:
    """Nobody added a partition field meanwhile."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class AssertDefaultSpecId:
    """Nobody changed the partitioning meanwhile."""

    spec_id: int


@dataclass(frozen=True, slots=True)
class AssertDefaultSortOrderId:
    """Nobody changed the sort order meanwhile."""

    order_id: int


@dataclass(frozen=True, slots=True)
class AssertProperty:
    """A table property still has this value; None: it is not set. Cordillera's own, not of the REST specification."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class AssertLastSequenceNumber:
    """Nobody added a snapshot meanwhile, on whichever branch. Cordillera's own, not of the REST specification."""

    sequence_number: int


@dataclass(frozen=True, slots=True)
class AssertPartitionSpec:
    """Nobody removed a partition spec meanwhile. Cordillera's own, not of the REST specification."""

    spec_id: int


Requirement = (
    AssertTableUuid
    | AssertRefSnapshot
    | AssertLastAssignedFieldId
    | AssertCurrentSchemaId
    | AssertLastAssignedPartitionId
    | AssertDefaultSpecId
    | AssertDefaultSortOrderId
    | AssertProperty
    | AssertLastSequenceNumber
    | AssertPartitionSpec
)


def check(requirements: Iterable[Requirement], metadata: TableMetadata) -> None:
    """Check a commit's requirements against the table as it is now.

    Raises:
        CommitConflictError: Naming the first requirement that does not hold.
    """
    for requirement in requirements:
        expected, found, what = _compare(requirement, metadata)
        if expected != found:
            raise CommitConflictError(
                f"The table at {metadata.location} changed: {what} is {found}, the writer expected {expected}.",
                hint="Read the table again and retry.",
            )


def _compare(requirement: Requirement, metadata: TableMetadata) -> tuple[Any, Any, str]:
    match requirement:
        case AssertTableUuid(uuid):
            return uuid, metadata.table_uuid, "the table uuid"
        case AssertRefSnapshot(ref, snapshot_id):
            return snapshot_id, metadata.refs.get(ref, {}).get("snapshot-id"), f"the snapshot of {ref!r}"
        case AssertLastAssignedFieldId(field_id):
            return field_id, metadata.last_column_id, "the last assigned field id"
        case AssertCurrentSchemaId(schema_id):
            return schema_id, metadata.current_schema_id, "the current schema id"
        case AssertLastAssignedPartitionId(partition_id):
            return partition_id, metadata.last_partition_id, "the last assigned partition id"
        case AssertDefaultSpecId(spec_id):
            return spec_id, metadata.default_spec_id, "the default partition spec id"
        case AssertDefaultSortOrderId(order_id):
            return order_id, metadata.default_sort_order_id, "the default sort order id"
        case AssertProperty(name, value):
            return value, metadata.properties.get(name), f"the property {name!r}"
        case AssertLastSequenceNumber(sequence_number):
            return sequence_number, metadata.last_sequence_number, "the last sequence number"
        case AssertPartitionSpec(spec_id):
            specs = {spec.spec_id for spec in metadata.partition_specs}
            return True, spec_id in specs, f"whether there is a partition spec {spec_id}"
