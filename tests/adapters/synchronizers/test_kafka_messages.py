"""Messages and what they fold into, without a broker."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from cordillera.adapters.synchronizers.kafka_cluster import MESSAGES
from cordillera.adapters.synchronizers.kafka_fold import Fold
from cordillera.adapters.synchronizers.kafka_messages import Envelope, is_log, whole_updates, without_changes
from cordillera.errors import TargetDriftError
from cordillera.ports.synchronizer import CHANGE_COLUMNS, Origin, TargetColumn, TargetTable

COLUMNS = (TargetColumn(1, "id", pa.int64(), False), TargetColumn(2, "text", pa.string()))
TABLE = TargetTable("t", COLUMNS, ("id",))
LOG = TargetTable("t", (*COLUMNS, *CHANGE_COLUMNS), ("id", CHANGE_COLUMNS[1].name, CHANGE_COLUMNS[0].name))
ENVELOPE = Envelope(TABLE, Origin("lima", "sales.orders", 2), 3, 9, 1_000, True)
AT = datetime(2026, 1, 1, tzinfo=UTC)

Image = tuple[int, str | None, str, int]


def images(*rows: Image) -> pa.RecordBatch:
    """Return images of changes: id, text, what happened, and the commit."""
    columns = [*zip(*rows, strict=True)] if rows else [()] * 4
    arrays = [
        pa.array(values, kind)
        for values, kind in zip([*columns, [AT] * len(rows)], LOG.arrow_schema().types, strict=True)
    ]
    return pa.record_batch(arrays, schema=LOG.arrow_schema())


def spelled(messages: pa.RecordBatch) -> list[tuple[Any, Any]]:
    return [(json.loads(m["key"]), m["value"] and json.loads(m["value"])) for m in messages.to_pylist()]


def stored(*batches: pa.RecordBatch) -> list[pa.RecordBatch]:
    """Return messages as they are read from a topic with one partition."""
    rows = [m for batch in batches for m in batch.to_pylist()]
    made = [{"partition": 0, "position": n, **m} for n, m in enumerate(rows)]
    return [pa.RecordBatch.from_pylist(made, schema=MESSAGES)]


def folded(*batches: pa.RecordBatch) -> dict[int, str | None]:
    with Fold(iter(stored(*batches))) as fold:
        fold.check("t", {3: COLUMNS})
        return {row["id"]: row["text"] for batch in fold.rows(TABLE, {3: COLUMNS}) for row in batch.to_pylist()}


def test_a_change_is_one_message_with_the_row_before_and_after_and_a_tombstone_behind_a_delete() -> None:
    told = spelled(
        ENVELOPE.changes(
            images(
                (1, "a", "insert", 7),
                (2, 'b"', "update_before", 8),
                (2, None, "update_after", 8),
                (1, "a", "delete", 8),
            )
        )
    )
    source = {
        "connector": "cordillera", "name": "lima", "db": "sales", "table": "orders", "dataset_version": 2,
        "snapshot": "false", "layout": 3, "sequence": 7, "ts_ms": 1767225600000,
    }  # fmt: skip
    first = {"before": None, "after": {"id": 1, "text": "a"}, "source": source, "op": "c", "ts_ms": 1000}
    assert told[0] == ({"id": 1}, first)
    assert [(key["id"], value and value["op"]) for key, value in told] == [(1, "c"), (2, "u"), (1, "d"), (1, None)]
    updated, gone = told[1][1], told[2][1]
    assert (updated["before"], updated["after"]) == ({"id": 2, "text": 'b"'}, {"id": 2, "text": None})
    assert (gone["before"], gone["after"], gone["source"]["sequence"]) == ({"id": 1, "text": "a"}, None, 8)


def test_rows_that_a_log_begins_with_are_read_not_made() -> None:
    ((_, value),) = spelled(ENVELOPE.changes(images((1, "a", "insert", 7)), first=True))
    assert (value["op"], value["source"]["snapshot"]) == ("r", "true")


def test_images_of_an_update_that_were_cut_apart_come_together() -> None:
    whole = images(
        (1, "a", "insert", 1), (2, "b", "update_before", 1), (2, "c", "update_after", 1), (3, "d", "delete", 1)
    )
    cut = (whole.slice(n, 1) for n in range(4))
    told = [message for batch in whole_updates(cut) for message in spelled(ENVELOPE.changes(batch))]
    assert told == spelled(ENVELOPE.changes(whole))


def test_the_table_of_a_log_is_told_from_others() -> None:
    assert is_log(LOG)
    assert not is_log(TABLE)
    assert without_changes(LOG) == TABLE == without_changes(TABLE)


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.sampled_from(["", "x", '"\\\n', "é"])), max_size=12))
@settings(max_examples=examples(30))
def test_messages_fold_into_the_rows_that_changes_leave(steps: list[tuple[int, str | None]]) -> None:
    model: dict[int, str] = {}
    told: list[Image] = []
    for number, (key, text) in enumerate(steps):
        if text is None:
            told += [(key, model.pop(key), "delete", number)] if key in model else []
            continue
        before = model.get(key)
        told += [(key, text, "insert", number)] if before is None else [
            (key, before, "update_before", number), (key, text, "update_after", number)
        ]  # fmt: skip
        model[key] = text
    assert (
        folded(
            ENVELOPE.changes(images(*told)) if told else pa.RecordBatch.from_pylist([], MESSAGES.remove(1).remove(0))
        )
        == model
    )


@pytest.mark.parametrize(
    "value",
    [
        b"not JSON", b"\xff", b"[]", b'{"op":"c","after":null,"source":{"layout":3}}', b'{"op":"c","after":{}}',
        b'{"op":"x","after":{"id":1,"text":"a"},"source":{"layout":3}}',
        b'{"op":"c","after":{"id":1,"text":"a"},"source":{"layout":"three"}}',
    ],
)  # fmt: skip
def test_a_message_that_the_lake_did_not_write_is_named(value: bytes) -> None:
    foreign = pa.RecordBatch.from_pylist([{"key": b'{"id":7}', "value": value}], ENVELOPE.changes(images()).schema)
    with pytest.raises(TargetDriftError, match=r"offset 0 of partition 0, of the key \{\"id\":7\}"):
        folded(foreign)


def test_a_lone_tombstone_removes_a_row_and_of_undecodable_keys_nothing_breaks() -> None:
    begun = ENVELOPE.changes(images((1, "a", "insert", 1), (2, "b", "insert", 1)))
    foreign = pa.RecordBatch.from_pylist(
        [{"key": b'{"id":1}', "value": None}, {"key": b"\xff", "value": None}], begun.schema
    )
    assert folded(begun, foreign) == {2: "b"}
