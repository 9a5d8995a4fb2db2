"""Events that wait: taking some costs the same however many there are; a worker that stands still stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from cordillera.adapters.db.store import SqlMetadataStore
from cordillera.ports.metadata import Transaction
from cordillera.testing.metadata_samples import append_event, stored_dataset

_FEW = 1000


@pytest.fixture
def store(empty_postgres_url: str) -> Iterator[SqlMetadataStore]:
    store = SqlMetadataStore(empty_postgres_url)  # of its own: statistics of many rows would stay
    store.migrate()
    yield store
    store.close()


def _append_many(store: SqlMetadataStore, version_id: UUID, number: int) -> None:
    with store._database.writer.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO events (topic, at, principal, trace_id, dataset, dataset_version_id, payload) "
                "SELECT 'partition.completed', now(), '', '', 'a.b', :version, '{}' FROM generate_series(1, :number)"
            ),
            {"version": version_id, "number": number},
        )
        connection.execute(sa.text("ANALYZE events"))


def _rows_looked_at(store: SqlMetadataStore, limit: int) -> int:
    """Return how many rows of events a transaction looks at to take some."""
    found = 0

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        nonlocal found
        if statement.startswith("EXPLAIN"):
            return
        ((plan,),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).all()
        found += _rows(plan[0]["Plan"])

    engine = store._database.writer
    with store.write() as tx:
        event.listen(engine, "before_cursor_execute", explain)
        try:
            assert len(tx.events.unhandled(limit)) == limit
        finally:
            event.remove(engine, "before_cursor_execute", explain)
    return found


def _rows(plan: dict[str, Any]) -> int:
    below = sum(_rows(one) for one in plan.get("Plans", ()))
    if plan.get("Relation Name") != "events":
        return below
    return below + int((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])


def test_taking_events_costs_no_more_where_one_dataset_has_many(store: SqlMetadataStore) -> None:
    _append_many(store, uuid4(), 5_000)
    assert _rows_looked_at(store, 10) < _FEW


def test_a_worker_that_stands_still_with_many_events_of_one_dataset_stops_no_other(store: SqlMetadataStore) -> None:
    _, first = stored_dataset(store, "sales.first")
    _, second = stored_dataset(store, "sales.second")
    _append_many(store, first.id, 200)
    with store.write() as tx:
        behind = [append_event(tx, second.id), append_event(tx), append_event(tx, second.id), append_event(tx)]
    with store.write() as still:
        assert _numbers(still, 5) != []
        with store.write() as tx:
            assert _numbers(tx, 5) == behind
            assert _numbers(tx, 2) == behind[:2]
            assert tx.events.any_unhandled()


def _numbers(tx: Transaction, limit: int) -> list[int]:
    return [one.number for one in tx.events.unhandled(limit)]
