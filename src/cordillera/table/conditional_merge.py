"""Conditional merges: each row of a source, and each stored row, is dealt with by the first clause that applies.

Stored rows are read twice at most: first the columns that conditions look at, then, of rows that change, the columns
that stay or that new values are computed from. Rows without a source row are looked for only in files that the
conditions of their clauses may match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from pyiceberg.expressions import Or
from pyroaring import BitMap64

from cordillera.errors import InvalidInputError, NullKeyError
from cordillera.spec import sql
from cordillera.spec.arrow_types import cast_column
from cordillera.spec.merge import Operation, check_allowed, check_identified, check_keyed
from cordillera.spec.merge_clauses import CheckedClause, MergeClause, Then, When, check_clauses
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.change_batch import conform_columns, one_row_per_key
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID
from cordillera.table.io import TableIO
from cordillera.table.key_order import in_key_order
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import Merge, MergeResult, positions_by_file
from cordillera.table.pruning import FilterPruner
from cordillera.table.reader import ReadOptions
from cordillera.table.source_rows import SOURCE, listed, only, row_ids, without
from cordillera.table.tombstones import Tombstones

_CLAUSE, _IS_MATCHED = "_cdl_clause", "_cdl_is_matched"


def staged_source(
    io: TableIO, rows: pa.RecordBatchReader, clauses: Sequence[MergeClause], metadata: TableMetadata, dataset: str
) -> pa.Table:
    """Read the source of a merge, and check it and the clauses.

    Columns that the dataset has take their declared types; others stay as they are.

    Raises:
        InvalidInputError: One of its kinds, if the source or a clause cannot be used.
        DuplicateKeyError: If several rows have a key, and no sequence decides between them.
    """
    semantics, names = metadata.semantics, rows.schema.names
    check_allowed(Operation.MERGE, semantics, dataset)
    check_keyed(Operation.MERGE, semantics, dataset)
    check_identified(Operation.MERGE, names, semantics, dataset)
    if len({name.lower() for name in names}) < len(names) or SOURCE in names:
        raise InvalidInputError(
            f"The source of the merge into {dataset} has columns whose names clash: {', '.join(names)}.",
            hint=f"Rename them; names that differ only in case count as the same, and {SOURCE!r} is reserved.",
        )
    check_clauses(clauses, metadata.schema, names, semantics, dataset)
    source = conform_columns(rows, metadata.schema, semantics, dataset)
    return one_row_per_key(source, semantics, io.engine, dataset)


class ConditionalMerge:
    """Merges a source of one row a key into one table, by clauses.

    Args:
        io: Access to the table's files.
        metadata: The table.
        live_files: Its live files.
        clauses: What to do.
        dataset: The dataset's name, for error messages.
    """

    def __init__(
        self,
        io: TableIO,
        metadata: TableMetadata,
        live_files: Sequence[LiveFile],
        clauses: Sequence[MergeClause],
        dataset: str,
    ) -> None:
        self._reader, self._engine, self._dataset = io.reader, io.engine, dataset
        self._metadata, self._live_files, self._clauses = metadata, live_files, clauses
        tombstones = Tombstones(io.storage, io.engine, metadata, io.clock.new_id)
        self._merge = Merge(metadata, live_files, io, tombstones)
        self._semantics, self._fields = metadata.semantics, metadata.schema.fields
        self._arrow = self._merge.no_rows().schema

    def merge(self, source: pa.Table) -> MergeResult:
        """Work out what the source (as staged) does to the table."""
        checked = check_clauses(
            self._clauses, self._metadata.schema, source.column_names, self._semantics, self._dataset
        )
        numbered = source.append_column(SOURCE, pa.array(np.arange(source.num_rows, dtype=np.int64)))
        keys = numbered.select([*self._semantics.identifying, SOURCE])
        candidates = self._merge.candidates(keys)
        matches = self._merge.match(keys, candidates)
        late = self._merge.late(keys, matches)
        rows, matches = without(numbered, late), without(matches, late)
        alone = self._not_matched_by_source(checked, keys)
        by_source = self._of_source(checked, rows, matches, candidates, alone.removed)
        return MergeResult(
            rows=in_key_order(pa.concat_tables([by_source.rows, alone.rows]), self._metadata, self._engine),
            removed=by_source.removed,
            placed=by_source.placed,
            inserted=by_source.inserted,
            updated=by_source.updated + alone.updated,
            deleted=by_source.deleted + alone.deleted,
            late=len(late),
            tombstones=by_source.tombstones,
        )

    # --- rows of the source --------------------------------------------------------------------------------------

    def _of_source(
        self,
        checked: Sequence[CheckedClause],
        rows: pa.Table,
        matches: pa.Table,
        candidates: Sequence[LiveFile],
        others: Mapping[LiveFile, BitMap64],
    ) -> MergeResult:
        """Deal with the rows of the source; ``others`` are stored rows that go besides."""
        chosen = self._chosen(checked, rows, matches, candidates)
        updating = _sources(chosen, _numbers(checked, Then.UPDATE))
        deleting = _sources(chosen, _numbers(checked, Then.DELETE))
        succeeded = only(matches, updating)
        stored = self._stored(checked, When.MATCHED, succeeded, candidates)
        made = [self._no_sources()]
        for number, clause in enumerate(checked):
            if clause.then is not Then.DELETE and clause.when is not When.NOT_MATCHED_BY_SOURCE:
                picked = _sources(chosen, [number])
                relations = {"source": only(rows, picked)}
                if stored.column_names != [SOURCE]:  # else nothing of stored rows is needed
                    relations["target"] = only(stored, picked)
                made.append(self._made(clause, relations))
        new = pa.concat_tables(made)
        gone = only(matches, pa.concat_arrays([updating, deleting]))
        removed = _united(positions_by_file(gone, candidates), others)
        placed, staying = self._merge.placed(new, succeeded, candidates, removed)
        moving = without(new, staying)
        deleted = only(rows.select([*self._semantics.identifying, SOURCE]), deleting).drop_columns([SOURCE])
        return MergeResult(
            rows=pa.table(
                [*moving.drop_columns([SOURCE]).columns, row_ids(moving.column(SOURCE), matches)], self._arrow
            ),
            removed=removed,
            placed=placed,
            inserted=new.num_rows - len(updating),
            updated=len(updating),
            deleted=len(deleting),
            late=0,
            tombstones=deleted if self._semantics.sequence and deleted.num_rows else None,
        )

    def _chosen(
        self, checked: Sequence[CheckedClause], rows: pa.Table, matches: pa.Table, candidates: Sequence[LiveFile]
    ) -> pa.Table:
        """Return, for the source rows that a clause applies to, which it is."""
        looked_at = dict.fromkeys(name for c in checked if c.when is When.MATCHED for name in c.target_columns)
        read = dict.fromkeys(name for c in checked for name in c.source_columns)
        relations, joined = {"source": rows.select([SOURCE, *read])}, "source"
        if looked_at:
            relations["target"] = self._merge.stored(matches, candidates, list(looked_at))
            joined = f"source LEFT JOIN target ON source.{SOURCE} = target.{SOURCE}"
            is_matched = f"target.{SOURCE} IS NOT NULL"
        else:  # to know which rows are matched nothing has to be joined
            is_listed = pa.array(listed(rows, matches.column(SOURCE)))
            relations["source"] = relations["source"].append_column(_IS_MATCHED, is_listed)
            is_matched = _IS_MATCHED
        cases = {
            number: f"{is_matched if clause.when is When.MATCHED else f'NOT ({is_matched})'} AND ({clause.condition})"
            for number, clause in enumerate(checked)
            if clause.when is not When.NOT_MATCHED_BY_SOURCE
        }
        if not cases:
            return pa.table({SOURCE: pa.array([], pa.int64()), _CLAUSE: pa.array([], pa.int32())})
        return self._engine.table(
            f"SELECT * FROM (SELECT source.{SOURCE}, {_first_of(cases)} AS {_CLAUSE} FROM {joined}) "
            f"WHERE {_CLAUSE} IS NOT NULL",
            relations,
        )

    def _stored(
        self, checked: Sequence[CheckedClause], when: When, matches: pa.Table, candidates: Sequence[LiveFile]
    ) -> pa.Table:
        """Return what updates need of the stored rows: columns that stay, and columns that values are computed from.

        Where that is nothing, rows are not looked at: ``_source`` alone comes, for each match.
        """
        updates = [clause for clause in checked if clause.when is when and clause.then is Then.UPDATE]
        kept = [f.name for f in self._fields if any(f.name not in clause.values for clause in updates)]
        needed = list(dict.fromkeys([*kept, *(name for clause in updates for name in clause.value_columns)]))
        if needed:
            return self._merge.stored(matches, candidates, needed)
        return matches.select([SOURCE])

    # --- stored rows alone ---------------------------------------------------------------------------------------

    def _not_matched_by_source(self, checked: Sequence[CheckedClause], keys: pa.Table) -> MergeResult:
        clauses = {n: c for n, c in enumerate(checked) if c.when is When.NOT_MATCHED_BY_SOURCE}
        nothing = MergeResult(self._merge.no_rows(), {}, 0, 0, 0, 0)
        if not clauses:
            return nothing
        first = next(iter(clauses.values()))
        unread = self._files_without(keys) if first.then is Then.DELETE and first.condition == "TRUE" else set()
        pruner = FilterPruner(
            self._metadata, self._metadata.schema, reduce(Or, (clause.pruning for clause in clauses.values()))
        )
        candidates = [live for live in self._live_files if live not in unread and pruner(live.file)]
        found = self._alone(clauses, keys, candidates, pruner)
        updating = only(found, _sources(found, _numbers(checked, Then.UPDATE)))
        made = [self._no_sources()]
        stored = self._stored(checked, When.NOT_MATCHED_BY_SOURCE, updating, candidates)
        for number, clause in clauses.items():
            if clause.then is Then.UPDATE:
                picked = _sources(updating, [number])
                made.append(self._made(clause, {"target": only(stored, picked)}))
        new = pa.concat_tables(made)
        whole = {live: live.every_position() for live in unread}
        return MergeResult(
            rows=pa.table([*new.drop_columns([SOURCE]).columns, row_ids(new.column(SOURCE), updating)], self._arrow),
            removed=_united(positions_by_file(found, candidates), whole),
            inserted=0,
            updated=updating.num_rows,
            deleted=found.num_rows - updating.num_rows + sum(live.live_rows for live in unread),
            late=0,
        )

    def _files_without(self, keys: pa.Table) -> set[LiveFile]:
        """Return the files whose statistics say that none of the source's keys is in them."""
        return set(self._live_files).difference(self._merge.candidates(keys))

    def _alone(
        self,
        clauses: Mapping[int, CheckedClause],
        keys: pa.Table,
        candidates: Sequence[LiveFile],
        pruner: FilterPruner,
    ) -> pa.Table:
        """Return the places of stored rows without a source row that a clause applies to, numbered, and the clause."""
        looked_at = [name for clause in clauses.values() for name in clause.target_columns]
        read = self._metadata.schema.select(*self._semantics.key, *looked_at)
        options = ReadOptions(read, (FILE_INDEX, POSITION, ROW_ID), pruner)
        cases = {number: f"({clause.condition})" for number, clause in clauses.items()}
        found = self._engine.table(
            f"SELECT * FROM (SELECT target.{FILE_INDEX}, target.{POSITION}, target.{ROW_ID}, "
            f"{_first_of(cases)} AS {_CLAUSE} FROM target "
            f"ANTI JOIN source ON {sql.equal(self._semantics.key, 'target', 'source')}) WHERE {_CLAUSE} IS NOT NULL",
            {"target": self._reader.stream(candidates, options), "source": keys},
        )
        return found.append_column(SOURCE, pa.array(np.arange(found.num_rows, dtype=np.int64)))

    # --- new rows ------------------------------------------------------------------------------------------------

    def _made(self, clause: CheckedClause, relations: dict[str, pa.Table]) -> pa.Table:
        """Return the rows that a clause makes of source and stored rows, in the table's columns, with ``_source``."""
        base = "target" if clause.when is When.NOT_MATCHED_BY_SOURCE else "source"
        joined = base
        if clause.when is When.MATCHED and "target" in relations:
            joined = f"source JOIN target ON source.{SOURCE} = target.{SOURCE}"
        terms = dict(clause.values)
        if clause.then is Then.UPDATE:
            kept = (field.name for field in self._fields if field.name not in terms)
            terms.update((name, sql.columns([name], "target")) for name in kept)
        computed = _taken(terms, relations["source"]) if base == "source" else None
        if computed is None:
            selected = "".join(f", {term} AS {sql.quote(name)}" for name, term in terms.items())
            computed = self._engine.table(f"SELECT {base}.{SOURCE}{selected} FROM {joined}", relations)
        columns = {SOURCE: computed.column(SOURCE).cast(pa.int64())}
        for field, wanted in zip(self._fields, self._arrow, strict=False):
            if field.name in terms:
                columns[field.name] = cast_column(computed.column(field.name), wanted.type, field.name)
            else:
                columns[field.name] = pa.repeat(pa.scalar(field.write_default, wanted.type), computed.num_rows)
            if field.required and columns[field.name].null_count:
                raise NullKeyError(
                    f"{columns[field.name].null_count} rows of the merge into {self._dataset} would have NULL in "
                    f"{field.name!r}, which is declared as required.",
                    hint="Give the column a value in the clause that inserts or updates them.",
                )
        return pa.table(columns)

    def _no_sources(self) -> pa.Table:
        fields = list(self._arrow)[: len(self._fields)]
        nullable = [field.with_nullable(True) for field in fields]
        return pa.schema([pa.field(SOURCE, pa.int64()), *nullable]).empty_table()


def _taken(terms: Mapping[str, str], source: pa.Table) -> pa.Table | None:
    """Return the columns of rows of the source that a clause takes as they are; None if it computes one."""
    names = {sql.columns([name], "source"): name for name in source.column_names}
    if not names.keys() >= set(terms.values()):
        return None
    taken = {column: source.column(names[term]) for column, term in terms.items()}
    return pa.table({SOURCE: source.column(SOURCE), **taken})


def _first_of(cases: Mapping[int, str]) -> str:
    """Return the expression for the number of the first case that is true; NULL for none."""
    return f"CASE {' '.join(f'WHEN {condition} THEN {number}' for number, condition in cases.items())} END"


def _numbers(checked: Sequence[CheckedClause], then: Then) -> list[int]:
    return [number for number, clause in enumerate(checked) if clause.then is then]


def _sources(chosen: pa.Table, clauses: Sequence[int]) -> pa.Array:
    """Return the sources that one of some clauses, given by their numbers, applies to."""
    applying = chosen.column(_CLAUSE).to_numpy()
    is_chosen = np.zeros(len(applying), dtype=bool)
    for clause in clauses:  # of a few numbers each is compared faster than looked up
        is_chosen |= applying == clause
    return pa.array(chosen.column(SOURCE).to_numpy()[is_chosen])


def _united(one: Mapping[LiveFile, BitMap64], other: Mapping[LiveFile, BitMap64]) -> dict[LiveFile, BitMap64]:
    return {live: one.get(live, BitMap64()) | other.get(live, BitMap64()) for live in {**one, **other}}
