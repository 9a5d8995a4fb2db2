"""Merging a batch of changes into a table: which stored rows go, which rows come, and what that does to files.

The batch is in memory, the table is not: only key columns of the files whose statistics may hold a key of the batch are
read, and streamed through a join. See ``cordillera.spec.merge`` for the rules.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.errors import MissingKeyError
from cordillera.spec import sql
from cordillera.spec.arrow_types import empty_table, to_arrow_schema
from cordillera.spec.merge import MergeSemantics, Operation
from cordillera.spec.partition_values import partition_columns, source_columns
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import groups_plainly
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID
from cordillera.table.deletion_vector import bitmap_of
from cordillera.table.file_changes import files_to_gather, files_to_rewrite
from cordillera.table.integer_keys import IntegerSearch, KeyNumbers, repeats
from cordillera.table.io import TableIO
from cordillera.table.key_order import in_key_order
from cordillera.table.live_files import LiveFile
from cordillera.table.projection import with_default
from cordillera.table.pruning import by_key_ranges, key_ranges
from cordillera.table.reader import ReadOptions
from cordillera.table.rewrite import PlacedRows
from cordillera.table.source_rows import SOURCE, row_ids, rows_of, without
from cordillera.table.threads import in_threads, taken
from cordillera.table.tombstones import Tombstones

_STORED_SEQUENCE = "_stored_sequence"
_FEW_KEYS = 20_000
_ROWS_A_JOIN, _BATCHES_A_JOIN = 100_000, 1_000
_SEARCHES = 2


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a batch does to a table.

    Attributes:
        rows: New rows in the table's columns, with ``_row_id`` behind them: the id of the row each succeeds, or NULL.
        removed: Positions of stored rows that go, by live file.
        inserted, updated, deleted, late: Row counts, as in ``Manifest``.
        placed: Rows that take the place of stored ones, by live file; only where files are rewritten.
        tombstones: Keys and sequences to remember as deleted.
        properties: Table properties that change with it, if they are still what they were.
        new: Of a partial update, the rows whose keys were not stored, with all columns; they are among ``rows``.
    """

    rows: pa.Table
    removed: dict[LiveFile, BitMap64]
    inserted: int
    updated: int
    deleted: int
    late: int
    placed: Mapping[LiveFile, PlacedRows] = dataclasses.field(default_factory=dict)
    tombstones: pa.Table | None = None
    properties: Mapping[str, str] = dataclasses.field(default_factory=dict)
    new: pa.Table | None = None


class Merge:
    """Merges batches of one row a key into one table.

    Args:
        metadata: The table.
        live_files: Its live files.
        io: Reads them, and joins.
        tombstones: The table's tombstones.
    """

    def __init__(
        self,
        metadata: TableMetadata,
        live_files: Sequence[LiveFile],
        io: TableIO,
        tombstones: Tombstones,
    ) -> None:
        self._metadata, self._schema = metadata, metadata.schema
        self._semantics: MergeSemantics = metadata.semantics
        self._live_files, self._tombstones = live_files, tombstones
        self._reader, self._engine, self._lookup = io.reader, io.engine, io.keys

    def merge(self, operation: Operation, batch: pa.Table, *, keep_stored: bool = False) -> MergeResult:
        """Work out what a batch (columns in table order, one row a key) does under an operation.

        Args:
            operation: Upsert, partial update or delete.
            batch: The rows.
            keep_stored: Rows whose key is stored already change nothing, and count as late.
        """
        numbered = batch.append_column(SOURCE, pa.array(np.arange(batch.num_rows, dtype=np.int64)))
        keys = numbered.select([*self._semantics.identifying, SOURCE])
        candidates = self.candidates(keys)
        matches = self.match(keys, candidates)
        late = self.late(keys, matches)
        if keep_stored:
            late = pc.unique(pa.concat_arrays([late, *matches.column(SOURCE).chunks]))
        accepted = without(numbered, late)
        matches = without(matches, late)
        removed = positions_by_file(matches, candidates)
        hits = int(np.count_nonzero(np.bincount(matches.column(SOURCE).to_numpy())))
        if operation is Operation.DELETE:
            tombstones = (
                accepted.select(self._semantics.identifying) if self._semantics.sequence and accepted.num_rows else None
            )
            return MergeResult(self.no_rows(), removed, 0, 0, hits, len(late), tombstones=tombstones)
        counts = (accepted.num_rows - hits, hits, 0, len(late))
        new = self._inserted(accepted, matches) if operation is Operation.PARTIAL_UPDATE else None
        placed, staying = self.placed(accepted, matches, candidates, removed)
        rows = self._new_rows(operation, without(accepted, staying), matches, candidates)
        return MergeResult(rows, removed, *counts, placed, new=new)

    def match(self, keys: pa.Table, candidates: Sequence[LiveFile]) -> pa.Table:
        """Find the stored rows of the keys: where they are, their row id, ``_source`` and the stored sequence."""
        columns = [FILE_INDEX, POSITION, ROW_ID, SOURCE]
        sequence = self._semantics.sequence
        if not candidates:
            kinds = [pa.int32(), pa.int64(), pa.int64(), pa.int64()]
            return pa.table({name: pa.array([], kind) for name, kind in zip(columns, kinds, strict=True)})
        numbered = KeyNumbers.of(keys, self._semantics.key)
        search = IntegerSearch(numbered) if numbered is not None and not repeats(numbered.numbers) else None
        rows, are_few = self._stored_keys(keys, candidates, search)
        if search is not None:
            return self._match_integers(keys, search, rows)
        if are_few:
            return self._match_few(keys, rows)
        stored = f", c.{sql.quote(sequence)} AS {_STORED_SEQUENCE}" if sequence else ""
        return self._engine.table(
            f"SELECT c.{FILE_INDEX}, c.{POSITION}, c.{ROW_ID}, s.{SOURCE}{stored} "
            f"FROM candidates c JOIN source s ON {sql.equal(self._semantics.key, 'c', 's')}",
            {"candidates": rows, "source": keys},
        )

    def _stored_keys(
        self, keys: pa.Table, candidates: Sequence[LiveFile], search: IntegerSearch | None
    ) -> tuple[pa.RecordBatchReader, bool]:
        """Stream the keys of stored rows among which all of ``keys`` are, and tell whether they are few."""
        schema = self._schema.select(*self._semantics.identifying)
        ranges = key_ranges(keys, self._schema, self._semantics.key)
        values = self._few_values(keys)
        if len(values) == len(ranges) == len(self._semantics.key):
            return self._lookup.find(candidates, schema, ranges).combine_chunks().to_reader(), True
        options = ReadOptions(schema, (FILE_INDEX, POSITION, ROW_ID), by_key_ranges(ranges), values=values)
        if len(values) == len(self._semantics.key):
            return self._reader.stream(candidates, options), True
        if self._lookup.fits(candidates, schema):
            return self._lookup.stream(candidates, schema, by_key_ranges(ranges), search), False
        return self._reader.stream(candidates, options), False

    def _match_few(self, keys: pa.Table, stored: pa.RecordBatchReader) -> pa.Table:
        """Match few keys, of types that Arrow compares by our rules: its join costs a tenth of what a query does."""
        source = keys.select([*self._semantics.key, SOURCE])
        found = [
            rows.join(source, list(self._semantics.key), join_type="inner", use_threads=False)
            for rows in _gathered(stored)
        ]
        empty = stored.schema.empty_table().append_column(SOURCE, pa.array([], pa.int64()))
        matches = pa.concat_tables([one.select(empty.column_names) for one in found] or [empty])
        result = matches.select([FILE_INDEX, POSITION, ROW_ID, SOURCE])
        sequence = self._semantics.sequence
        return result.append_column(_STORED_SEQUENCE, matches.column(sequence)) if sequence else result

    def _match_integers(self, keys: pa.Table, search: IntegerSearch, stored: pa.RecordBatchReader) -> pa.Table:
        """Match keys that are whole numbers, by their order; costs a third of a join."""
        sources = keys.column(SOURCE).to_numpy()
        sequence = self._semantics.sequence
        kept = [FILE_INDEX, POSITION, ROW_ID, *([sequence] if sequence else [])]

        def found(batch: pa.RecordBatch) -> pa.RecordBatch:
            rows, places = search.find([batch.column(name) for name in search.key])
            return batch.select(kept).take(pa.array(rows)).append_column(SOURCE, pa.array(sources[places]))

        kinds = [*(stored.schema.field(name) for name in kept), pa.field(SOURCE, pa.int64())]
        with ThreadPoolExecutor(_SEARCHES, thread_name_prefix="cordillera-search") as pool:
            batches = in_threads(pool, found, stored, _SEARCHES)
            matches = pa.Table.from_batches(batches, pa.schema(kinds)).combine_chunks()
        result = matches.select([FILE_INDEX, POSITION, ROW_ID, SOURCE])
        return result.append_column(_STORED_SEQUENCE, matches.column(sequence)) if sequence else result

    def _few_values(self, keys: pa.Table) -> list[tuple[Schema, pa.Array]]:
        """Return key columns and their values, where there are so few that most stored rows have others."""
        if keys.num_rows > _FEW_KEYS:
            return []
        plain = [name for name in self._semantics.key if groups_plainly(keys.schema.field(name).type)]
        return [(self._schema.select(name), pc.unique(keys.column(name))) for name in plain]

    def candidates(self, keys: pa.Table) -> list[LiveFile]:
        """Return the files whose statistics do not rule out that they hold one of the keys."""
        may_contain = by_key_ranges(key_ranges(keys, self._schema, self._semantics.key))
        return [live for live in self._live_files if keys.num_rows and may_contain(live.file)]

    def late(self, keys: pa.Table, matches: pa.Table) -> pa.Array:
        """Return the ``_source`` numbers of rows that are older than what is stored, or than a delete."""
        sequence = self._semantics.sequence
        if sequence is None:
            return pa.array([], pa.int64())
        deleted_later = self._tombstones.late_sources(keys)
        if not matches.num_rows:
            return deleted_later
        given = keys.column(sequence).take(matches.column(SOURCE))  # ``_source`` is the row's number in the batch
        older = matches.column(SOURCE).filter(pc.less(given, matches.column(_STORED_SEQUENCE)))
        return pc.unique(pa.concat_arrays([deleted_later, *older.chunks]))

    def placed(
        self,
        rows: pa.Table,
        matches: pa.Table,
        candidates: Sequence[LiveFile],
        removed: Mapping[LiveFile, BitMap64],
    ) -> tuple[dict[LiveFile, PlacedRows], pa.Array]:
        """Return the rows that can take the place of stored ones, by file, and their ``_source`` numbers.

        Args:
            rows: Rows for keys that are stored, and others, with ``_source``.
            matches: The stored rows of their keys, as ``match`` finds them.
            candidates: The files that these are in.
            removed: All positions that the merge takes out, by file.
        """
        rewriting = files_to_rewrite(self._metadata, removed)
        in_place = rewriting - files_to_gather(self._metadata, rewriting)
        if not in_place:
            return {}, pa.array([], pa.int64())
        places = self._places(rows, matches, candidates, in_place)
        return self._by_file(rows, places, candidates), places.column(SOURCE).combine_chunks()

    def _places(
        self, accepted: pa.Table, matches: pa.Table, candidates: Sequence[LiveFile], in_place: Container[LiveFile]
    ) -> pa.Table:
        """Return, for the rows that can take the place of a stored one, which: file index and position.

        Of several stored rows of a key it is the one of the least row id. A row that changes its partition has to move,
        and so does one whose file is not written anew for itself.
        """
        first = _first_of_each_source(matches)
        stays = np.array([live in in_place for live in candidates], dtype=bool)
        mask = stays[first.column(FILE_INDEX).to_numpy()]
        names = source_columns(self._metadata.partition_spec, self._schema)
        if mask.any() and any(name in accepted.column_names and name not in self._semantics.key for name in names):
            mask &= self._same_partition(accepted, first, candidates, names)
        return (first if mask.all() else first.filter(pa.array(mask))).select([SOURCE, FILE_INDEX, POSITION])

    def _same_partition(
        self, accepted: pa.Table, first: pa.Table, candidates: Sequence[LiveFile], names: Sequence[str]
    ) -> npt.NDArray[np.bool_]:
        """Tell for each matched row whether its new values leave it in its file's partition."""
        if not all(name in accepted.column_names for name in names):
            return np.zeros(first.num_rows, dtype=bool)  # the others would have to be read to know
        at = rows_of(accepted, first.column(SOURCE))
        rows = accepted.select(names).take(at).combine_chunks().to_batches()
        if not rows:
            return np.zeros(0, dtype=bool)
        same = np.ones(first.num_rows, dtype=bool)
        spec = self._metadata.partition_spec
        outdated = (None,) * len(spec.fields)  # no row keeps its place there
        partitions = [live.file.partition if live.file.spec_id == spec.spec_id else outdated for live in candidates]
        values = partition_columns(spec, self._schema, rows[0])
        for number, column in enumerate(values):
            stored = pa.array([one[number] for one in partitions], column.type)
            stored = stored.take(first.column(FILE_INDEX).combine_chunks())
            equal = pc.or_(pc.fill_null(pc.equal(column, stored), False), pc.and_(column.is_null(), stored.is_null()))
            same &= equal.to_numpy(zero_copy_only=False)
        return same

    def _by_file(
        self, accepted: pa.Table, places: pa.Table, candidates: Sequence[LiveFile]
    ) -> dict[LiveFile, PlacedRows]:
        """Group the rows that take the place of stored ones by file."""
        if not places.num_rows:
            return {}
        order = np.lexsort((places.column(POSITION).to_numpy(), places.column(FILE_INDEX).to_numpy()))
        ordered = places.take(pa.array(order))
        at = rows_of(accepted, ordered.column(SOURCE))
        rows = taken(accepted.drop_columns([SOURCE]), at)
        files, positions = ordered.column(FILE_INDEX).to_numpy(), ordered.column(POSITION).to_numpy()
        starts = [*np.flatnonzero(np.r_[True, files[1:] != files[:-1]]), len(files)]
        return {
            candidates[files[begin]]: PlacedRows(rows.slice(begin, end - begin), positions[begin:end])
            for begin, end in itertools.pairwise(starts)
        }

    def _new_rows(
        self, operation: Operation, accepted: pa.Table, matches: pa.Table, candidates: Sequence[LiveFile]
    ) -> pa.Table:
        """Return the accepted rows complete and in key order, each with the row id it takes over."""
        sources = accepted.column(SOURCE)
        schema = self.no_rows().schema
        previous = self._previous(matches, candidates, accepted) if operation is Operation.PARTIAL_UPDATE else None
        columns = []
        for field, arrow in zip(self._schema.fields, schema, strict=False):
            if field.name in accepted.column_names:
                columns.append(accepted.column(field.name))
            elif previous is not None:
                columns.append(previous.column(field.name))
            else:
                columns.append(pa.nulls(accepted.num_rows, arrow.type))
        rows = pa.table([*columns, row_ids(sources, matches)], schema=schema)
        return in_key_order(rows, self._metadata, self._engine)

    def _inserted(self, accepted: pa.Table, matches: pa.Table) -> pa.Table:
        """Return the rows of a partial update whose keys are not stored; what they leave out has its default."""
        new = without(accepted, matches.column(SOURCE).combine_chunks())
        return self._new_rows(Operation.PARTIAL_UPDATE, new, matches.slice(0, 0), ()).drop_columns([ROW_ID])

    def _previous(self, matches: pa.Table, candidates: Sequence[LiveFile], accepted: pa.Table) -> pa.Table:
        """Return, row by row of ``accepted``, the columns that the batch leaves alone: stored values, or defaults."""
        others = [field for field in self._schema.fields if field.name not in accepted.column_names]
        stored = self.stored(matches, candidates, [field.name for field in others])
        places = pc.index_in(accepted.column(SOURCE), value_set=stored.column(SOURCE).combine_chunks())
        inserted = places.is_null()
        lacking = [field.name for field in others if field.required]
        if lacking and pc.any(inserted).as_py():
            raise MissingKeyError(
                f"Some rows of the partial update have keys that are not stored, and lack the required columns "
                f"{', '.join(map(repr, lacking))}, so they cannot be inserted.",
                hint="Upsert complete rows first, or leave the new keys out.",
            )
        columns = {}
        for field in others:
            values = stored.column(field.name).take(places)
            if field.write_default is not None:
                values = with_default(values, inserted, field.write_default)
            columns[field.name] = values
        return pa.table(columns)

    def stored(self, matches: pa.Table, candidates: Sequence[LiveFile], columns: Sequence[str]) -> pa.Table:
        """Read columns of the matched rows, with the ``_source`` each belongs to; one row a source."""
        options = ReadOptions(self._schema.select(*columns), (FILE_INDEX, POSITION))
        if not columns or not matches.num_rows:
            return empty_table(options.arrow_schema().append(pa.field(SOURCE, pa.int64())))
        touched = sorted(pc.unique(matches.column(FILE_INDEX)).to_pylist())
        renumbered = pc.index_in(matches.column(FILE_INDEX), pa.array(touched, pa.int32()))
        wanted = matches.set_column(matches.column_names.index(FILE_INDEX), FILE_INDEX, renumbered)
        rows = self._engine.table(
            f"SELECT m.{SOURCE}, {sql.columns(columns, 'c')} FROM stored c "
            f"JOIN matches m ON c.{FILE_INDEX} = m.{FILE_INDEX} AND c.{POSITION} = m.{POSITION} "
            f"QUALIFY row_number() OVER (PARTITION BY m.{SOURCE} ORDER BY m.{ROW_ID}) = 1",
            {"stored": self._reader.stream([candidates[index] for index in touched], options), "matches": wanted},
        )
        schema = options.arrow_schema()
        return rows.cast(pa.schema([pa.field(SOURCE, pa.int64()), *(schema.field(name) for name in columns)]))

    def no_rows(self) -> pa.Table:
        """Return an empty table of the columns that ``MergeResult.rows`` has."""
        fields = [field.remove_metadata() for field in to_arrow_schema(self._schema)]
        return empty_table(pa.schema([*fields, pa.field(ROW_ID, pa.int64())]))


def _first_of_each_source(matches: pa.Table) -> pa.Table:
    """Return one match for each ``_source``: of several the one of the least row id. Mostly there is one."""
    if np.bincount(matches.column(SOURCE).to_numpy()).max(initial=0) <= 1:
        return matches
    ordered = matches.sort_by([(SOURCE, "ascending"), (ROW_ID, "ascending"), (FILE_INDEX, "ascending")])
    sources = ordered.column(SOURCE).to_numpy()
    return ordered.filter(pa.array(np.r_[True, sources[1:] != sources[:-1]]))


def _gathered(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield the rows in tables of many: each join costs something, however few rows it has."""
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(one.num_rows for one in gathered) >= _ROWS_A_JOIN or len(gathered) >= _BATCHES_A_JOIN:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)


def positions_by_file(matches: pa.Table, candidates: Sequence[LiveFile]) -> dict[LiveFile, BitMap64]:
    """Group matched positions by the live file they lie in."""
    if not matches.num_rows:
        return {}
    indexes, positions = matches.column(FILE_INDEX).to_numpy(), matches.column(POSITION).to_numpy()
    if (indexes[1:] < indexes[:-1]).any():
        order = np.argsort(indexes)
        indexes, positions = indexes[order], positions[order]
    starts = np.flatnonzero(np.r_[True, indexes[1:] != indexes[:-1]])
    groups = np.split(positions, starts[1:])
    return {candidates[indexes[start]]: bitmap_of(group) for start, group in zip(starts, groups, strict=True)}
