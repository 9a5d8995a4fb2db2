"""Rows of partitions, in files laid out by them and in those of an earlier partitioning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
from pyiceberg.conversions import from_bytes
from pyiceberg.partitioning import PartitionField
from pyiceberg.types import DoubleType, FloatType, UUIDType
from pyroaring import BitMap64

from cordillera.spec.arrow_types import primitive
from cordillera.spec.partition_values import partition_columns
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import ContentFile, ManifestFile
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.reader import ReadOptions

Partition = tuple[Any, ...]
_NOT_A_NUMBER = object()
_UNORDERED = (FloatType, DoubleType, UUIDType)
"""Types whose bounds do not cover every value, or have another form than partition values."""


def file_of_spec(
    io: TableIO, metadata: TableMetadata, spec_ids: frozenset[int]
) -> tuple[IcebergSnapshot, ManifestFile] | None:
    """Return a manifest with files laid out by one of some partition specs, and a snapshot that has it, if any has."""
    for snapshot in reversed(metadata.snapshots):
        for manifest in io.files.manifests(snapshot):
            if manifest.partition_spec_id in spec_ids:
                return snapshot, manifest
    return None


class RowsOfPartitions:
    """Finds the stored rows of some partitions of a table's current partitioning.

    Args:
        io: Reads files, and joins.
        metadata: The table, which is partitioned.
        partitions: The partitions wanted.
    """

    def __init__(self, io: TableIO, metadata: TableMetadata, partitions: Iterable[Partition]) -> None:
        self._io, self._metadata, self._spec = io, metadata, metadata.partition_spec
        self._wanted = {comparable(partition): partition for partition in partitions}

    def find(self, live_files: Sequence[LiveFile]) -> dict[LiveFile, BitMap64]:
        """Return the positions of the rows; all of a file where its description tells so."""
        current = [live for live in live_files if live.file.spec_id == self._spec.spec_id]
        found = {live: live.every_position() for live in current if comparable(live.file.partition) in self._wanted}
        outdated = [
            live for live in live_files if live.file.spec_id != self._spec.spec_id and self._may_have(live.file)
        ]
        whole = {live: live.every_position() for live in outdated if self._lies_in_one(live.file)}
        return found | whole | self._search([live for live in outdated if live not in whole])

    # --- by statistics ---------------------------------------------------------------------------------------------

    def _may_have(self, file: ContentFile) -> bool:
        """Tell whether a file may have rows of one of the partitions."""
        ranges = [self._range(part, file) for part in self._spec.fields]
        return any(all(map(_Range.may_have, ranges, partition)) for partition in self._wanted.values())

    def _lies_in_one(self, file: ContentFile) -> bool:
        """Tell whether all rows of a file certainly are of one and the same partition."""
        return all(self._range(part, file).is_one_value for part in self._spec.fields)

    def _range(self, part: PartitionField, file: ContentFile) -> _Range:
        source = self._metadata.schema.find_field(part.source_id)
        low, high = (bounds.get(part.source_id) for bounds in (file.lower_bounds, file.upper_bounds))
        ordered = part.transform.preserves_order and not isinstance(source.field_type, _UNORDERED)
        if not ordered or low is None or high is None:
            return _Range()
        kind, transform = primitive(source), part.transform.transform(source.field_type)
        has_null = file.null_value_counts.get(part.source_id) != 0
        return _Range(transform(from_bytes(kind, low)), transform(from_bytes(kind, high)), has_null=has_null)

    # --- by rows ---------------------------------------------------------------------------------------------------

    def _search(self, candidates: Sequence[LiveFile]) -> dict[LiveFile, BitMap64]:
        if not candidates:
            return {}
        schema = self._metadata.schema
        sources = dict.fromkeys(schema.find_column_name(part.source_id) or "" for part in self._spec.fields)
        options = ReadOptions(schema.select(*sources), (FILE_INDEX, POSITION))
        batches = self._placed(self._io.reader.stream(candidates, options))
        first = next(batches, None)
        if first is None:
            return {}
        names = [name for name in first.schema.names if name not in (FILE_INDEX, POSITION)]
        columns = zip(names, zip(*self._wanted.values(), strict=True), strict=True)
        wanted = pa.table({name: pa.array(values, first.schema.field(name).type) for name, values in columns})
        rows = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        same = " AND ".join(f"r.{name} IS NOT DISTINCT FROM w.{name}" for name in names)
        matches = self._io.engine.table(
            f"SELECT r.{FILE_INDEX}, r.{POSITION} FROM rows r SEMI JOIN wanted w ON {same}",
            {"rows": rows, "wanted": wanted},
        )
        return positions_by_file(matches, candidates)

    def _placed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return where rows are, and the partitions they belong to."""
        for batch in batches:
            values = partition_columns(self._spec, self._metadata.schema, batch)
            names = [f"p{number}" for number in range(len(values))]
            columns = [batch.column(FILE_INDEX), batch.column(POSITION), *values]
            yield pa.RecordBatch.from_arrays(columns, names=[FILE_INDEX, POSITION, *names])


@dataclass(frozen=True, slots=True)
class _Range:
    """The values that a partition field has for the rows of a file; unknown where there are no bounds."""

    low: Any = None
    high: Any = None
    has_null: bool = True

    @property
    def is_one_value(self) -> bool:
        return self.low is not None and self.low == self.high and not self.has_null

    def may_have(self, value: Any) -> bool:
        if value is None or self.low is None:
            return self.has_null
        return bool(self.low <= value <= self.high)


def comparable(partition: Partition) -> Partition:
    """Return partition values that equal each other where the partitions are the same: NaN does not equal itself."""
    return tuple(_NOT_A_NUMBER if value != value else value for value in partition)
