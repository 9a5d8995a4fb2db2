"""Whether data files that another engine wrote are what its manifests say.

Readers pass over files on the word of a manifest, and merges over rows: a bound that leaves out a row hides it, and a
file under a wrong partition is not found. Footers tell most of it; only columns about which they leave it open are
read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.partitioning import PartitionField
from pyiceberg.schema import Schema
from pyiceberg.transforms import VoidTransform
from pyiceberg.types import BinaryType, DoubleType, FixedType, FloatType, NestedField, StringType, UUIDType

from cordillera.errors import InvalidInputError
from cordillera.spec.arrow_types import primitive, to_arrow_type
from cordillera.spec.partition_values import column_by_id, internal_form, transformed
from cordillera.spec.partitioning import columns_by_id
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.column_statistics import collect_statistics
from cordillera.table.content_file import ContentFile
from cordillera.table.data_file import named_when_corrupt, open_parquet
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.partitions import comparable
from cordillera.table.projection import file_columns, project
from cordillera.table.reader import ReadOptions

_UNSURE = (StringType, BinaryType, FixedType, UUIDType, FloatType, DoubleType)
"""Types whose bounds need not be values that occur, or leave out some that do."""
_AT_ONCE = 8
_Family = Callable[[pa.DataType], bool]
_FAMILIES: Sequence[_Family] = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    lambda kind: bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind)),
    pa.types.is_time,
    lambda kind: bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)),
    lambda kind: bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    ),
    pa.types.is_struct,
    lambda kind: bool(pa.types.is_list(kind) or pa.types.is_large_list(kind)),
    pa.types.is_map,
)
"""Types of one family are read as one another; a number in a column of text is no text."""


def check_files(io: TableIO, metadata: TableMetadata, files: Sequence[LiveFile], dataset: str) -> None:
    """Refuse new data files that are not what their manifests say.

    Args:
        io: Reads them.
        metadata: The table.
        files: The new ones; their own rows only, whatever was deleted of them.
        dataset: The dataset's name, for messages.

    Raises:
        CorruptDataError: If one cannot be read, or has another number of rows.
        InvalidInputError: If its size, its types, its bounds, its NULLs or its partition are not as described.
    """
    check = partial(_check_file, io, metadata, dataset)
    if len(files) == 1:  # as most commits have: to start a thread takes longer than to look at a small file
        check(files[0])
        return
    with ThreadPoolExecutor(_AT_ONCE, "check") as pool:  # where files are far away, most of the time is waiting
        for _ in pool.map(check, files):
            pass


def _check_file(io: TableIO, metadata: TableMetadata, dataset: str, live: LiveFile) -> None:
    with named_when_corrupt(live), io.storage.open_input(live.path) as source:
        size, footer = source.size(), open_parquet(source, live)
    found = _DescribedFile(io, metadata, live, footer, dataset)
    found.check_size(size)
    found.check_columns()
    found.check_statistics()
    found.check_partition()


class _DescribedFile:
    def __init__(
        self, io: TableIO, metadata: TableMetadata, live: LiveFile, parquet: pq.ParquetFile, dataset: str
    ) -> None:
        self._io, self._metadata, self._live, self._dataset = io, metadata, live, dataset
        self._stored: pa.Schema = parquet.schema_arrow
        self._schema = metadata.schema
        self._names = file_columns(self._stored, self._schema)
        self._footer = parquet.metadata

    @cached_property
    def _told(self) -> ContentFile:
        """The file as its footer describes it; columns that are called otherwise now are left out."""
        same = Schema(*(one for one in self._schema.fields if self._names.get(one.field_id) == one.name))
        return replace(self._live.file, **collect_statistics(self._footer, same))

    def check_size(self, size: int) -> None:
        """Engines find the footer by the size that the manifest tells."""
        if self._live.file.file_size_in_bytes != size:
            raise self._wrong(f"has {size} bytes, its manifest says {self._live.file.file_size_in_bytes}")

    def check_columns(self) -> None:
        for field in self._schema.fields:
            name = self._names.get(field.field_id)
            if name is None:
                if field.required and field.initial_default is None and self._live.file.record_count:
                    raise self._wrong(f"lacks the required column {field.name!r}")
                continue
            stored = self._stored.field(name).type
            if _family(stored) is not _family(to_arrow_type(field.field_type)):
                raise self._wrong(f"has column {field.name!r} as {stored}, not {field.field_type}")
        with named_when_corrupt(self._live):
            empty = pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in self._stored], schema=self._stored)
            project(empty, self._names, self._schema)

    # --- statistics ------------------------------------------------------------------------------------------------

    def check_statistics(self) -> None:
        said, fields = self._live.file, columns_by_id(self._schema)
        for number, nulls in said.null_value_counts.items():
            if number in fields and self._told.null_value_counts.get(number, nulls) != nulls:
                raise self._wrong(f"has other NULLs in column {fields[number].name!r} than its manifest says")
        bounded = [fields[number] for number in said.lower_bounds.keys() | said.upper_bounds.keys() if number in fields]
        unsure = [field for field in bounded if not self._covers(field, *_bounds(self._told, field))]
        if unsure and said.record_count:
            for field, least, greatest in self._extremes(unsure):
                if not self._covers(field, least, greatest):
                    raise self._wrong(f"has values in column {field.name!r} beyond the bounds in its manifest")

    def _covers(self, field: NestedField, least: Any, greatest: Any) -> bool:
        """Tell whether the bounds in the manifest certainly hold for values between two, which may be unknown."""
        low, high = _bounds(self._live.file, field)
        above = low is None or (least is not None and low <= least)
        return above and (high is None or (greatest is not None and greatest <= high))

    def _extremes(self, fields: Sequence[NestedField]) -> Iterator[tuple[NestedField, Any, Any]]:
        """Yield the least and the greatest value of columns, batch by batch; NaN and NULL are outside of any order."""
        for batch in self._read([field.field_id for field in fields]):
            for field in fields:
                values = internal_form(column_by_id(field.field_id, self._schema, batch))
                if isinstance(field.field_type, FloatType | DoubleType):
                    values = values.filter(pc.invert(pc.is_nan(values)))
                extremes = pc.min_max(values).as_py()
                if extremes["min"] is not None:
                    yield field, extremes["min"], extremes["max"]

    # --- partition -------------------------------------------------------------------------------------------------

    def check_partition(self) -> None:
        """Make sure that all rows are of the partition that the manifest says."""
        fields = self._metadata.spec_by_id(self._live.file.spec_id).fields
        placed = zip(fields, self._live.file.partition, strict=True)
        parts = [(part, value) for part, value in placed if not isinstance(part.transform, VoidTransform)]
        if not self._live.file.record_count or all(self._is_one_value(part, value) for part, value in parts):
            return
        said = comparable(tuple(value for _, value in parts))
        for batch in self._read([part.source_id for part, _ in parts]):
            columns = [transformed(part.source_id, part.transform, self._schema, batch) for part, _ in parts]
            found = [pc.unique(internal_form(column)) for column in columns]
            if any(len(values) > 1 for values in found) or comparable(tuple(v[0].as_py() for v in found)) != said:
                raise self._wrong(f"has rows of another partition than {self._live.file.partition}")

    def _is_one_value(self, part: PartitionField, value: Any) -> bool:
        """Tell whether the footer leaves no doubt that a partition field has this value for all rows."""
        field = columns_by_id(self._schema)[part.source_id]
        low, high = _bounds(self._told, field)
        if low is None or high is None or not part.transform.preserves_order or isinstance(field.field_type, _UNSURE):
            return False
        transform = part.transform.transform(field.field_type)
        has_null = self._told.null_value_counts.get(part.source_id, 1) != 0
        return not has_null and bool(transform(low) == transform(high) == value)

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _read(self, field_ids: Sequence[int]) -> Iterator[pa.RecordBatch]:
        names = dict.fromkeys((self._schema.find_column_name(number) or "").split(".")[0] for number in field_ids)
        whole = LiveFile(self._live.data, None)
        return self._io.reader.read(whole, ReadOptions(self._schema.select(*names)))

    def _wrong(self, what: str) -> InvalidInputError:
        return InvalidInputError(
            f"The data file {self._live.path} of {self._dataset} {what}.",
            hint="Write the file and its manifest with one of Iceberg's libraries.",
        )


def _bounds(file: ContentFile, field: NestedField) -> tuple[Any, Any]:
    """Return the bounds of a column; None where there is none."""
    kind = primitive(field)
    low, high = (bounds.get(field.field_id) for bounds in (file.lower_bounds, file.upper_bounds))
    return None if low is None else from_bytes(kind, low), None if high is None else from_bytes(kind, high)


def _family(kind: pa.DataType) -> _Family | None:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return next((family for family in _FAMILIES if family(kind)), None)
