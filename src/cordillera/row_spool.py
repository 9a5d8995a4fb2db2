"""Rows of which nobody knows how many come, held so that memory suffices: few in memory, many in a mapped file."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import IO

import pyarrow as pa

from cordillera.errors import StorageFullError
from cordillera.spec.arrow_types import empty_table

MOST_IN_MEMORY = 256 * 1024 * 1024
"""So many bytes of rows are held in memory. Merges make further copies, of which a few then fit beside each other."""


class RowSpool:
    """Gathers rows, to give them back as a table.

    What is more than ``in_memory`` lies in a temporary file without a name, whose pages the kernel may drop from memory
    whenever it likes: a table of them takes address space, and no memory that others could not have.

    Args:
        in_memory: Bytes of rows that are held in memory.
    """

    def __init__(self, in_memory: int = MOST_IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._held, self._held_bytes = list[pa.RecordBatch](), 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> RowSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = []
        with suppress(OSError):  # all of it that anybody wants was written before
            self._open.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Hold rows behind those before, which had the same columns.

        Raises:
            StorageFullError: If there is no room for temporary files.
        """
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > self._in_memory:
            with _having_room():
                self._spill()

    def table(self) -> pa.Table | None:
        """Return all rows, None if none were added; they are there as long as the table is, the spool closed or not.

        Raises:
            StorageFullError: If there is no room for temporary files.
        """
        if self._file is None or self._writer is None:
            return pa.Table.from_batches(self._held) if self._held else None
        with _having_room():
            self._spill()
            self._writer.close()
            self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()

    def _spill(self) -> None:
        """Put the rows that are in memory into the file, from then on each batch as it comes."""
        if self._file is None:
            self._file = self._open.enter_context(tempfile.TemporaryFile(prefix="cordillera-rows-"))  # noqa: SIM115 - closed there
            self._writer = self._open.enter_context(pa.ipc.new_file(self._file, self._held[0].schema))
            self._in_memory = 0
        assert self._writer is not None
        for batch in self._held:
            self._writer.write_batch(batch)
        self._held, self._held_bytes = [], 0


@contextmanager
def _having_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFullError(
            f"The rows do not fit into memory, and not into {tempfile.gettempdir()}, the folder for temporary files: "
            f"{error}.",
            hint="Make room there, name another folder in TMPDIR, or cut the rows into several writes.",
        ) from error


def held(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return rows as a table that takes little memory, however many they are.

    Args:
        batches: The rows.
        schema: Their columns.

    Raises:
        StorageFullError: If there is no room for temporary files.
    """
    with RowSpool() as spool:
        for batch in batches:
            spool.add(batch)
        rows = spool.table()
    return empty_table(schema) if rows is None else rows
