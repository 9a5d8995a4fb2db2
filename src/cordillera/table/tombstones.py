"""Tombstones: the sequence at which a key was deleted, so that a late row cannot bring it back.

Kept only for tables with a sequence column, as Parquet files beside the data, listed in one small index file that a
table property names. The property changes in the same commit as the delete, and travels with the table whoever commits.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cordillera.errors import CorruptDataError
from cordillera.ports.engine import QueryEngine
from cordillera.ports.storage import Storage
from cordillera.spec import sql
from cordillera.spec.arrow_types import to_arrow_schema
from cordillera.spec.merge import TOMBSTONES_PROPERTY, MergeSemantics
from cordillera.spec.refs import ancestors
from cordillera.spec.snapshot_summary import is_own
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.change_batch import groups_plainly
from cordillera.table.pruning import key_ranges


@dataclass(frozen=True, slots=True)
class TombstoneFile:
    """One file of tombstones; columns are named by field id, so that they survive renames.

    ``ranges`` holds, by field id, the lowest and highest value of the key columns and of the sequence, where JSON
    can hold them; a batch of changes that lies outside need not read the file.
    """

    path: str
    rows: int
    ranges: dict[str, list[Any]]

    def may_meet(self, batch: dict[str, list[Any]], sequence_id: str, *, inclusive: bool = False) -> bool:
        """Tell whether the file may hold a key of the batch with a later sequence than the batch's earliest.

        Args:
            batch: The batch's ranges, as in ``ranges``.
            sequence_id: Which of them is the sequence's.
            inclusive: Whether the same sequence counts too.
        """
        for field_id, (low, high) in batch.items():
            stored = self.ranges.get(field_id)
            if stored is None:
                continue
            if field_id == sequence_id:
                if stored[1] < low or (stored[1] == low and not inclusive):
                    return False
            elif stored[1] < low or stored[0] > high:
                return False
        return True


class Tombstones:
    """The tombstones of one table, as of its metadata."""

    def __init__(
        self, storage: Storage, engine: QueryEngine, metadata: TableMetadata, new_id: Callable[[], UUID]
    ) -> None:
        self._storage, self._engine, self._metadata, self._new_id = storage, engine, metadata, new_id
        self._semantics: MergeSemantics = metadata.semantics
        self._index = metadata.tombstones

    def late_sources(self, source: pa.Table) -> pa.Array:
        """Return the ``_source`` numbers of rows whose key was deleted at a later sequence than theirs.

        Args:
            source: Key columns, sequence column and ``_source``.
        """
        sequence = self._semantics.sequence
        if sequence is None or self._index is None or not source.num_rows:
            return pa.array([], pa.int64())
        tombstones = self.meeting(source)
        if not tombstones.num_rows:
            return pa.array([], pa.int64())
        keys, order = self._semantics.natural_key, sql.quote(sequence)
        late = self._engine.table(
            f"SELECT DISTINCT s._source FROM source s JOIN tombstones t ON {sql.equal(keys, 's', 't')} "
            f"WHERE t.{order} > s.{order}",
            {"source": source, "tombstones": tombstones},
        )
        return late.column("_source").combine_chunks()

    def meeting(self, source: pa.Table, *, inclusive: bool = False) -> pa.Table:
        """Return the tombstones whose key occurs among rows, with a later sequence; others may be among them.

        Args:
            source: Key columns and sequence column.
            inclusive: Whether those with the same sequence count too.
        """
        sequence_id = str(self._metadata.schema.find_field(self._semantics.sequence or "").field_id)
        ranges = self._ranges(source)
        tables = [self._read(file) for file in self._files() if file.may_meet(ranges, sequence_id, inclusive=inclusive)]
        return pa.concat_tables(tables) if tables else self._schema().empty_table()

    def added(self, deleted: pa.Table) -> tuple[str, tuple[str, ...]]:
        """Write tombstones for deleted keys (key and sequence columns).

        Returns:
            The new value of the table property and the files written.
        """
        deleted = deleted.cast(self._schema())
        kept, absorbed = _absorb(self._files(), deleted.num_rows)
        if absorbed:
            deleted = self._latest(pa.concat_tables([deleted, *(self._read(file) for file in absorbed)]))
        path = f"{self._metadata.location}/tombstones/{self._new_id()}.parquet"
        out = io.BytesIO()
        pq.write_table(deleted.rename_columns(self._stored_names()), out, compression="zstd", store_schema=False)
        self._storage.write(path, out.getvalue())
        files = [*kept, TombstoneFile(path, deleted.num_rows, self._ranges(deleted))]
        index = f"{self._metadata.location}/metadata/tombstones-{self._new_id()}.json"
        self._storage.write(index, orjson.dumps([asdict(file) for file in files]))
        return index, (path, index)

    def columns(self) -> list[str]:
        """Return the columns a tombstone has: the key, then the sequence."""
        return [*self._semantics.natural_key, self._semantics.sequence or ""]

    def _ranges(self, rows: pa.Table) -> dict[str, list[Any]]:
        ranges = key_ranges(rows, self._metadata.schema, self.columns())
        return {str(r.field.field_id): [r.low, r.high] for r in ranges if isinstance(r.low, int | str)}

    def _stored_names(self) -> list[str]:
        return [str(self._metadata.schema.find_field(name).field_id) for name in self.columns()]

    def _files(self) -> list[TombstoneFile]:
        if self._index is None:
            return []
        try:
            return [TombstoneFile(**item) for item in orjson.loads(self._storage.read(self._index))]
        except (orjson.JSONDecodeError, TypeError) as error:
            raise CorruptDataError(f"The tombstone index {self._index} cannot be read: {error}.") from error

    def _read(self, file: TombstoneFile) -> pa.Table:
        with self._storage.open_input(file.path) as source:
            stored = pq.read_table(source)
        table = stored.select(self._stored_names()).rename_columns(self.columns())
        return table.cast(self._schema())

    def _schema(self) -> pa.Schema:
        declared = to_arrow_schema(self._metadata.schema)
        return pa.schema([(name, declared.field(name).type) for name in self.columns()])

    def _latest(self, tombstones: pa.Table) -> pa.Table:
        kinds = [tombstones.schema.field(name).type for name in self.columns()]
        if self._semantics.history is None and all(map(groups_plainly, kinds)):
            *key, last = self.columns()
            grouped = tombstones.group_by(key, use_threads=False).aggregate([(last, "max")])
            return grouped.rename_columns(self.columns()).cast(tombstones.schema)
        keys, sequence = sql.columns(self._semantics.natural_key), sql.quote(self._semantics.sequence or "")
        latest = f"SELECT {keys}, max({sequence}) AS {sequence} FROM tombstones GROUP BY {keys}"
        query = latest if self._semantics.history is None else "SELECT DISTINCT * FROM tombstones"
        return self._engine.table(query, {"tombstones": tombstones}).cast(tombstones.schema)


def tombstone_indexes(metadata: TableMetadata) -> set[str]:
    """Return the tombstone indexes that a table still needs: of its branches, and of snapshots to roll back to."""
    of_branches = {value for name, value in metadata.properties.items() if name.startswith(TOMBSTONES_PROPERTY)}
    summaries = [snapshot.summary for snapshot in metadata.snapshots]
    return of_branches | {summary[TOMBSTONES_PROPERTY] for summary in summaries if TOMBSTONES_PROPERTY in summary}


def tombstones_as_of(metadata: TableMetadata, snapshot: IcebergSnapshot) -> str | None:
    """Return the tombstone index that a snapshot was committed with; snapshots of other engines keep the one before."""
    for found in ancestors(metadata, snapshot.snapshot_id):
        if is_own(found):
            return found.summary.get(TOMBSTONES_PROPERTY)
    return None


def _absorb(files: list[TombstoneFile], rows: int) -> tuple[list[TombstoneFile], list[TombstoneFile]]:
    """Split files into those to keep and the small ones to rewrite with ``rows`` new tombstones.

    A file is absorbed once it is at most twice what is written with it, so the number of files grows with the
    logarithm of the number of tombstones, and so does the work per tombstone.
    """
    ordered = sorted(files, key=lambda file: file.rows)
    for index, file in enumerate(ordered):
        if file.rows > 2 * rows:
            return ordered[index:], ordered[:index]
        rows += file.rows
    return [], ordered
