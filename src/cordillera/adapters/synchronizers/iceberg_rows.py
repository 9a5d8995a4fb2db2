"""The rows of deliveries as files of an Iceberg table: written by the lake's own table engine, in bounded memory.

Rows that come are written to data files as they pass. Which stored rows go for them is found by their keys, which are
read back from these files: so it can be found again when somebody else has changed the table in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.adapters.synchronizers.deliveries import delete_batches, upsert_batches
from cordillera.adapters.synchronizers.iceberg_history import write_ended
from cordillera.adapters.synchronizers.iceberg_keys import find_rows, with_key
from cordillera.adapters.synchronizers.iceberg_schema import stored_name
from cordillera.errors import DuplicateKeyError
from cordillera.ports.synchronizer import Delivery, DeliveryResult
from cordillera.spec.arrow_types import cast_batch, cast_column
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import duplicate_keys
from cordillera.table.content_file import ContentFile
from cordillera.table.file_changes import build_changes, data_writer
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.reader import ReadOptions
from cordillera.table.snapshot_producer import FileChanges
from cordillera.table.source_rows import SOURCE
from cordillera.table.stored_keys import as_live


@dataclass(frozen=True, slots=True)
class ResolvedDelivery:
    """What a delivery does to a table's files, and what it counts."""

    changes: FileChanges
    result: DeliveryResult


class DeliveredRows:
    """The rows of a delivery on their way into a table.

    Args:
        io: Access to the table's files.
        metadata: The table, under the schema that the rows have.
        delivery: Brings them.
    """

    def __init__(self, io: TableIO, metadata: TableMetadata, delivery: Delivery) -> None:
        key = [stored_name(name) for name in delivery.table.key]
        self._metadata = with_key(metadata, key)
        self._io, self._delivery, self._key = io, delivery, key

    def write(self) -> list[ContentFile]:
        """Write data files of the rows that come.

        Raises:
            DuplicateKeyError: If a key comes twice.
            NullKeyError, TypeMismatchError: If the rows are not what the table takes.
        """
        files = data_writer(self._io, self._metadata).write(self._arriving())
        if self._key and (repeated := self._repeated(files)):
            raise DuplicateKeyError(
                f"A delivery to {self._delivery.table.name!r} brings a key twice: {repeated[0]}.",
                hint="Give every row of the dataset a key of its own.",
            )
        return files

    def resolve(self, files: Sequence[ContentFile], live: Sequence[LiveFile]) -> ResolvedDelivery:
        """Find what becomes of a table's files, and write what marks rows of them as gone."""
        rows = sum(file.record_count for file in files)
        if self._delivery.replace:
            gone = sum(one.live_rows for one in live)
            return ResolvedDelivery(FileChanges(tuple(files), tuple(live)), DeliveryResult(rows, gone, rows_updated=0))
        removed: dict[LiveFile, BitMap64] = {}
        updated = self._find(self._keys_of(files), live, removed) if live and self._key else 0
        deleted = self._find(self._leaving(), live, removed)
        ended = write_ended(self._io, self._metadata, self._delivery, live, removed) if self._delivery.endings else []
        closed = sum(file.record_count for file in ended)
        built = build_changes(self._io, self._metadata, None, removed)
        changes = replace(built, added=(*built.added, *files, *ended))
        return ResolvedDelivery(changes, DeliveryResult(rows + closed, deleted, rows_updated=updated + closed))

    # --- rows -------------------------------------------------------------------------------------------------------

    def _arriving(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the table's columns; those that somebody else has added are NULL."""
        schema = ReadOptions(self._metadata.schema).arrow_schema()
        for batch in upsert_batches(self._delivery):
            given = dict(zip(map(stored_name, batch.schema.names), batch.columns, strict=True))
            arrays = [
                cast_column(given[f.name], f.type, f.name) if f.name in given else pa.nulls(batch.num_rows, f.type)
                for f in schema
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _repeated(self, files: Sequence[ContentFile]) -> list[object]:
        found = duplicate_keys(self._keys_of(files), self._key, self._io.engine) if files else pa.table({})
        return [tuple(row[name] for name in self._key) for row in found.to_pylist()]

    def _keys_of(self, files: Sequence[ContentFile]) -> pa.RecordBatchReader:
        return self._io.reader.stream(as_live(files), ReadOptions(self._key_schema))

    def _leaving(self) -> pa.RecordBatchReader:
        """Stream the keys of rows to remove."""
        wanted = ReadOptions(self._key_schema).arrow_schema()
        batches = delete_batches(self._delivery)
        renamed = (batch.rename_columns(self._key).select(wanted.names) for batch in batches)
        return pa.RecordBatchReader.from_batches(wanted, (cast_batch(batch, wanted) for batch in renamed))

    # --- keys -------------------------------------------------------------------------------------------------------

    def _find(self, keys: pa.RecordBatchReader, live: Sequence[LiveFile], removed: dict[LiveFile, BitMap64]) -> int:
        """Add the positions of stored rows that have one of the keys; return how many keys are stored."""
        hits = 0
        for found in find_rows(self._io, self._metadata, live, keys):
            for file, positions in positions_by_file(found.matches, found.files).items():
                removed[file] = removed.get(file, BitMap64()) | positions
            hits += len(np.unique(found.matches.column(SOURCE).to_numpy()))
        return hits

    @property
    def _key_schema(self) -> Schema:
        return self._metadata.schema.select(*self._key)
