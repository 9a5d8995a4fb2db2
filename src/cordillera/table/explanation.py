"""Explaining what a write does to a table's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.schema import Schema

from cordillera.ports.storage import Storage
from cordillera.spec.explanation import FileAction, FileExplanation, reason
from cordillera.spec.merge import WriteMode
from cordillera.spec.write_cost import TouchedFile
from cordillera.table.data_file import MayContain
from cordillera.table.key_lookup import KeyLookup
from cordillera.table.live_files import LiveFile, SnapshotFiles
from cordillera.table.pruning import KeyRange
from cordillera.table.reader import FileReader, ReadOptions
from cordillera.table.snapshot_producer import FileChanges


class Searched:
    """Of which files which columns are looked at."""

    def __init__(self) -> None:
        self._columns: dict[LiveFile, set[int]] = {}

    def note(self, live: LiveFile, schema: Schema) -> None:
        """Note that columns of a file are looked at."""
        self._columns.setdefault(live, set()).update(schema.field_ids)

    @property
    def files(self) -> int:
        """How many files are looked at."""
        return len(self._columns)

    @property
    def size(self) -> int:
        """The bytes of the columns, as they are stored."""
        sizes = ((live.file.column_sizes, columns) for live, columns in self._columns.items())
        return sum(size for known, columns in sizes for number, size in known.items() if number in columns)


class NotingReader(FileReader):
    """A reader that notes what it reads."""

    def __init__(self, storage: Storage, files: SnapshotFiles, searched: Searched) -> None:
        super().__init__(storage, files)
        self._searched = searched

    def read(self, live: LiveFile, options: ReadOptions, file_index: int = 0) -> Iterator[pa.RecordBatch]:
        """Read the rows of one file, and note it."""
        self._searched.note(live, options.schema)
        return super().read(live, options, file_index)


class NotingLookup(KeyLookup):
    """A lookup of keys that notes where it looks."""

    def __init__(self, storage: Storage, files: SnapshotFiles, searched: Searched) -> None:
        super().__init__(storage, files)
        self._searched = searched

    def find(self, live_files: Sequence[LiveFile], schema: Schema, keys: Sequence[KeyRange]) -> pa.Table:
        """Find the rows of keys, and note where they are looked for."""
        for live in live_files:
            self._searched.note(live, schema)
        return super().find(live_files, schema, keys)

    def stream(self, live_files: Sequence[LiveFile], schema: Schema, may_contain: MayContain) -> pa.RecordBatchReader:
        """Stream the rows of files, and note them."""
        for live in live_files:
            self._searched.note(live, schema)
        return super().stream(live_files, schema, may_contain)


def explained_files(changes: FileChanges, mode: WriteMode) -> tuple[FileExplanation, ...]:
    """Tell what happens to each file that rows are taken out of."""
    actions = {live: FileAction.REWRITE if live in changes.touched else FileAction.DROP for live in changes.removed}
    actions.update((live, FileAction.MARK) for live, _ in changes.vectors)
    return tuple(_explained(live, action, mode, changes) for live, action in actions.items())


def _explained(live: LiveFile, action: FileAction, mode: WriteMode, changes: FileChanges) -> FileExplanation:
    rows = live.file.record_count
    file = changes.touched.get(live) or TouchedFile(live.file.file_size_in_bytes, rows, rows)
    return FileExplanation(live.path, action, reason(action, mode, file), file.size, file.rows, file.deleted)
