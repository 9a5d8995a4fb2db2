"""Rows on their way to Amazon Redshift: Parquet files in S3, and the manifest by which COPY finds them.

Below the staging folder every subscription has one, and every attempt to deliver one in that::

    SUBSCRIPTION/ATTEMPT/upserts/part-00000.parquet …
    SUBSCRIPTION/ATTEMPT/upserts/manifest.json

What an attempt wrote is removed when it ends. What a worker left that died is removed by a later delivery of the same
subscription, a day after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import UUID, uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cordillera.adapters.synchronizers.redshift_types import encode, file_schema
from cordillera.ports.storage import Storage
from cordillera.ports.synchronizer import TargetColumn

PART_BYTES = 64 * 1024 * 1024
"""How much Arrow data goes into one file: several, so that the slices of a cluster share the work."""
_ABANDONED_AFTER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows that COPY can load: their manifest, and how many they are."""

    manifest: str
    rows: int


@dataclass(slots=True)
class Attempt:
    """The files of one attempt to deliver."""

    storage: Storage
    folder: str
    written: list[str] = field(default_factory=list)

    def stage(
        self, name: str, columns: Sequence[TargetColumn], key: Sequence[str], batches: Iterator[pa.RecordBatch]
    ) -> Staged | None:
        """Write rows and their manifest; None, and nothing written, if there are none.

        Args:
            name: Of the folder.
            columns: What the batches have, in that order.
            key: The names of the key columns, for errors.
            batches: The rows.
        """
        first = next(batches, None)
        if first is None:
            return None
        entries, rows = [], 0
        rest = chain([first], batches)
        del first  # not held while its successors are written
        for uri, count, size in self._parts(f"{self.folder}/{name}", columns, key, rest):
            entries.append({"url": uri, "mandatory": True, "meta": {"content_length": size}})
            rows += count
        manifest = f"{self.folder}/{name}/manifest.json"
        self._write(manifest, json.dumps({"entries": entries}).encode())
        return Staged(manifest, rows)

    def _parts(
        self, folder: str, columns: Sequence[TargetColumn], key: Sequence[str], batches: Iterator[pa.RecordBatch]
    ) -> Iterator[tuple[str, int, int]]:
        """Write files of about ``PART_BYTES``; yield the URI, the rows and the bytes of each."""
        schema, batch, number = file_schema(columns), next(batches, None), 0
        while batch is not None:
            uri, rows, size = f"{folder}/part-{number:05d}.parquet", 0, 0
            self.written.append(uri)
            with self.storage.open_output(uri) as sink:
                # Snappy is what Redshift is told to take of every Parquet file, in any of its versions.
                with pq.ParquetWriter(sink, schema, compression="snappy") as writer:
                    while batch is not None and size < PART_BYTES:
                        writer.write_batch(encode(batch, key).rename_columns(schema.names).cast(schema))
                        rows, size = rows + batch.num_rows, size + batch.nbytes
                        batch = next(batches, None)
                written = sink.tell()
            yield uri, rows, written
            number += 1

    def _write(self, uri: str, content: bytes) -> None:
        self.written.append(uri)
        self.storage.write(uri, content)


@contextmanager
def attempt(storage: Storage, subscription_id: UUID) -> Iterator[Attempt]:
    """Give a folder of its own to an attempt to deliver, and remove what was written there when the block ends."""
    place = f"{storage.root}/{subscription_id}"
    gone = datetime.now(UTC) - _ABANDONED_AFTER
    storage.delete([one.uri for one in storage.list(place) if one.modified_at < gone])
    made = Attempt(storage, f"{place}/{uuid4()}")
    try:
        yield made
    finally:
        storage.delete(made.written)
