"""What one data file holds: its row groups described as files are, and row lineage, stored or inherited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.schema import Schema

from cordillera.errors import CorruptDataError, NotAllowedError
from cordillera.spec.arrow_types import field_id_of
from cordillera.table.column_statistics import collect_statistics
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.data_writer import LAST_UPDATED, LAST_UPDATED_FIELD_ID, ROW_ID, ROW_ID_FIELD_ID
from cordillera.table.live_files import LiveFile

POSITION = "_pos"
FILE_INDEX = "_file_index"
METADATA_COLUMNS = {
    ROW_ID: pa.field(ROW_ID, pa.int64()),
    LAST_UPDATED: pa.field(LAST_UPDATED, pa.int64()),
    POSITION: pa.field(POSITION, pa.int64()),
    FILE_INDEX: pa.field(FILE_INDEX, pa.int32()),
}

MayContain = Callable[[ContentFile], bool]
"""Tells from a file's (or a row group's) statistics whether it may hold rows of interest."""


@contextmanager
def named_when_corrupt(live: LiveFile) -> Iterator[None]:
    """Turn what libraries raise about a damaged data file into an error that names it.

    Raises:
        CorruptDataError: In their place.
    """
    try:
        yield
    except (pa.ArrowInvalid, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CorruptDataError(
            f"The data file {live.path} cannot be read: {error}",
            hint="Restore it, or roll the dataset back.",
        ) from error


def open_parquet(
    source: pa.NativeFile,
    live: LiveFile,
    footer: pq.FileMetaData | None = None,
    dictionaries: Sequence[str] = (),
) -> pq.ParquetFile:
    """Open a data file.

    Args:
        source: Its bytes.
        live: What the manifests say about it.
        footer: Its footer, where it is known.
        dictionaries: Columns of texts or bytes to read as the dictionaries that they are stored as.

    Raises:
        CorruptDataError: If it has another number of rows than its manifest says.
        NotAllowedError: If it is no Parquet file.
    """
    if live.file.file_format != "PARQUET":
        raise NotAllowedError(
            f"The data file {live.path} is {live.file.file_format}; only Parquet can be read.",
            hint="Rewrite it with the engine that wrote it.",
        )
    parquet = pq.ParquetFile(
        source, metadata=footer, pre_buffer=True, page_checksum_verification=True, read_dictionary=dictionaries
    )
    if parquet.metadata.num_rows != live.file.record_count:
        raise CorruptDataError(
            f"The data file {live.path} has {parquet.metadata.num_rows} rows, its manifest says "
            f"{live.file.record_count}."
        )
    return parquet


def check_complete(live: LiveFile, footer: pq.FileMetaData, group: int, rows: int) -> None:
    """Make sure that a row group has given all of its rows: readers pass over pages whose headers are damaged.

    Raises:
        CorruptDataError: If it has not.
    """
    said = footer.row_group(group).num_rows
    if rows != said:
        raise CorruptDataError(
            f"The data file {live.path} gives {rows} rows of its row group {group}, its footer says {said}.",
            hint="Restore it, or roll the dataset back.",
        )


def lineage_columns(stored: pa.Schema) -> dict[int | None, str]:
    """Return the names that row lineage has in a file, by field id; without those that are inherited."""
    return {field_id_of(f): f.name for f in stored if field_id_of(f) in (ROW_ID_FIELD_ID, LAST_UPDATED_FIELD_ID)}


def metadata_column(
    name: str,
    batch: pa.RecordBatch,
    live: LiveFile,
    lineage: dict[int | None, str],
    positions: npt.NDArray[np.int64],
    index: int,
) -> pa.Array:
    """Return a metadata column of rows.

    Args:
        name: Which.
        batch: The rows as stored.
        live: Their file.
        lineage: The file's ``lineage_columns``.
        positions: Their positions in the file.
        index: The number that stands for the file.
    """
    rows = len(positions)
    if name == FILE_INDEX:
        return pa.repeat(pa.scalar(index, pa.int32()), rows)
    if name == POSITION:
        return pa.array(positions)
    if name == ROW_ID:
        first = live.file.first_row_id
        inherited = pa.nulls(rows, pa.int64()) if first is None else pa.array(first + positions)
        stored = lineage.get(ROW_ID_FIELD_ID)
    else:
        sequence = None if live.file.first_row_id is None else live.data.sequence_number
        inherited = pa.repeat(pa.scalar(sequence, pa.int64()), rows)
        stored = lineage.get(LAST_UPDATED_FIELD_ID)
    return inherited if stored is None else pc.coalesce(batch.column(stored), inherited)


def row_group_as_file(footer: pq.FileMetaData, index: int, file: ContentFile, schema: Schema) -> ContentFile:
    """Describe a row group of a file as if it were one, so that one rule prunes both."""
    group = footer.row_group(index)
    statistics = collect_statistics(footer, schema, only_group=index)
    return ContentFile(
        Content.DATA, file.file_path, "PARQUET", file.spec_id, file.partition, group.num_rows,
        group.total_byte_size, **statistics,
    )  # fmt: skip
