"""Rows and changes as messages of a Kafka topic, in the envelope of Debezium, a whole batch at a time.

A message's key is the row's key as a JSON object. Its value tells of the row before and after, where that is from, what
happened, and when it was told::

    {"before": {…}, "after": {…}, "source": {…}, "op": "u", "ts_ms": 1767225600000}

``op`` is ``c`` for a new row, ``u`` for one that changed, ``d`` for one that is gone, and ``r`` for a row as it is,
where what happened to it is not told. Behind a ``d`` comes a tombstone: the same key, and no value. Values of columns
are the JSON of ``cordillera.adapters.synchronizers.text``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cordillera.adapters.synchronizers.text import to_json
from cordillera.ports.synchronizer import (
    CHANGE_COLUMNS,
    Origin,
    TargetTable,
)
from cordillera.spec.row_changes import CHANGE_TYPE, COMMIT_SEQUENCE, COMMITTED_AT

PIECE_BYTES = 1024 * 1024
"""How much Arrow data is made into messages at once: their texts take several times as much for a moment."""

_CHANGE_IDS = frozenset(column.field_id for column in CHANGE_COLUMNS)
_MESSAGES = pa.schema([("key", pa.binary()), ("value", pa.binary())])


@dataclass(frozen=True, slots=True)
class Envelope:
    """What messages of one delivery have in common.

    Attributes:
        table: The rows they tell of, without what tells of changes.
        origin: Where those are from, if that is known.
        layout: The number of the columns, by which whoever reads a message finds them.
        sequence: The snapshot that the delivery brings the topic to.
        now_ms: When it is made.
        tombstones: Whether one follows each row that is gone.
    """

    table: TargetTable
    origin: Origin | None
    layout: int
    sequence: int
    now_ms: int
    tombstones: bool

    def keys(self, rows: pa.RecordBatch) -> pa.Array:
        """Return the keys of rows as messages have them; NULL where the table has none."""
        if not self.table.key:
            return pa.nulls(rows.num_rows, pa.string())
        return _objects([_one_zero(rows.column(name)) for name in self.table.key], self.table.key)

    def texts(self, rows: pa.RecordBatch) -> pa.Array:
        """Return rows as ``before`` and ``after`` have them."""
        names = [column.name for column in self.table.columns]
        return _objects([rows.column(name) for name in names], names)

    def states(self, keys: pa.Array, texts: pa.Array) -> pa.RecordBatch:
        """Return messages that tell how rows are."""
        nothing = pa.nulls(len(keys), pa.string())
        return self._messages(keys, nothing, texts, np.full(len(keys), "r"), self._source())

    def removals(self, keys: pa.Array, texts: pa.Array) -> pa.RecordBatch:
        """Return messages that tell which rows are gone, and how they were, as far as is known."""
        nothing = pa.nulls(len(keys), pa.string())
        return self._messages(keys, texts, nothing, np.full(len(keys), "d"), self._source())

    def changes(self, images: pa.RecordBatch, *, first: bool = False) -> pa.RecordBatch:
        """Return messages that tell of changes.

        Args:
            images: Rows of a log; the image of a row after an update lies behind the one before it.
            first: Whether they are the rows that a log begins with.
        """
        kinds = images.column(CHANGE_TYPE).to_numpy(zero_copy_only=False)
        told = np.flatnonzero(kinds != "update_before")
        gone, updated = kinds[told] == "delete", kinds[told] == "update_after"
        texts = self.texts(images)
        before = texts.take(pa.array(np.where(updated, told - 1, told), mask=~(gone | updated)))
        after = texts.take(pa.array(told, mask=gone))
        ops = np.where(gone, "d", np.where(updated, "u", "r" if first else "c"))
        images = images.take(pa.array(told))
        source = self._source(images.column(COMMIT_SEQUENCE), images.column(COMMITTED_AT), first=first)
        return self._messages(self.keys(images), before, after, ops, source)

    def _source(
        self, sequence: pa.Array | None = None, at: pa.Array | None = None, *, first: bool = False
    ) -> list[str | pa.Array]:
        """Return the parts of ``source``, under the names that Debezium has for them; and two of our own."""
        namespace, _, name = (self.origin.dataset if self.origin else "").rpartition(".")
        known = {
            "connector": "cordillera",
            "name": self.origin.lake if self.origin else "",
            "db": namespace,
            "table": name,
            "dataset_version": self.origin.version if self.origin else None,
            "snapshot": "true" if first else "false",
            "layout": self.layout,
        }
        commits = str(self.sequence) if sequence is None else sequence.cast(pa.string())
        times: str | pa.Array = str(self.now_ms)
        if at is not None:
            times = pc.fill_null(
                at.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).cast(pa.string()), "null"
            )
        return [_json(known)[:-1] + ',"sequence":', commits, ',"ts_ms":', times, "}"]

    def _messages(
        self, keys: pa.Array, before: pa.Array, after: pa.Array, ops: np.ndarray, source: list[str | pa.Array]
    ) -> pa.RecordBatch:
        parts = ['{"before":', pc.fill_null(before, "null"), ',"after":', pc.fill_null(after, "null"), ',"source":']
        parts += [*source, ',"op":"', pa.array(ops, pa.string()), f'","ts_ms":{self.now_ms}}}']
        values = pc.binary_join_element_wise(*parts, "")
        if self.tombstones:
            keys, values = _with_tombstones(keys, values, ops == "d")
        return pa.record_batch([keys.cast(pa.binary()), values.cast(pa.binary())], schema=_MESSAGES)


def is_log(table: TargetTable) -> bool:
    """Tell whether a table is a log: whether its rows tell of changes."""
    return any(column.field_id in _CHANGE_IDS for column in table.columns)


def without_changes(table: TargetTable) -> TargetTable:
    """Return the table of the rows that a log tells of; any other table as it is."""
    if not is_log(table):
        return table
    columns = tuple(column for column in table.columns if column.field_id not in _CHANGE_IDS)
    names = {column.name for column in columns}
    return TargetTable(table.name, columns, tuple(name for name in table.key if name in names))


def pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches into pieces of at most about ``PIECE_BYTES``."""
    for batch in batches:
        rows = max(1, batch.num_rows * PIECE_BYTES // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def whole_updates(images: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Put what was cut between the two images of an update together again."""
    held: pa.RecordBatch | None = None
    for batch in images:
        joined = batch if held is None else pa.concat_batches([held, batch])
        end = joined.num_rows
        split = bool(end) and joined.column(CHANGE_TYPE)[end - 1].as_py() == "update_before"
        held = joined.slice(end - 1) if split else None
        if end - split:
            yield joined.slice(0, end - split)


def _objects(columns: list[pa.Array], names: list[str] | tuple[str, ...]) -> pa.Array:
    """Return rows of columns as JSON objects."""
    fields = [pa.field(name, column.type) for name, column in zip(names, columns, strict=True)]
    return to_json(pa.StructArray.from_arrays(columns, fields=fields), "row")


def _one_zero(column: pa.Array) -> pa.Array:
    """Return key values in which 0.0 and -0.0, which are one key, are one text."""
    return pc.add(column, pa.scalar(0.0, column.type)) if pa.types.is_floating(column.type) else column


def _with_tombstones(keys: pa.Array, values: pa.Array, gone: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Return messages with one without a value behind each that tells of a row that is gone."""
    if not gone.any():
        return keys, values
    places = np.repeat(np.arange(len(gone)), 1 + gone)
    again = np.concatenate([[False], places[1:] == places[:-1]])
    return keys.take(pa.array(places)), values.take(pa.array(places, mask=again))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
