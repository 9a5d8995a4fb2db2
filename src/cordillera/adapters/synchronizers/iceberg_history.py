"""The rows of a history that end, in an Iceberg table: found by their keys, and written anew as they are from then on.

Key columns of the files that may hold one of the keys are read to find them; then the rows themselves, as they pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap64

from cordillera.adapters.synchronizers.deliveries import ending_batches
from cordillera.adapters.synchronizers.iceberg_keys import Found, find_rows, with_key
from cordillera.adapters.synchronizers.iceberg_schema import stored_name
from cordillera.errors import DuplicateKeyError
from cordillera.ports.synchronizer import Delivery
from cordillera.spec.arrow_types import cast_batch
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import duplicate_keys
from cordillera.table.content_file import ContentFile
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.file_changes import data_writer
from cordillera.table.io import TableIO
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import positions_by_file
from cordillera.table.reader import ReadOptions
from cordillera.table.source_rows import SOURCE

_FILE_ROWS = 1 << 40
"""More rows than a file has."""


def write_ended(
    io: TableIO,
    metadata: TableMetadata,
    delivery: Delivery,
    live: Sequence[LiveFile],
    removed: dict[LiveFile, BitMap64],
) -> list[ContentFile]:
    """Write files of the rows that end with a delivery to a history, as they are then.

    Args:
        io: Access to the table's files.
        metadata: The table.
        delivery: Tells which rows end, and when.
        live: The table's files.
        removed: Positions of rows that go. Those that are in it already do not end; those of rows that do are added.

    Raises:
        DuplicateKeyError: If a key ends twice.
    """
    key = [stored_name(name) for name in delivery.table.key[:-1]]
    entities = with_key(metadata, key)
    schema = pa.schema([*ReadOptions(metadata.schema.select(*key)).arrow_schema(), (VALID_TO, _moment(metadata))])
    names = [stored_name(name) for name in delivery.table.key[:-1]] + [VALID_TO]
    renamed = (batch.rename_columns(names).select(schema.names) for batch in ending_batches(delivery))
    ends = pa.RecordBatchReader.from_batches(schema, (cast_batch(batch, schema) for batch in renamed))
    files: list[ContentFile] = []
    for found in find_rows(io, entities, live, ends):
        if duplicate_keys(found.keys, key, io.engine).num_rows:
            raise DuplicateKeyError(f"A delivery to {delivery.table.name!r} ends the history of a key twice.")
        if found.matches.num_rows:
            files += data_writer(io, metadata).write(_Ended(io, metadata, found, removed).batches())
    return files


class _Ended:
    """Rows that end, of keys that were found.

    Args:
        io, metadata, removed: As for ``write_ended``.
        found: Where rows of those keys are, whether they hold or not.
    """

    def __init__(self, io: TableIO, metadata: TableMetadata, found: Found, removed: dict[LiveFile, BitMap64]) -> None:
        self._io, self._metadata, self._removed = io, metadata, removed
        found_in = positions_by_file(found.matches, found.files)
        self._only = {file.path: at - removed.get(file, BitMap64()) for file, at in found_in.items()}
        chosen, numbers = np.unique(found.matches.column(FILE_INDEX).to_numpy(), return_inverse=True)
        self._files = [found.files[number] for number in chosen]
        places = _places(numbers, found.matches.column(POSITION).to_numpy())
        order = np.argsort(places)
        self._places = places[order]
        self._until = found.keys.column(VALID_TO).take(found.matches.column(SOURCE)).take(pa.array(order))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as they are when they have ended, and add their positions to ``removed``."""
        options = ReadOptions(self._metadata.schema, (FILE_INDEX, POSITION), only=self._only)
        for batch in self._io.reader.stream(self._files, options):
            held = batch.filter(batch.column(IS_CURRENT))
            if held.num_rows:
                for file, positions in positions_by_file(pa.Table.from_batches([held]), self._files).items():
                    self._removed[file] = self._removed.get(file, BitMap64()) | positions
                yield self._ended(held)

    def _ended(self, held: pa.RecordBatch) -> pa.RecordBatch:
        places = _places(*(held.column(name).to_numpy() for name in (FILE_INDEX, POSITION)))
        at = np.searchsorted(self._places, places)
        until = self._until.take(pa.array(at)).combine_chunks()
        since = held.column(VALID_FROM)
        changed = {
            VALID_TO: pc.if_else(pc.greater(since, until), since, until),  # none ends before it began
            IS_CURRENT: pa.repeat(pa.scalar(False), held.num_rows),
        }
        schema = ReadOptions(self._metadata.schema).arrow_schema()
        columns = [changed.get(name, held.column(name)) for name in schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def _places(files: npt.NDArray[np.integer], positions: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return a number for each place in a file."""
    return np.asarray(files.astype(np.int64) * _FILE_ROWS + positions)


def _moment(metadata: TableMetadata) -> pa.DataType:
    return ReadOptions(metadata.schema.select(VALID_TO)).arrow_schema().field(VALID_TO).type
