"""Finding stored rows of an Iceberg table by key, for deliveries of any number of keys in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cordillera.spec.merge import KEY_PROPERTY
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import Merge
from cordillera.table.source_rows import SOURCE
from cordillera.table.tombstones import Tombstones

_KEYS_BYTES = 64 * 1024 * 1024
"""How many keys are looked for at once: enough that the stored ones are not read again and again."""


@dataclass(frozen=True, slots=True)
class Found:
    """Stored rows of some keys.

    Attributes:
        keys: What was looked for, numbered in ``_source``.
        matches: The place of each stored row: file index and position, and ``_source``.
        files: What the file index counts.
    """

    keys: pa.Table
    matches: pa.Table
    files: Sequence[LiveFile]


def with_key(metadata: TableMetadata, key: Sequence[str]) -> TableMetadata:
    """Return a table with some of its columns for its key.

    Iceberg has no floats among identifier fields: only the delivery knows such a key.
    """
    ids = ",".join(str(metadata.schema.find_field(name).field_id) for name in key)
    return metadata.with_changes(properties={**metadata.properties, KEY_PROPERTY: ids})


def find_rows(
    io: TableIO, metadata: TableMetadata, live: Sequence[LiveFile], rows: pa.RecordBatchReader
) -> Iterator[Found]:
    """Find the stored rows that have the key of one of the given rows; some keys at a time.

    Args:
        io: Access to the table's files.
        metadata: The table, with the columns for its key that rows are found by.
        live: Its files.
        rows: Rows with those columns, in order, and perhaps others.
    """
    merge = Merge(metadata, live, io, Tombstones(io.storage, io.engine, metadata, io.clock.new_id))
    for some in _gathered(rows):
        numbered = some.append_column(SOURCE, pa.array(np.arange(some.num_rows, dtype=np.int64)))
        candidates = merge.candidates(numbered)
        yield Found(numbered, merge.match(numbered, candidates), candidates)


def _gathered(keys: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield keys in tables of about ``_KEYS_BYTES``."""
    pending: list[pa.RecordBatch] = []
    for batch in keys:
        pending.append(batch)
        if sum(one.nbytes for one in pending) >= _KEYS_BYTES:
            yield pa.Table.from_batches(pending)
            pending = []
    if pending:
        yield pa.Table.from_batches(pending)
