"""The difference between two snapshots, row by row, at a cost that grows with the change.

Rows are compared by key where the table has one, else by row id. This is the form that deliveries take: rows that came
or changed, and keys that went. ``cordillera.table.change_feed`` has the form with images of both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace

import pyarrow as pa

from cordillera.spec import sql
from cordillera.spec.snapshot_summary import keys_stay
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import ContentFile
from cordillera.table.data_writer import LAST_UPDATED, ROW_ID
from cordillera.table.difference import FileRows, difference
from cordillera.table.io import TableIO
from cordillera.table.reader import ReadOptions
from cordillera.table.row_view import ShownRows

_KEPT_BYTES = 65_536


class SnapshotChanges:
    """The rows that take a reader of one snapshot to another.

    Args:
        io: Access to the table's files.
        metadata: The table; rows are read under its current schema.
        before: The earlier snapshot, or None for an empty table.
        after: The later snapshot.
        columns: Columns of the upserted rows; ``_row_id`` may be among them.
        condition: SQL condition for rows that count; a row that stops satisfying it is a delete.
        condition_columns: The columns that it uses.
        shown: What is shown of the rows; None for all. A row that is not any more is a delete. The key is to be clear.
    """

    def __init__(
        self,
        io: TableIO,
        metadata: TableMetadata,
        before: IcebergSnapshot | None,
        after: IcebergSnapshot | None,
        columns: Sequence[str],
        condition: str = sql.EVERY_ROW,
        condition_columns: Sequence[str] = (),
        shown: ShownRows | None = None,
    ) -> None:
        self._io, self._metadata, self._shown = io, metadata, shown
        every_row = condition == sql.EVERY_ROW and (shown is None or shown.view.condition == sql.EVERY_ROW)
        self._no_key_goes = every_row and keys_stay(metadata, before, after)
        self._difference = difference(io, metadata, before, after, by_row_id=not metadata.semantics.key)
        self._columns, self._condition, self._condition_columns = columns, condition, condition_columns
        self.key: tuple[str, ...] = metadata.semantics.key or (ROW_ID,)
        self._kept: list[pa.RecordBatch] | None = None

    @property
    def weight(self) -> int:
        """About how many kilobytes it takes in memory."""
        files = len(self._difference.before.files) + len(self._difference.after.files)
        return 1 + _KEPT_BYTES // 1024 + files + len(self._metadata.snapshots)

    def by_place(self, place: Callable[[ContentFile], str | None]) -> SnapshotChanges:
        """Return the same with the files of the later snapshot in the order of their places; without a place, none.

        Rows come in the order of their files.
        """
        chosen, after = copy(self), self._difference.after
        chosen._kept = None
        placed = sorted((found, n) for n, live in enumerate(after.files) if (found := place(live.file)) is not None)
        chosen._difference = replace(
            self._difference, after=replace(after, files=tuple(after.files[n] for _, n in placed))
        )
        return chosen

    def upserts(self) -> pa.RecordBatchReader:
        """Stream the rows that are new or changed, as they are now. Few of them are read once, however often it is."""
        schema = self._arrow_schema(self._columns)
        return pa.RecordBatchReader.from_batches(schema, self._read_once() if self._kept is None else self._kept)

    def _read_once(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches of upserts, and keep them if they are small."""
        kept: list[pa.RecordBatch] = []
        size = 0
        for batch in self._upserts():
            size += batch.get_total_buffer_size()
            kept = [*kept, batch] if size <= _KEPT_BYTES else []
            yield batch
        if size <= _KEPT_BYTES:
            self._kept = kept

    def _upserts(self) -> pa.RecordBatchReader:
        now = self._read(self._difference.after, [*self._columns, *self._condition_columns])
        # Rows move with their file: of one that stays, rows that are gone have not come anywhere else.
        left = self._difference.before.whole_files
        if not left:
            if self._condition == sql.EVERY_ROW:
                return self._cast(now, self._columns)
            query = f"SELECT {sql.columns(self._columns)} FROM now WHERE {self._condition}"
            return self._cast(self._io.engine.query(query, {"now": now}), self._columns)
        # A row only moved by compaction or copy-on-write keeps its id and its sequence number: it did not change.
        # What a reader of the earlier snapshot knew of it depends on the condition, which moves do not affect either.
        query = (
            f"SELECT {sql.columns(self._columns)} FROM now ANTI JOIN earlier "
            f"ON now.{ROW_ID} = earlier.{ROW_ID} AND now.{LAST_UPDATED} = earlier.{LAST_UPDATED} "
            f"WHERE {self._condition}"
        )
        earlier = self._stored(left, [])
        return self._cast(self._io.engine.query(query, {"now": now, "earlier": earlier}), self._columns)

    def deletes(self) -> pa.RecordBatchReader:
        """Stream the keys of rows that are gone, or no longer satisfy the condition.

        Where every row counts and no key can have gone, none is read.
        """
        if not self._difference.before or self._no_key_goes:
            return self._arrow_schema(self.key).empty_table().to_reader()
        columns = [*self.key, *self._condition_columns]
        earlier = self._read(self._difference.before, columns)
        query = f"SELECT {sql.columns(self.key)} FROM earlier WHERE {self._condition}"
        relations: dict[str, pa.RecordBatchReader] = {"earlier": earlier}
        if self._difference.after:
            relations["now"] = self._read(self._difference.after, columns)
            query = (
                f"WITH kept AS (SELECT {sql.columns(self.key)} FROM now WHERE {self._condition}) "
                f"SELECT {sql.columns(self.key, 'e')} FROM ({query}) e "
                f"ANTI JOIN kept ON {sql.equal(self.key, 'e', 'kept')}"
            )
        return self._cast(self._io.engine.query(query, relations), self.key)

    def _read(self, rows: FileRows, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Read what is shown of rows, with their ids."""
        if self._shown is None:
            return self._stored(rows, columns)
        plain = [name for name in dict.fromkeys(columns) if name != ROW_ID]
        stored = self._stored(rows, [*plain, *self._shown.view.columns])
        return self._shown.of(self._io, stored, plain, {ROW_ID: ROW_ID, LAST_UPDATED: LAST_UPDATED})

    def _stored(self, rows: FileRows, columns: Sequence[str]) -> pa.RecordBatchReader:
        plain = [name for name in dict.fromkeys(columns) if name != ROW_ID]
        return rows.read(self._io, self._metadata.schema.select(*plain), (ROW_ID, LAST_UPDATED))

    def _arrow_schema(self, names: Sequence[str]) -> pa.Schema:
        visible = self._metadata.schema if self._shown is None else self._shown.view.schema
        declared = ReadOptions(visible, (ROW_ID,)).arrow_schema()
        return pa.schema([declared.field(name) for name in names])

    def _cast(self, result: pa.RecordBatchReader, names: Sequence[str]) -> pa.RecordBatchReader:
        schema = self._arrow_schema(names)
        return pa.RecordBatchReader.from_batches(schema, (batch.select(names).cast(schema) for batch in result))
