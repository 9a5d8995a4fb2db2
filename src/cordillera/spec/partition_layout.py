"""How a target lays a table out in folders by its dataset's partitions, and which of those a change touches.

A folder is called as Hive calls it, ``day=2013-01-01/origin=JFK``, and its name alone says which rows belong there. A
term of the partitioning over a column that is not delivered, or is masked, is left out: partitions that only it tells
apart share a folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import VoidTransform
from pyiceberg.types import UUIDType

from cordillera.spec.delivery_reason import DeliveryReason
from cordillera.spec.partition_values import split_by_partition

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive calls the partition of rows that have no value, and Spark, DuckDB and others read as NULL."""


class Placed(Protocol):
    """A file, by where the dataset's partitioning puts its rows."""

    @property
    def spec_id(self) -> int:
        """Which of the partitionings that the table has had it was written under."""

    @property
    def partition(self) -> tuple[Any, ...]:
        """The values that all of its rows have of that partitioning."""


@dataclass(frozen=True, slots=True)
class PartitionLayout:
    """A table in folders by partition.

    Attributes:
        spec: The partitioning of the dataset.
        schema: The columns that it is made from, as far as they are delivered.
        fields: Those of its terms that are over such columns; at least one.
    """

    spec: PartitionSpec
    schema: Schema
    fields: tuple[PartitionField, ...]

    @classmethod
    def of(cls, spec: PartitionSpec, schema: Schema, shown: Collection[int]) -> PartitionLayout | None:
        """Return the layout of a dataset's partitioning; None if nothing of it is left.

        Args:
            spec: The partitioning.
            schema: The columns of the dataset.
            shown: The ids of those that are delivered, and not masked.
        """
        columns = [column for column in schema.fields if column.field_id in shown]
        known = {column.field_id for column in columns}
        fields = tuple(
            one for one in spec.fields if one.source_id in known and not isinstance(one.transform, VoidTransform)
        )
        used = {one.source_id for one in fields}
        return cls(spec, Schema(*(one for one in columns if one.field_id in used)), fields) if fields else None

    def in_words(self) -> list[dict[str, Any]]:
        """Return what tells it from other layouts, for JSON."""
        return [{"name": one.name, "source_id": one.source_id, "transform": str(one.transform)} for one in self.fields]

    def folder(self, values: Iterable[Any]) -> str:
        """Return the folder of rows that have some values of ``fields``."""
        return "/".join(self._name(one, value) for one, value in zip(self.fields, values, strict=True))

    def folder_of(self, file: Placed) -> str | None:
        """Return the folder of a file's rows; None of a file of another partitioning, whose rows may be of several."""
        if file.spec_id != self.spec.spec_id:
            return None
        values = dict(zip((one.field_id for one in self.spec.fields), file.partition, strict=True))
        return self.folder(values[one.field_id] for one in self.fields)

    def split(self, rows: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield rows by the folder that they belong to."""
        for values, of_one in split_by_partition(PartitionSpec(*self.fields), self.schema, rows):
            yield self.folder(values), of_one

    def _name(self, field: PartitionField, value: Any) -> str:
        kind = self.schema.find_type(field.source_id)
        if isinstance(value, float):
            value += 0.0  # both zeros are one partition, also where another engine says otherwise
        elif isinstance(kind, UUIDType) and isinstance(value, bytes):
            value = UUID(bytes=value)
        text = NO_VALUE if value is None else quote(field.transform.to_human_string(kind, value), safe="")
        return f"{quote(field.name, safe='')}={text}"


def plan_swap(
    layout: PartitionLayout, changed: Iterable[Placed], live: Iterable[Placed]
) -> frozenset[str] | DeliveryReason:
    """Return the partitions that a change touches, by their folders, or why everything has to come.

    A row that moved from one partition to another changed a file of each. Everything has to come if the change
    touches every partition, which saves nothing and leaves nothing behind, and if there are files of an earlier
    partitioning, of whose rows nobody knows the partitions without reading them.

    Args:
        layout: How the target lays the table out.
        changed: The files that only one of two snapshots has, or that have other deletes in the other.
        live: The files of the later one.
    """
    touched = {layout.folder_of(file) for file in changed}
    there = {layout.folder_of(file) for file in live}
    if None in touched | there:
        return DeliveryReason.EARLIER_PARTITIONING
    if there and there <= touched:
        return DeliveryReason.EVERY_PARTITION
    return frozenset(one for one in touched if one)
