"""Keys that may be stored once: finding those that data files bring and that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyroaring import BitMap64

from cordillera.spec import sql
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.content_file import ContentFile, ManifestEntry, Status
from cordillera.table.io import TableIO
from cordillera.table.keyed_write import keys_stored
from cordillera.table.live_files import LiveFile
from cordillera.table.pruning import bounds_overlap
from cordillera.table.reader import ReadOptions


def as_live(files: Sequence[ContentFile]) -> list[LiveFile]:
    """Return new data files as readers take files: with nothing deleted of them."""
    return [LiveFile(ManifestEntry(Status.ADDED, None, None, None, file), None) for file in files]


def refuse_stored_keys(
    io: TableIO,
    added: Sequence[LiveFile],
    metadata: TableMetadata,
    stored: Sequence[LiveFile],
    leaving: Mapping[LiveFile, BitMap64],
    dataset: str,
) -> None:
    """Refuse new data files that repeat a key which is stored and stays.

    Args:
        io: Access to the table's files.
        added: The new ones.
        metadata: The table.
        stored: Live files that may hold the keys.
        leaving: Rows of those that go.
        dataset: The dataset's name, for messages.

    Raises:
        DuplicateKeyError: Naming examples.
    """
    key = metadata.semantics.key
    fields = [metadata.schema.find_field(name) for name in key]
    candidates = [live for live in stored if any(bounds_overlap(live.file, one.file, fields) for one in added)]
    if not key or not candidates:
        return
    deleted = {
        live.path: (io.files.deleted_positions(live) or BitMap64()) | leaving[live]
        for live in candidates
        if live in leaving
    }
    options = ReadOptions(metadata.schema.select(*key), deleted=deleted)
    relations: dict[str, pa.RecordBatchReader] = {
        "added": io.reader.stream(added, ReadOptions(metadata.schema.select(*key))),
        "stored": io.reader.stream(candidates, options),
    }
    repeated = io.engine.table(
        f"SELECT {sql.columns(key, 'n')} FROM added n JOIN stored s ON {sql.equal(key, 'n', 's')} LIMIT 5", relations
    )
    if repeated.num_rows:
        raise keys_stored(dataset, repeated, None)
