"""What "-1" means in a commit of another engine: the schema, partition spec or sort order that it added last.

An engine that adds one the table has already means that one, as Iceberg's own implementation understands it; and one
whose id has been given to another meanwhile gets the next id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from cordillera.errors import InvalidInputError
from cordillera.spec.commit import AddPartitionSpec, AddSchema, SetCurrentSchema, SetDefaultSpec, Update
from cordillera.spec.metadata_updates import AddSortOrder, SetDefaultSortOrder
from cordillera.spec.table_metadata import TableMetadata

_T = TypeVar("_T")


def settled(updates: Sequence[Update], metadata: TableMetadata) -> list[Update]:
    """Return updates that name everything by its id, and add nothing twice.

    Raises:
        InvalidInputError: If "-1" stands for nothing.
    """
    return list(_Settling(metadata).settle(updates))


class _Settling:
    def __init__(self, metadata: TableMetadata) -> None:
        self._schemas = _Numbered(metadata.schemas, lambda one: one.schema_id, _same_schema)
        self._specs = _Numbered(metadata.partition_specs, lambda one: one.spec_id, _same_spec)
        self._key = metadata.schema.identifier_field_ids if metadata.schemas else []
        self._orders = _Numbered(metadata.sort_orders, lambda one: int(one["order-id"]), _same_order)

    def settle(self, updates: Sequence[Update]) -> Iterator[Update]:
        for update in updates:
            match update:
                case AddSchema(schema):
                    schema = self._with_key(schema)
                    if self._schemas.adds(schema):
                        yield AddSchema(self._schemas.put(_with_schema_id(schema, self._schemas.free(schema))))
                case SetCurrentSchema(None):
                    yield SetCurrentSchema(self._schemas.last("schema"))
                case AddPartitionSpec(spec):
                    if self._specs.adds(spec):
                        added = PartitionSpec(*spec.fields, spec_id=self._specs.free(spec))
                        yield AddPartitionSpec(self._specs.put(added))
                case SetDefaultSpec(None):
                    yield SetDefaultSpec(self._specs.last("partition spec"))
                case AddSortOrder(order):
                    if self._orders.adds(order):
                        yield AddSortOrder(self._orders.put({**order, "order-id": self._orders.free(order)}))
                case SetDefaultSortOrder(None):
                    yield SetDefaultSortOrder(self._orders.last("sort order"))
                case _:
                    yield update

    def _with_key(self, schema: Schema) -> Schema:
        """Return a schema with the identifier fields of the current one, if it has none: engines lose them."""
        possible = {field.field_id for field in schema.fields if field.required}
        if schema.identifier_field_ids or not possible.issuperset(self._key):
            return schema
        return Schema(*schema.fields, schema_id=schema.schema_id, identifier_field_ids=self._key)


class _Numbered:
    """Things of a table that have ids."""

    def __init__(self, known: Sequence[Any], number: Callable[[Any], int], same: Callable[[Any, Any], bool]) -> None:
        self._known, self._number, self._same = list(known), number, same
        self._last: int | None = None

    def adds(self, one: object) -> bool:
        """Tell whether something is not there yet; if it is, it counts as what was added last."""
        found = next((known for known in self._known if self._same(known, one)), None)
        if found is not None:
            self._last = self._number(found)
        return found is None

    def free(self, one: object) -> int:
        """Return the id that something wants if nothing else has it, or else the next one."""
        taken = {self._number(known) for known in self._known}
        wanted = self._number(one)
        return wanted if wanted not in taken and wanted >= 0 else max(taken, default=-1) + 1

    def put(self, one: _T) -> _T:
        """Note that something was added."""
        self._known.append(one)
        self._last = self._number(one)
        return one

    def last(self, what: str) -> int:
        """Return the id of what was added last."""
        if self._last is None:
            raise InvalidInputError(f"The commit adds no {what} that -1 could stand for.", hint="Name one by its id.")
        return self._last


def _with_schema_id(schema: Schema, number: int) -> Schema:
    return Schema(*schema.fields, schema_id=number, identifier_field_ids=schema.identifier_field_ids)


def _same_schema(one: Schema, other: Schema) -> bool:
    return one.fields == other.fields and set(one.identifier_field_ids) == set(other.identifier_field_ids)


def _same_spec(one: PartitionSpec, other: PartitionSpec) -> bool:
    return one.fields == other.fields


def _same_order(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return list(one["fields"]) == list(other["fields"])
