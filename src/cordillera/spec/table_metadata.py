"""Iceberg table metadata (specification, "Table Metadata", format versions 2 and 3) as an immutable value.

pyiceberg's pydantic models copy the whole history on every change; here a snapshot is parsed once, its JSON is kept,
and a commit costs the same at ten thousand snapshots as at one. Fields this module does not know survive a round trip.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import orjson
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from cordillera.errors import CorruptDataError
from cordillera.spec.merge import TOMBSTONES_PROPERTY, MergeSemantics, WriteMode

MAIN_BRANCH = "main"
SUPPORTED_FORMAT_VERSIONS = (2, 3)
_GZIP_MAGIC, _GZIP_BITS = b"\x1f\x8b", 16 + zlib.MAX_WBITS
UNSORTED: Mapping[str, Any] = {"order-id": 0, "fields": []}


@dataclass(frozen=True)
class IcebergSnapshot:
    """A snapshot as table metadata lists it.

    ``first_row_id`` and ``added_rows`` are mandatory from format version 3 on and absent before.
    """

    snapshot_id: int
    parent_snapshot_id: int | None
    sequence_number: int
    timestamp_ms: int
    manifest_list: str
    summary: Mapping[str, str]
    schema_id: int | None
    first_row_id: int | None = None
    added_rows: int | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> IcebergSnapshot:
        """Read a snapshot object."""
        return cls(
            snapshot_id=raw["snapshot-id"],
            parent_snapshot_id=raw.get("parent-snapshot-id"),
            sequence_number=raw.get("sequence-number", 0),
            timestamp_ms=raw["timestamp-ms"],
            manifest_list=raw["manifest-list"],
            summary=raw.get("summary", {"operation": "append"}),
            schema_id=raw.get("schema-id"),
            first_row_id=raw.get("first-row-id"),
            added_rows=raw.get("added-rows"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot object, without absent fields."""
        raw = {
            "snapshot-id": self.snapshot_id,
            "parent-snapshot-id": self.parent_snapshot_id,
            "sequence-number": self.sequence_number,
            "timestamp-ms": self.timestamp_ms,
            "manifest-list": self.manifest_list,
            "summary": dict(self.summary),
            "schema-id": self.schema_id,
            "first-row-id": self.first_row_id,
            "added-rows": self.added_rows,
        }
        return {name: value for name, value in raw.items() if value is not None}

    @cached_property
    def json(self) -> orjson.Fragment:
        """The encoded snapshot, kept because it never changes."""
        return orjson.Fragment(orjson.dumps(self.to_dict()))


@dataclass(frozen=True)
class TableMetadata:
    """The state of one Iceberg table at one commit.

    Attributes:
        branch: The branch whose head ``current_snapshot`` is; see ``cordillera.spec.refs.on_branch``.
    """

    format_version: int
    table_uuid: str
    location: str
    last_sequence_number: int
    last_updated_ms: int
    last_column_id: int
    schemas: tuple[Schema, ...]
    current_schema_id: int
    partition_specs: tuple[PartitionSpec, ...]
    default_spec_id: int
    last_partition_id: int
    sort_orders: tuple[Mapping[str, Any], ...] = (UNSORTED,)
    default_sort_order_id: int = 0
    properties: Mapping[str, str] = field(default_factory=dict)
    current_snapshot_id: int | None = None
    snapshots: tuple[IcebergSnapshot, ...] = ()
    snapshot_log: tuple[Mapping[str, Any], ...] = ()
    metadata_log: tuple[Mapping[str, Any], ...] = ()
    refs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    next_row_id: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    branch: str = MAIN_BRANCH

    @property
    def schema(self) -> Schema:
        """The current schema."""
        return self.schema_by_id(self.current_schema_id)

    def schema_by_id(self, schema_id: int | None) -> Schema:
        """Return a schema by id; None means the current one."""
        wanted = self.current_schema_id if schema_id is None else schema_id
        return next(schema for schema in self.schemas if schema.schema_id == wanted)

    @property
    def partition_spec(self) -> PartitionSpec:
        """The default partition spec."""
        return self.spec_by_id(self.default_spec_id)

    def spec_by_id(self, spec_id: int) -> PartitionSpec:
        """Return a partition spec by id."""
        return next(spec for spec in self.partition_specs if spec.spec_id == spec_id)

    @property
    def sort_order(self) -> Mapping[str, Any]:
        """The sort order that new files are written in."""
        return self.sort_order_by_id(self.default_sort_order_id)

    def sort_order_by_id(self, order_id: int | None) -> Mapping[str, Any]:
        """Return a sort order by id; the one that sorts by nothing where the table has none of that id."""
        return next((order for order in self.sort_orders if order["order-id"] == order_id), UNSORTED)

    @cached_property
    def semantics(self) -> MergeSemantics:
        """The merge semantics stored in the table's properties."""
        return MergeSemantics.of(self.schema, self.properties)

    @cached_property
    def _schemas_json(self) -> orjson.Fragment:
        return _models_json(self.schemas)

    @cached_property
    def _specs_json(self) -> orjson.Fragment:
        return _models_json(self.partition_specs)

    @property
    def write_mode(self) -> WriteMode:
        """How rows are taken out of files; format version 2 knows no deletion vectors."""
        return self.semantics.write_mode if self.format_version >= 3 else WriteMode.COPY_ON_WRITE

    @cached_property
    def current_snapshot(self) -> IcebergSnapshot | None:
        """The snapshot that readers see, or None for an empty table."""
        if self.current_snapshot_id is None:
            return None
        return self.snapshot_by_id(self.current_snapshot_id)

    @property
    def tombstones_property(self) -> str:
        """The property that leads to the branch's tombstones.

        Every branch has its own: a delete that is only tried out must not make rows on ``main`` late.
        """
        return TOMBSTONES_PROPERTY if self.branch == MAIN_BRANCH else f"{TOMBSTONES_PROPERTY}.{self.branch}"

    @property
    def tombstones(self) -> str | None:
        """The index of the branch's tombstones, if it has any."""
        return self.properties.get(self.tombstones_property)

    def snapshot_by_id(self, snapshot_id: int) -> IcebergSnapshot | None:
        """Return a snapshot by id, newest first, or None."""
        return next((s for s in reversed(self.snapshots) if s.snapshot_id == snapshot_id), None)

    def snapshot_by_sequence(self, sequence_number: int) -> IcebergSnapshot | None:
        """Return a snapshot by sequence number, newest first, or None."""
        return next((s for s in reversed(self.snapshots) if s.sequence_number == sequence_number), None)

    def with_changes(self, **changes: Any) -> TableMetadata:
        """Return a copy with fields replaced. What was found out from fields that stay is kept."""
        if unknown := changes.keys() - _FIELDS:
            raise TypeError(f"Table metadata has no {', '.join(sorted(unknown))}.")
        made, mine = object.__new__(TableMetadata), self.__dict__  # a commit makes ten; ``replace`` takes much longer
        made.__dict__.update({name: mine[name] for name in _FIELDS}, **changes)
        for name, sources in _FOUND_FROM.items():
            if name in mine and sources.isdisjoint(changes):
                made.__dict__[name] = mine[name]
        return made

    def to_json(self) -> bytes:
        """Encode as a metadata file."""
        snapshots = [snapshot.json for snapshot in self.snapshots]
        return orjson.dumps({**self.without_history(), "snapshots": snapshots, "snapshot-log": list(self.snapshot_log)})

    def without_history(self) -> dict[str, Any]:
        """Return what a metadata file has, save the lists that grow with every commit."""
        assert self.branch == MAIN_BRANCH, "what a branch's reader sees is not for storing"
        raw: dict[str, Any] = {
            **self.extra,
            "format-version": self.format_version,
            "table-uuid": self.table_uuid,
            "location": self.location,
            "last-sequence-number": self.last_sequence_number,
            "last-updated-ms": self.last_updated_ms,
            "last-column-id": self.last_column_id,
            "schemas": self._schemas_json,
            "current-schema-id": self.current_schema_id,
            "partition-specs": self._specs_json,
            "default-spec-id": self.default_spec_id,
            "last-partition-id": self.last_partition_id,
            "sort-orders": list(self.sort_orders),
            "default-sort-order-id": self.default_sort_order_id,
            "properties": dict(self.properties),
            "metadata-log": list(self.metadata_log),
            "refs": dict(self.refs),
        }
        if self.current_snapshot_id is not None:
            raw["current-snapshot-id"] = self.current_snapshot_id
        if self.format_version >= 3:
            raw["next-row-id"] = self.next_row_id or 0
        return raw

    @classmethod
    def from_json(cls, data: bytes, where: str = "table metadata") -> TableMetadata:
        """Decode a metadata file, which may be compressed.

        Raises:
            CorruptDataError: Naming ``where`` if it is not valid metadata of a supported format version.
        """
        try:
            plain = zlib.decompress(data, _GZIP_BITS) if data.startswith(_GZIP_MAGIC) else data
            raw: dict[str, Any] = orjson.loads(plain)
            version = raw.pop("format-version")
            if version not in SUPPORTED_FORMAT_VERSIONS:
                raise CorruptDataError(f"{where} has Iceberg format version {version}.", hint="Supported are 2 and 3.")
            return cls._from_dict(version, raw)
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise CorruptDataError(f"{where} is not valid Iceberg metadata: {error!r}.") from error

    @classmethod
    def _from_dict(cls, version: int, raw: dict[str, Any]) -> TableMetadata:
        current = raw.pop("current-snapshot-id", None)
        return cls(
            format_version=version,
            table_uuid=str(raw.pop("table-uuid")),
            location=raw.pop("location"),
            last_sequence_number=raw.pop("last-sequence-number"),
            last_updated_ms=raw.pop("last-updated-ms"),
            last_column_id=raw.pop("last-column-id"),
            schemas=tuple(Schema.model_validate(item) for item in raw.pop("schemas")),
            current_schema_id=raw.pop("current-schema-id"),
            partition_specs=tuple(PartitionSpec.model_validate(item) for item in raw.pop("partition-specs")),
            default_spec_id=raw.pop("default-spec-id"),
            last_partition_id=raw.pop("last-partition-id"),
            sort_orders=tuple(raw.pop("sort-orders")),
            default_sort_order_id=raw.pop("default-sort-order-id"),
            properties=raw.pop("properties", {}),
            current_snapshot_id=None if current == -1 else current,
            snapshots=tuple(IcebergSnapshot.from_dict(item) for item in raw.pop("snapshots", [])),
            snapshot_log=tuple(raw.pop("snapshot-log", [])),
            metadata_log=tuple(raw.pop("metadata-log", [])),
            refs=raw.pop("refs", {}),
            next_row_id=raw.pop("next-row-id", None),
            extra=raw,
        )


def metadata_number(location: str) -> int:
    """Return the number of a metadata file: of one table, a later file has a greater one."""
    number = location.rsplit("/", 1)[-1].split("-", 1)[0]
    return int(number) if number.isdigit() else 0


_FIELDS = frozenset(one.name for one in fields(TableMetadata))
_FOUND_FROM = {
    "semantics": frozenset({"schemas", "current_schema_id", "properties"}),
    "_schemas_json": frozenset({"schemas"}),
    "_specs_json": frozenset({"partition_specs"}),
}
"""What a table's metadata keeps once it was found out, and the fields that it follows from."""


def _models_json(models: Sequence[Schema] | Sequence[PartitionSpec]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps([orjson.Fragment(model.model_dump_json()) for model in models]))
