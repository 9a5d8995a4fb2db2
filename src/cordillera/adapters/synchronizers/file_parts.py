"""The files of an export: rows in files of about a size, in the folders of their partitions where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cordillera.adapters.synchronizers.file_formats import BatchWriter, FileFormat
from cordillera.errors import CorruptDataError, NotAllowedError
from cordillera.ports.storage import Storage
from cordillera.ports.synchronizer import Delivery
from cordillera.spec.partition_layout import PartitionLayout

PART_BYTES = 256 * 1024 * 1024
"""How much Arrow data goes into one file."""
_MOST_OPEN = 16
"""How many partitions' files are written at the same time; rows mostly come partition by partition."""
_LONGEST_NAME = 255
"""How many characters the name of a folder has at most, on file systems."""


@dataclass(slots=True)
class _Part:
    """A file that is being written: what ends it, what ends its rows, and what it has so far."""

    number: int
    uri: str
    published: ExitStack
    written: ExitStack
    sink: pa.NativeFile
    writer: BatchWriter
    rows: int = 0
    size: int = 0


class PartFiles:
    """Writes the rows of one delivery into files.

    Args:
        storage: Where to.
        form: What the files look like.
        folder: Where the files go, or the folders of partitions with them.
        delivery: What the rows are.
        layout: Into which partitions they go; None for one folder, which has at least one file.
    """

    def __init__(
        self, storage: Storage, form: FileFormat, folder: str, delivery: Delivery, layout: PartitionLayout | None
    ) -> None:
        self._storage, self._form, self._folder = storage, form, folder
        self._delivery, self._layout = delivery, layout
        self._opened = ExitStack()
        self._parts: dict[str, _Part] = {}  # by partition, the one that was written to last at the end
        self._files: dict[int, dict[str, Any]] = {}
        self._begun = 0

    def write(self, batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
        """Write rows, and return where they are: ``uri``, ``rows``, ``bytes`` and, of partitions, ``partition``.

        Raises:
            CorruptDataError: If a row is of a partition that the delivery is not about.
            NotAllowedError: If a partition cannot be a folder.
        """
        with self._opened:  # on an error nothing remains of what is open
            for batch in batches:
                for partition, rows in self._split(batch):
                    self._add(partition, rows)
            if self._layout is None and not self._begun:
                self._begin("")
            while self._parts:
                self._finish(next(iter(self._parts)))
        return [self._files[number] for number in sorted(self._files)]

    def _split(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        if self._layout is None:
            yield "", batch
            return
        for partition, rows in self._layout.split(batch):
            if self._delivery.swap is not None and partition not in self._delivery.swap:
                raise CorruptDataError(
                    f"A file of another partition has rows of {partition!r} for the table "
                    f"{self._delivery.table.name!r}; its exports were left as they were.",
                    hint="Whoever wrote the file did not follow the dataset's partitioning: write its rows anew.",
                )
            yield partition, rows

    def _add(self, partition: str, rows: pa.RecordBatch) -> None:
        part = self._parts.pop(partition, None) or self._begin(partition)
        self._parts[partition] = part
        part.writer.write(rows)
        part.rows, part.size = part.rows + rows.num_rows, part.size + rows.nbytes
        if part.size >= PART_BYTES:
            self._finish(partition)
        elif len(self._parts) > _MOST_OPEN:
            self._finish(next(iter(self._parts)))

    def _begin(self, partition: str) -> _Part:
        if any(len(name) > _LONGEST_NAME for name in partition.split("/")):
            raise NotAllowedError(
                f"A partition of the table {self._delivery.table.name!r} has a value too long for a folder's name: "
                f"{partition[:100]}…",
                hint="Set the target's layout to whole.",
            )
        uri = "/".join(filter(None, [self._folder, partition, f"part-{self._begun:05d}.{self._form.suffix}"]))
        published = self._opened.enter_context(ExitStack())
        sink = published.enter_context(self._storage.open_output(uri))
        written = published.enter_context(ExitStack())
        writer = written.enter_context(closing(self._form.writer(sink, self._delivery.table.arrow_schema())))
        self._parts[partition] = part = _Part(self._begun, uri, published, written, sink, writer)
        self._begun += 1
        return part

    def _finish(self, partition: str) -> None:
        part = self._parts.pop(partition)
        part.written.close()
        size = part.sink.tell()
        part.published.close()
        told = {} if self._layout is None else {"partition": partition}
        self._files[part.number] = {"uri": part.uri, "rows": part.rows, "bytes": size, **told}
