"""Explaining what a write does to a table's files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from cordillera.spec.explanation import FileAction, FileExplanation, reason
from cordillera.spec.merge import WriteMode
from cordillera.spec.write_cost import TouchedFile
from cordillera.table.live_files import LiveFile
from cordillera.table.reader import FileReader, ReadOptions
from cordillera.table.snapshot_producer import FileChanges


class NotingReader(FileReader):
    """A reader that notes of which files it reads which columns."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._read_columns: dict[LiveFile, set[int]] = {}

    def read(self, live: LiveFile, options: ReadOptions, file_index: int = 0) -> Iterator[pa.RecordBatch]:
        """Read the rows of one file, and note it."""
        self._read_columns.setdefault(live, set()).update(options.schema.field_ids)
        return super().read(live, options, file_index)

    @property
    def files(self) -> int:
        """How many files have been read."""
        return len(self._read_columns)

    @property
    def size(self) -> int:
        """The bytes of the columns that have been read, as they are stored."""
        return sum(
            size
            for live, columns in self._read_columns.items()
            for number, size in live.file.column_sizes.items()
            if number in columns
        )


def explained_files(changes: FileChanges, mode: WriteMode) -> tuple[FileExplanation, ...]:
    """Tell what happens to each file that rows are taken out of."""
    actions = {live: FileAction.REWRITE if live in changes.touched else FileAction.DROP for live in changes.removed}
    actions.update((live, FileAction.MARK) for live, _ in changes.vectors)
    return tuple(_explained(live, action, mode, changes) for live, action in actions.items())


def _explained(live: LiveFile, action: FileAction, mode: WriteMode, changes: FileChanges) -> FileExplanation:
    rows = live.file.record_count
    file = changes.touched.get(live) or TouchedFile(live.file.file_size_in_bytes, rows, rows)
    return FileExplanation(live.path, action, reason(action, mode, file), file.size, file.rows, file.deleted)
