"""A worker that is killed while it delivers: run as a process by test_killed_workers, which imports the deliveries too.

Arguments: the kind of target, its location, the stage to be killed in, and a file to create when that stage is reached.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.ports.synchronizer import (
    HISTORY_COLUMNS,
    Delivery,
    RowReader,
    Synchronizer,
    TargetColumn,
    TargetTable,
)
from cordillera.spec.row_changes import COMMIT_SEQUENCE
from cordillera.spec.row_history import IS_CURRENT, VALID_FROM, VALID_TO
from cordillera.testing.synchronizer_deliveries import deliver

BATCHES, ROWS, TEXT_LENGTH = 20, 500, 2_000  # 20 MB, so that part of it has been sent when the blow falls
BEFORE = TargetTable("many", (TargetColumn(1, "id", pa.int64(), False), TargetColumn(2, "text", pa.string())), ("id",))
AFTER = replace(
    BEFORE, columns=(BEFORE.columns[0], replace(BEFORE.columns[1], name="words"), TargetColumn(3, "n", pa.int32()))
)
HISTORY = replace(BEFORE, columns=(*BEFORE.columns, *HISTORY_COLUMNS), key=("id", COMMIT_SEQUENCE))
FIRST_ROWS = BATCHES * ROWS
REKEYED = replace(AFTER, key=("n", "id"))
"""Another key: no table follows to it in place."""
STEPS_OF = {"first": BEFORE, "merge": AFTER, "new key": REKEYED}
"""What deliveries of few rows leave the table like."""
FEW = 2
"""Batches of a history that is killed between statements: however many they are makes no difference."""


def target(kind: str, location: str) -> Synchronizer:
    if kind == "redshift":
        from tests.adapters.synchronizers.redshift_stand_in import StandIn

        return StandIn(**json.loads(location)).target()
    if kind == "snowflake":
        from tests.servers_snowflake import Snowflake

        return Snowflake(*json.loads(location)).target()
    if kind == "clickhouse":
        from cordillera.adapters.synchronizers.clickhouse import ClickHouseSynchronizer
        from cordillera.adapters.synchronizers.clickhouse_session import Place

        return ClickHouseSynchronizer(Place(*json.loads(location)), lambda: "hunter2")
    if kind == "mariadb":
        from cordillera.adapters.synchronizers.mariadb import MariaDBSynchronizer
        from cordillera.adapters.synchronizers.mariadb_session import Place as Server

        return MariaDBSynchronizer(Server(*json.loads(location)), lambda: "hunter2")
    return build_synchronizer(kind, {"dsn" if kind == "postgres" else "path": location})


def first(pause: Callable[[], None] = lambda: None) -> Delivery:
    return deliver(BEFORE, (None, 1), _stream(BEFORE, 0, pause))


def second(stage: str, pause: Callable[[], None] = lambda: None) -> Delivery:
    """Remove the first 5,000 rows, change the others and add as many; or, as a replacement, keep what was added."""

    def at(named: str) -> Callable[[], None]:
        return pause if stage == named else lambda: None

    keys = replace(BEFORE, columns=BEFORE.columns[:1])
    replacing = stage == "replacement"
    upserts = _stream(AFTER, FIRST_ROWS // 2, at("replacement" if replacing else "upserts"), at("commit"))
    return deliver(
        AFTER, (1, (2, 1)), upserts, _stream(keys, 0, at("deletes"), count=BATCHES // 2), replacing=replacing
    )


def few(table: TargetTable) -> Delivery:
    """Begin with some rows; or remove half of them and change the others; or, under another key, begin anew."""
    if table is BEFORE:
        return deliver(BEFORE, (None, 1), _stream(BEFORE, 0, lambda: None, count=FEW))
    if table.key != BEFORE.key:
        return deliver(table, (1, (2, 1)), _stream(table, 0, lambda: None, count=FEW), replacing=True)
    keys = replace(BEFORE, columns=BEFORE.columns[:1])
    gone = _stream(keys, 0, lambda: None, count=FEW // 2)
    return deliver(table, (1, (2, 1)), _stream(table, ROWS, lambda: None, count=FEW), gone)


def history(commit: int, pause: Callable[[], None] = lambda: None, count: int = BATCHES) -> Delivery:
    """Begin a history with 10,000 rows, or fewer; or let all of them end, with as many that hold since."""
    if commit == 1:
        return deliver(HISTORY, (None, 1), _stream(HISTORY, 0, lambda: None, count=count))
    ends = TargetTable("many", HISTORY.ending_columns(), ("id",))
    made = deliver(HISTORY, (1, 2), _stream(HISTORY, 0, pause, count=count, commit=2))
    return replace(made, endings=_stream(ends, 0, lambda: None, count=count, commit=2))


@contextmanager
def stopping(kind: str, statement: str, pause: Callable[[], None]) -> Iterator[None]:
    """Pause before a statement that begins so."""
    session = import_module(f"cordillera.adapters.synchronizers.{kind}_session").Session
    run = session.run

    def watched(self: Any, text: str, *values: Any) -> Any:
        if isinstance(text, str) and text.startswith(statement):
            pause()
        return run(self, text, *values)

    with mock.patch.object(session, "run", watched):
        yield


def expected(table: TargetTable, start: int, count: int = BATCHES) -> list[dict[str, object]]:
    """Return the rows of a stream that begins with the id ``start``."""
    rows: list[dict[str, object]] = pa.Table.from_batches(_batches(table, start, count)).to_pylist()
    return rows


def _stream(
    table: TargetTable,
    start: int,
    halfway: Callable[[], None],
    at_end: Callable[[], None] = lambda: None,
    count: int = BATCHES,
    commit: int = 1,
) -> RowReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(_batches(table, start, count, commit)):
            if number == count // 2:
                halfway()
            yield batch
        at_end()

    return lambda: pa.RecordBatchReader.from_batches(table.arrow_schema(), batches())


def _batches(table: TargetTable, start: int, count: int, commit: int = 1) -> Iterator[pa.RecordBatch]:
    for number in range(count):
        ids = pa.array(range(start + number * ROWS, start + (number + 1) * ROWS), pa.int64())
        text = f"{table.columns[-1].name} {number} ".ljust(TEXT_LENGTH, ".")
        at = pa.scalar(commit, pa.timestamp("us", "UTC"))
        times = {COMMIT_SEQUENCE: pa.scalar(commit), VALID_FROM: at, VALID_TO: at, IS_CURRENT: pa.scalar(True)}
        if table is HISTORY:
            times[VALID_TO] = pa.scalar(None, at.type)
        columns = {"id": ids, "text": pa.array([text] * ROWS), "words": pa.array([text] * ROWS)}
        columns |= {"n": pa.array([number] * ROWS, pa.int32())}
        columns |= {name: pa.repeat(value, ROWS) for name, value in times.items()}
        yield pa.record_batch([columns[column.name] for column in table.columns], schema=table.arrow_schema())


if __name__ == "__main__":
    kind, location, stage, reached = sys.argv[1:]

    def wait_to_be_killed() -> None:
        Path(reached).touch()
        if stage != "commit":  # there, the blow falls while the worker goes on
            time.sleep(600)

    if stage == "history":
        target(kind, location).apply(history(2, wait_to_be_killed))
    elif " before " in stage:
        what, _, statement = stage.partition(" before ")
        made = history(2, count=FEW) if what == "history" else few(STEPS_OF[what])
        with stopping(kind, statement, wait_to_be_killed):
            target(kind, location).apply(made)
    else:
        delivery = first(wait_to_be_killed) if stage == "first delivery" else second(stage, wait_to_be_killed)
        target(kind, location).apply(delivery)
