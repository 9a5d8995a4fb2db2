"""Writing Arrow rows as Parquet data files: split by partition, rolled at the target size, with column statistics."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from cordillera.ports.storage import Storage
from cordillera.spec.arrow_types import FIELD_ID_KEY, to_arrow_schema
from cordillera.spec.partition_values import split_by_partition
from cordillera.table.column_statistics import collect_statistics
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.dictionaries import table_of, with_dictionaries
from cordillera.table.parquet_assembly import ParquetAssembler, ParquetSource
from cordillera.table.parquet_encoding import ROW_GROUP_ROWS, ParquetEncoding
from cordillera.table.threads import AtOnce

if TYPE_CHECKING:
    from cordillera.table.row_order import RowOrder

ROW_ID = "_row_id"
ROW_ID_FIELD_ID = 2147483540
LAST_UPDATED = "_last_updated_sequence_number"
LAST_UPDATED_FIELD_ID = 2147483539
LINEAGE_FIELDS = {
    ROW_ID: pa.field(ROW_ID, pa.int64(), metadata={FIELD_ID_KEY: str(ROW_ID_FIELD_ID).encode()}),
    LAST_UPDATED: pa.field(LAST_UPDATED, pa.int64(), metadata={FIELD_ID_KEY: str(LAST_UPDATED_FIELD_ID).encode()}),
}
ROW_GROUP_BYTES = 128 * 1024 * 1024
TARGET_FILE_SIZE_PROPERTY = "write.target-file-size-bytes"
DEFAULT_TARGET_FILE_SIZE = 128 * 1024 * 1024
_ENCODERS = 2
_FINISHERS = 8
_MAX_OPEN_FILES = 64
_MAX_GATHERED_BYTES = 256 * 1024 * 1024


def partition_path(spec: PartitionSpec, schema: Schema, partition: tuple[Any, ...]) -> str:
    """Return a partition as people read it, ``field=value/field=value``; empty for an unpartitioned table."""
    source = {part.field_id: schema.find_type(part.source_id) for part in spec.fields}
    parts = []
    for part, value in zip(spec.fields, partition, strict=True):
        text = part.transform.to_human_string(source[part.field_id], value)
        parts.append(f"{quote(part.name, safe='')}={quote(text, safe='')}")
    return "/".join(parts)


def data_file_path(location: str, spec: PartitionSpec, schema: Schema, partition: tuple[Any, ...], name: UUID) -> str:
    """Return the path of a new data file."""
    folder = partition_path(spec, schema, partition)
    return "/".join(part for part in (location, "data", folder, f"{name}.parquet") if part)


def stored_schema(schema: Schema, names: Iterable[str]) -> pa.Schema:
    """Return the schema of a data file: the table's columns, then those of ``names`` that are row lineage."""
    return pa.schema([*to_arrow_schema(schema), *(LINEAGE_FIELDS[name] for name in names if name in LINEAGE_FIELDS)])


class Keeper(Protocol):
    """Keeps some of what is written, for whoever would read it next."""

    def keep_rows(self, path: str, group: int, rows: pa.Table) -> None:
        """Keep what matters of the rows of a row group; they may share their memory with others."""

    def keep_file(self, file: ContentFile, footer: pq.FileMetaData) -> None:
        """Keep how a file is laid out that is in storage now."""


@dataclass(eq=False)
class _OpenFile:
    """One Parquet file being written: rows gather until they fill a row group, which is encoded, and appended then.

    Each part that is appended is a whole Parquet file. It is the file, if no other follows.
    """

    path: str
    partition: tuple[Any, ...]
    schema: pa.Schema
    storage: Storage
    groups: int = 0
    output: ExitStack = field(default_factory=ExitStack)
    sink: HashingSink | None = None
    first: pa.Buffer | None = None
    first_footer: pq.FileMetaData | None = None
    first_bytes: int = 0
    assembler: ParquetAssembler | None = None
    pending: list[pa.RecordBatch] = field(default_factory=list)
    pending_rows: int = 0
    pending_bytes: int = 0
    encoding_bytes: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self.pending.append(batch)
        self.pending_rows += batch.num_rows
        self.pending_bytes += batch.nbytes

    @property
    def fills_row_group(self) -> bool:
        return self.pending_rows >= ROW_GROUP_ROWS or self.pending_bytes >= ROW_GROUP_BYTES

    @property
    def size(self) -> int:
        return self.sink.size if self.sink is not None else self.first_bytes

    @property
    def checksum(self) -> str:
        return self.sink.checksum if self.sink is not None else ""

    def take_rows(self) -> pa.Table:
        """Take the gathered rows out, to be encoded."""
        rows = table_of(self.pending)
        self.encoding_bytes += self.pending_bytes
        self.pending, self.pending_rows, self.pending_bytes = [], 0, 0
        return rows

    def append(self, part: pa.Buffer, encoded_bytes: int) -> None:
        """Put rows behind the ones before."""
        self.encoding_bytes -= encoded_bytes
        if self.assembler is None and self.first is None:
            self.first, self.first_footer = part, pq.read_metadata(pa.BufferReader(part))
            self.first_bytes = _pages_size(self.first_footer)
            return
        if self.assembler is None:
            self.assembler = ParquetAssembler(self._opened(), ParquetSource(pa.BufferReader(self.first)))
            self._assemble(self.assembler, self.first)
            self.first = self.first_footer = None
        self._assemble(self.assembler, part)

    def finish(self) -> pq.FileMetaData:
        """Write what is still to be written, and close the file: only then it is safe in storage; return the footer."""
        with self.output:
            if self.assembler is not None:
                return self.assembler.close()
            self._opened().write(self.first)
            return self.first_footer

    def _opened(self) -> HashingSink:
        self.sink = HashingSink(self.output.enter_context(self.storage.open_output(self.path)))
        return self.sink

    def _assemble(self, assembler: ParquetAssembler, part: pa.Buffer | None) -> None:
        source = ParquetSource(pa.BufferReader(part))
        for group in range(len(source.groups)):
            assembler.add_group(source.chunks(group), source.rows(group))


def _pages_size(footer: pq.FileMetaData) -> int:
    """Return the bytes of the pages of all columns: without page indexes and footer, which a file has once."""
    groups = (footer.row_group(index) for index in range(footer.num_row_groups))
    return sum(group.column(index).total_compressed_size for group in groups for index in range(group.num_columns))


class HashingSink:
    """Hashes what passes through, so that no file is read again to know its checksum."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | pa.Buffer) -> None:
        """Hash bytes and pass them on."""
        self._digest.update(data)
        self._file.write(data)
        self.size += len(data)

    def tell(self) -> int:
        """Return how many bytes have passed."""
        return self.size

    @property
    def checksum(self) -> str:
        """Of all that has passed."""
        return f"sha256:{self._digest.hexdigest()}"


class DataWriter:
    """Writes rows of one table as data files under unique names.

    Rows may carry the lineage columns ``_row_id`` and ``_last_updated_sequence_number`` behind the schema's own;
    NULL there means "inherit from the commit". Columns of texts or bytes may be dictionaries, in some batches.

    Args:
        storage: Where to write.
        location: The table's location.
        schema: The schema to write under.
        spec: The partition spec to write under.
        target_size: Bytes at which a file is closed and the next one begun.
        encoding: Encodes columns.
        new_id: Mints unique file names.
        order: Sorts the rows of a write; None to write them as they come.
        keeper: Keeps some of it in memory.
    """

    def __init__(
        self,
        storage: Storage,
        location: str,
        schema: Schema,
        spec: PartitionSpec,
        target_size: int,
        encoding: ParquetEncoding,
        new_id: Callable[[], UUID],
        order: RowOrder | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._storage, self._location, self._new_id, self._order = storage, location, new_id, order
        self._schema, self._spec, self._target_size, self._encoding = schema, spec, target_size, encoding
        self._keeper = keeper
        self._open: dict[tuple[Any, ...], _OpenFile] = {}  # in the order of their first rows
        self._unfinished: set[_OpenFile] = set()
        self._encoders: Executor
        self._finishers: Executor
        self._finishing: list[Future[ContentFile]] = []
        self._queue: deque[tuple[_OpenFile, Future[pa.Buffer] | None, int]] = deque()
        """Parts being encoded, each with the size of its rows in memory; None where a file is to be finished."""

    def write(self, batches: Iterable[pa.RecordBatch]) -> list[ContentFile]:
        """Write a stream of batches and return the data files it became.

        On an error everything written so far is removed again, and the error goes on.
        """
        with (
            ThreadPoolExecutor(_ENCODERS, thread_name_prefix="cordillera-encode") as encoders,
            ThreadPoolExecutor(_FINISHERS, thread_name_prefix="cordillera-finish") as finishers,
        ):
            self._encoders, self._finishers = encoders, finishers
            try:
                for batch in self._order.sort(batches) if self._order else batches:
                    for partition, rows in split_by_partition(self._spec, self._schema, batch):
                        self._add(partition, rows)
                    self._make_room()
                if len(self._open) == 1 and not self._queue and not self._finishing:
                    self._encoders = self._finishers = AtOnce()
                while self._open:
                    self._close(next(iter(self._open)))
                self._drain(0)
                return [job.result() for job in self._finishing]
            except BaseException as error:
                self._abandon(error)

    def _add(self, partition: tuple[Any, ...], rows: pa.RecordBatch) -> None:
        """Add rows to a file, and to the next one where they are more than the target size takes."""
        for first in range(0, rows.num_rows, ROW_GROUP_ROWS):
            part = rows.slice(first, ROW_GROUP_ROWS)
            self._file_for(partition, part).add(part)
            self._flush(partition)

    def _file_for(self, partition: tuple[Any, ...], rows: pa.RecordBatch) -> _OpenFile:
        if partition not in self._open:
            path = data_file_path(self._location, self._spec, self._schema, partition, self._new_id())
            schema = stored_schema(self._schema, rows.schema.names)
            self._open[partition] = _OpenFile(path, partition, schema, self._storage)
            self._unfinished.add(self._open[partition])
        return self._open[partition]

    def _flush(self, partition: tuple[Any, ...]) -> None:
        """Have what fills a row group encoded, while the next is gathered, and close what has the target size."""
        file = self._open[partition]
        if not file.fills_row_group:
            return
        self._encode(file)
        if file.size + file.encoding_bytes >= self._target_size:
            self._drain(0)  # its size matters
        if file.size >= self._target_size:
            self._close(partition)

    def _encode(self, file: _OpenFile) -> None:
        """Have the gathered rows of a file encoded in a thread."""
        size, rows, out = file.pending_bytes, file.take_rows(), pa.BufferOutputStream()
        schema = with_dictionaries(file.schema, rows.schema.types)
        writer = self._encoding.writer(out, schema, rows)  # here, so that the first rows decide how, in any run
        self._keep_rows(file, rows)

        def encoded() -> pa.Buffer:
            with writer:
                writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
            return out.getvalue()

        self._queue.append((file, self._encoders.submit(encoded), size))
        self._drain(_ENCODERS)

    def _keep_rows(self, file: _OpenFile, rows: pa.Table) -> None:
        if self._keeper is None:
            return
        for first in range(0, rows.num_rows, ROW_GROUP_ROWS):
            self._keeper.keep_rows(file.path, file.groups, rows.slice(first, ROW_GROUP_ROWS))
            file.groups += 1

    def _drain(self, remaining: int) -> None:
        """Append what was encoded to its files, until so much is still under way."""
        while len(self._queue) > remaining:
            file, part, size = self._queue.popleft()
            if part is None:
                self._unfinished.remove(file)
                self._finishing.append(self._finishers.submit(self._finished, file))
                if len(self._finishing) > _FINISHERS:
                    self._finishing[-_FINISHERS - 1].result()  # no more than these are in memory
            else:
                file.append(part.result(), size)
                if file.first_footer is not None:
                    self._encoding.learn(file.first_footer)

    def _make_room(self) -> None:
        """Close the oldest files, where too many have been begun or too many rows gather."""
        begun = [partition for partition, file in self._open.items() if file.size or file.encoding_bytes]
        for partition in begun[: max(0, len(begun) - _MAX_OPEN_FILES)]:
            self._close(partition)
        gathered = sum(file.pending_bytes for file in self._open.values())
        while gathered > _MAX_GATHERED_BYTES:
            partition, file = next(iter(self._open.items()))
            gathered -= file.pending_bytes
            self._close(partition)

    def _close(self, partition: tuple[Any, ...]) -> None:
        """Take no more rows into a file; it is finished once what it has is encoded."""
        file = self._open.pop(partition)
        if file.pending:
            self._encode(file)
        self._queue.append((file, None, 0))

    def _finished(self, file: _OpenFile) -> ContentFile:
        """Finish a file, in a thread: disks and object stores take a while, and as long for several at a time."""
        footer = file.finish()
        written = ContentFile(
            content=Content.DATA,
            file_path=file.path,
            file_format="PARQUET",
            spec_id=self._spec.spec_id,
            partition=file.partition,
            record_count=footer.num_rows,
            file_size_in_bytes=file.size,
            sort_order_id=self._order.order_id if self._order else 0,
            checksum=file.checksum,
            **collect_statistics(footer, self._schema),
        )
        if self._keeper:
            self._keeper.keep_file(written, footer)
        return written

    def _abandon(self, error: BaseException) -> NoReturn:
        """Remove everything written so far, and raise the error as the storage puts it."""
        for _, part, _ in self._queue:
            if part is not None:
                part.cancel()
        wait(self._finishing)
        finished = [job.result().file_path for job in self._finishing if not job.exception()]
        with ExitStack() as stack:
            stack.callback(self._storage.delete, finished)
            for file in self._unfinished:
                stack.push(file.output)
            raise error
