"""Keeping the history of rows (``MergeRule.SCD2``, ``MergeRule.SCD7``).

Of the entities (natural keys) that a batch is about, the stored rows are taken apart into what happened and when: the
row began, its untracked columns changed, the entity was deleted. The batch adds to that, and the rows are put together
again. So a late change finds its place, and the result does not depend on the order in which changes arrive. Rows that
ended before the first change of their entity are not looked at.

A stored row is never removed and never loses its key, whatever comes late: others may refer to it. A change that makes
no difference leaves no trace. A delete at the very moment of a row ends it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, GreaterThanOrEqual, IsNull, Or

from cordillera.spec import sql
from cordillera.spec.merge import HistoryColumns, Operation
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.content_file import ContentFile
from cordillera.table.data_file import FILE_INDEX, POSITION
from cordillera.table.data_writer import ROW_ID
from cordillera.table.io import TableIO
from cordillera.table.key_order import in_key_order
from cordillera.table.live_files import LiveFile
from cordillera.table.merge import Merge, MergeResult, positions_by_file
from cordillera.table.pruning import FilterPruner, by_key_ranges, key_ranges
from cordillera.table.reader import ReadOptions
from cordillera.table.source_rows import SOURCE
from cordillera.table.tombstones import Tombstones

NEXT_SURROGATE_KEY = "cordillera.next-surrogate-key"
_ENTITY, _SINCE, _AT = "_cdl_entity", "_cdl_since", "_cdl_at"
_KIND, _CONFIRMS, _KNOWN = "_cdl_kind", "_cdl_confirms", "_cdl_known"
_NOTHING_BEFORE, _PART = "_cdl_nothing_before", "_cdl_part"
_BEGAN, _ENDED = "_cdl_began", "_cdl_ended"


@dataclass(frozen=True, slots=True)
class _Stored:
    """Stored rows of the batch's entities: their places, and their columns; ``_source`` numbers them."""

    candidates: list[LiveFile]
    places: pa.Table
    rows: pa.Table


class HistoryMerge:
    """Merges changes into a history.

    Args:
        io: Access to the table's files.
        metadata: The table.
        live_files: Its live files.
    """

    def __init__(self, io: TableIO, metadata: TableMetadata, live_files: Sequence[LiveFile]) -> None:
        semantics = metadata.semantics
        assert semantics.history is not None, "only tables with a history are merged into one"
        assert semantics.sequence is not None, "a history has a sequence"
        self._metadata, self._schema, self._live_files = metadata, metadata.schema, live_files
        self._history: HistoryColumns = semantics.history
        self._key, self._sequence = semantics.natural_key, semantics.sequence
        self._reader, self._engine = io.reader, io.engine
        self._tombstones = Tombstones(io.storage, io.engine, metadata, io.clock.new_id)
        self._merge = Merge(metadata, live_files, io, self._tombstones)
        self._arrow = self._merge.no_rows().schema
        self._values = [n for n in self._arrow.names[:-1] if n not in (*self._key, *self._history.maintained)]

    def merge(self, operation: Operation, batch: pa.Table) -> MergeResult:
        """Work out what changes (upserts) or ends (deletes) of entities do; any number of rows an entity."""
        entities = self._entities(batch)
        numbered = self._numbered(batch, entities)
        stored = self._stored(entities)
        made, void = self._put_together(operation, numbered, stored, self._buried(batch, entities))
        return self._difference(made, void, entities, stored)

    # --- what is known -------------------------------------------------------------------------------------------

    def _entities(self, batch: pa.Table) -> pa.Table:
        """Return the batch's natural keys, each with a number and the time of its first change."""
        key, sequence = sql.columns(self._key), sql.quote(self._sequence)
        found = self._engine.table(
            f"SELECT *, row_number() OVER () - 1 AS {_ENTITY} "
            f"FROM (SELECT {key}, min({sequence}) AS {_SINCE} FROM batch GROUP BY {key})",
            {"batch": batch},
        )
        kinds = [*(batch.schema.field(name) for name in self._key)]
        moment = pa.field(_SINCE, batch.schema.field(self._sequence).type)
        return found.cast(pa.schema([*kinds, moment, pa.field(_ENTITY, pa.int64())]))

    def _numbered(self, rows: pa.Table, entities: pa.Table) -> pa.Table:
        """Return rows with the number of their entity in the place of the key; rows of other entities are left out."""
        names = [name for name in rows.column_names if name not in self._key]
        return self._engine.table(
            f"SELECT e.{_ENTITY}, {sql.columns(names, 'r')} FROM given r "
            f"JOIN entities e ON {sql.equal(self._key, 'r', 'e')}",
            {"given": rows, "entities": entities},
        )

    def _buried(self, batch: pa.Table, entities: pa.Table) -> pa.Table:
        """Return the moments of deletes that ended nothing when they came."""
        tombstones = self._tombstones.meeting(batch.select([*self._key, self._sequence]), inclusive=True)
        return self._numbered(tombstones, entities)

    def _stored(self, entities: pa.Table) -> _Stored:
        """Read the stored rows of entities that ended no earlier than the first change."""
        names, history = [field.name for field in self._schema.fields], self._history
        held = by_key_ranges(key_ranges(entities, self._schema, self._key))
        lasted = FilterPruner(self._metadata, self._schema, self._lasted_until(entities))

        def may_contain(file: ContentFile) -> bool:
            return held(file) and lasted(file)

        candidates = [live for live in self._live_files if entities.num_rows and may_contain(live.file)]
        options = ReadOptions(
            self._schema.select(*self._key, history.valid_to), (FILE_INDEX, POSITION, ROW_ID), may_contain
        )
        end = f"c.{sql.quote(history.valid_to)}"
        found = self._engine.table(
            f"SELECT c.{FILE_INDEX}, c.{POSITION}, c.{ROW_ID}, e.{_ENTITY} FROM candidates c "
            f"JOIN entities e ON {sql.equal(self._key, 'c', 'e')} WHERE {end} IS NULL OR {end} >= e.{_SINCE}",
            {"candidates": self._reader.stream(candidates, options), "entities": entities},
        )
        places = found.append_column(SOURCE, pa.array(np.arange(found.num_rows, dtype=np.int64)))
        rows = self._merge.stored(places, candidates, names)
        at = pc.index_in(rows.column(SOURCE), value_set=places.column(SOURCE).combine_chunks())
        return _Stored(candidates, places, rows.append_column(_ENTITY, places.column(_ENTITY).take(at)))

    def _lasted_until(self, entities: pa.Table) -> BooleanExpression:
        name = self._history.valid_to
        ranges = key_ranges(pa.table({name: entities.column(_SINCE)}), self._schema, [name])
        if not ranges:
            return AlwaysTrue()
        lasted: Any = GreaterThanOrEqual  # typed for a bound term, made of a name
        return Or(IsNull(term=name), lasted(name, ranges[0].low))

    # --- putting together ----------------------------------------------------------------------------------------

    def _put_together(
        self, operation: Operation, batch: pa.Table, stored: _Stored, buried: pa.Table
    ) -> tuple[pa.Table, pa.Table]:
        """Return all rows of the entities as they have to be, and the deletes that end none of them."""
        kinds = [self._arrow.field(name).with_nullable(True) for name in self._values]
        nothing = pa.schema([pa.field(_ENTITY, pa.int64()), *kinds]).empty_table()
        is_delete = operation is Operation.DELETE
        relations = {
            "given": nothing if is_delete else batch,
            "ends": batch if is_delete else nothing,
            "found": stored.rows,
            "buried": buried,
        }
        rows = self._engine.table(self._folding(), relations)
        return rows.filter(pc.equal(rows.column(_KIND), 0)), rows.filter(pc.equal(rows.column(_KIND), 2))

    def _events(self) -> str:
        """Return the query for what happened to the entities and when, as far as it is known.

        A row's beginning is of kind 0; where the batch has a row of the same moment, that one counts. A later change of
        untracked columns, which the row's sequence tells of, is a row as well, which ``confirms``. A delete is of kind
        1: one of the batch, one that ended a stored row, or one that ended nothing and is ``known`` by its tombstone.
        """
        sequence, start, end = self._quoted()
        either = ", ".join(
            f"CASE WHEN b.{_ENTITY} IS NULL THEN {sql.columns([n], 's')} ELSE {sql.columns([n], 'b')} END "
            f"AS {sql.quote(n)}"
            for n in self._others()
        )
        return f"""
            SELECT coalesce(b.{_ENTITY}, s.{_ENTITY}) AS {_ENTITY}, coalesce(b.{sequence}, s.{start}) AS {_AT},
                0 AS {_KIND}, s.{SOURCE}, false AS {_CONFIRMS}, false AS {_KNOWN}, {_AT} AS {sequence}, {either}
            FROM changes b FULL JOIN stored s ON b.{_ENTITY} = s.{_ENTITY} AND b.{sequence} = s.{start}
            UNION ALL BY NAME
            SELECT s.{_ENTITY}, s.{sequence} AS {_AT}, 0 AS {_KIND}, NULL AS {SOURCE}, true AS {_CONFIRMS},
                false AS {_KNOWN}, {sql.columns(self._values, "s")}
            FROM stored s ANTI JOIN changes b ON b.{_ENTITY} = s.{_ENTITY} AND b.{sequence} = s.{sequence}
            WHERE s.{sequence} > s.{start}
            UNION ALL BY NAME
            SELECT {_ENTITY}, {_AT}, 1 AS {_KIND}, NULL AS {SOURCE}, false AS {_CONFIRMS},
                bool_or({_KNOWN}) AS {_KNOWN}
            FROM (
                SELECT {_ENTITY}, {sequence} AS {_AT}, false AS {_KNOWN} FROM ends
                UNION ALL SELECT {_ENTITY}, {sequence}, true FROM buried
                UNION ALL SELECT s.{_ENTITY}, s.{end}, false FROM stored s
                ANTI JOIN stored n ON n.{_ENTITY} = s.{_ENTITY} AND n.{start} = s.{end} AND n.{SOURCE} <> s.{SOURCE}
                WHERE s.{end} IS NOT NULL
            ) GROUP BY {_ENTITY}, {_AT}"""

    def _folding(self) -> str:
        """Return the query that makes rows of events; void deletes are among them, as kind 2.

        Events that make no difference are left out. The rest is cut into parts where a row begins or ends; the last
        event of a part gives the row its values, the next part its end.
        """
        _, start, end = self._quoted()
        order = f"PARTITION BY {_ENTITY} ORDER BY {_AT}, {_KIND}"
        follows = f"lag({_KIND}) OVER w = 0 AND {_KIND} = 0"
        is_event = f"{_KIND} = 1 OR {SOURCE} IS NOT NULL"
        void = f"p.{_KIND} = 1 AND p.{_NOTHING_BEFORE} AND NOT p.{_KNOWN}"
        return f"""
            WITH changes AS MATERIALIZED (SELECT * FROM given), stored AS MATERIALIZED (SELECT * FROM found),
            events AS ({self._events()}),
            kept AS (SELECT * FROM events WINDOW w AS ({order})
                QUALIFY {is_event} OR {_CONFIRMS} OR NOT coalesce({follows} AND {_same(self._others())}, false)),
            marked AS (SELECT *, lag({_KIND}) OVER w IS DISTINCT FROM 0 AS {_NOTHING_BEFORE},
                {is_event} OR NOT coalesce({follows} AND {_same(self._tracked())}, false) AS _cdl_cut
                FROM kept WINDOW w AS ({order})),
            parts AS (SELECT *, sum(_cdl_cut::INT) OVER ({order} ROWS UNBOUNDED PRECEDING) AS {_PART} FROM marked),
            spans AS (SELECT {_ENTITY}, {_PART}, min({_AT}) AS {_BEGAN}, max({SOURCE}) AS _cdl_stored,
                lead(min({_AT})) OVER (PARTITION BY {_ENTITY} ORDER BY {_PART}) AS {_ENDED}
                FROM parts GROUP BY {_ENTITY}, {_PART})
            SELECT p.{_ENTITY}, CASE WHEN {void} THEN 2 ELSE p.{_KIND} END AS {_KIND}, p.{_AT},
                t._cdl_stored AS {SOURCE}, t.{_BEGAN} AS {start}, t.{_ENDED} AS {end}, {sql.columns(self._values, "p")}
            FROM parts p JOIN spans t ON p.{_ENTITY} = t.{_ENTITY} AND p.{_PART} = t.{_PART}
            QUALIFY row_number() OVER (PARTITION BY p.{_ENTITY}, p.{_PART} ORDER BY p.{_AT} DESC) = 1"""

    def _quoted(self) -> tuple[str, str, str]:
        return (
            sql.quote(self._sequence),
            sql.quote(self._history.valid_from),
            sql.quote(self._history.valid_to),
        )

    def _others(self) -> list[str]:
        return [name for name in self._values if name != self._sequence]

    def _tracked(self) -> list[str]:
        return list(self._history.tracked) or self._others()

    # --- what that changes ---------------------------------------------------------------------------------------

    def _difference(self, made: pa.Table, void: pa.Table, entities: pa.Table, stored: _Stored) -> MergeResult:
        """Return the rows that are new, or not as they are stored."""
        compared = [*self._values, self._history.valid_to]
        is_same = _same(compared, "m.{0} IS NOT DISTINCT FROM s.{0}")
        kept = [*self._values, self._history.valid_from, self._history.valid_to]
        surrogate = self._history.surrogate_key
        stored_surrogate = f", {sql.columns([surrogate], 's')}" if surrogate else ""
        changed = self._engine.table(
            f"SELECT m.{SOURCE}, {sql.columns(self._key, 'e')}, {sql.columns(kept, 'm')}{stored_surrogate} "
            f"FROM made m JOIN entities e ON m.{_ENTITY} = e.{_ENTITY} "
            f"LEFT JOIN stored s ON m.{SOURCE} = s.{SOURCE} WHERE s.{SOURCE} IS NULL OR NOT ({is_same})",
            {"made": made, "entities": entities, "stored": stored.rows},
        )
        sources = changed.column(SOURCE).cast(pa.int64())
        is_new = sources.is_null()
        updated = stored.places.filter(
            pc.is_in(stored.places.column(SOURCE), value_set=sources.combine_chunks().drop_null())
        )
        columns = {name: changed.column(name) for name in (*self._key, *kept)}
        columns[self._history.is_current] = changed.column(self._history.valid_to).is_null()
        properties: dict[str, str] = {}
        if surrogate:
            columns[surrogate], properties = self._surrogates(changed.column(surrogate), is_new)
        places = pc.index_in(sources, value_set=stored.places.column(SOURCE).combine_chunks())
        columns[ROW_ID] = stored.places.column(ROW_ID).take(places)
        rows = pa.table([columns[field.name].cast(field.type) for field in self._arrow], schema=self._arrow)
        return MergeResult(
            rows=in_key_order(rows, self._metadata, self._engine),
            removed=positions_by_file(updated, stored.candidates),
            inserted=pc.sum(is_new).as_py() or 0,
            updated=updated.num_rows,
            deleted=0,
            late=0,
            tombstones=self._tombstones_of(void, entities),
            properties=properties,
        )

    def _surrogates(self, stored: pa.ChunkedArray, is_new: pa.ChunkedArray) -> tuple[pa.Array, dict[str, str]]:
        """Return the rows' surrogate keys, new ones counted on from the last that was given, and the new count."""
        new = is_new.to_numpy()
        following = int(self._metadata.properties.get(NEXT_SURROGATE_KEY, "1"))
        numbers = pc.fill_null(stored, 0).to_numpy().astype(np.int64)
        numbers[new] = np.arange(following, following + new.sum())
        changed = {NEXT_SURROGATE_KEY: str(following + int(new.sum()))} if new.any() else {}
        return pa.array(numbers), changed

    def _tombstones_of(self, void: pa.Table, entities: pa.Table) -> pa.Table | None:
        if not void.num_rows:
            return None
        return self._engine.table(
            f"SELECT {sql.columns(self._key, 'e')}, v.{_AT} AS {sql.quote(self._sequence)} "
            f"FROM void v JOIN entities e ON v.{_ENTITY} = e.{_ENTITY}",
            {"void": void, "entities": entities},
        )


def _same(names: Sequence[str], comparison: str = "{0} IS NOT DISTINCT FROM lag({0}) OVER w") -> str:
    """Return the condition that none of the columns changes."""
    return " AND ".join(comparison.format(sql.quote(name)) for name in names) or "true"
