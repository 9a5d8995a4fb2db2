"""Targets are proven equal to the lake, drift is found exactly and put right, and only news are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import duckdb
import psycopg
import pyarrow as pa
import pytest

from cordillera.adapters.synchronizers import build_synchronizer
from cordillera.adapters.synchronizers.duckdb import DuckDBSynchronizer
from cordillera.client import Lake
from cordillera.errors import (
    CommitConflictError,
    CordilleraError,
    LifecycleError,
    SnapshotNotFoundError,
    TargetDriftError,
    TargetUnreachableError,
)
from cordillera.ports.synchronizer import ChecksumTarget, Delivery, DeliveryResult
from cordillera.spec.subscription import Equality, Subscription
from cordillera.spec.wish_change import WishChange
from cordillera.subscriptions import equality
from cordillera.subscriptions.equality import Comparer
from tests.conftest import MovableClock

SCHEMA = pa.schema([("id", pa.int64()), ("region", pa.string()), ("amount", pa.float64())])
ROWS = 200


@pytest.fixture
def lake(timed_lake: Lake) -> Lake:
    timed_lake.create_namespace("sales")
    timed_lake.create_dataset("sales.orders", SCHEMA, key=["id"]).write(some_rows(range(ROWS)), "append")
    return timed_lake


@pytest.fixture
def in_duckdb(lake: Lake, tmp_path: Path) -> Callable[[str], Any]:
    """Make the target ``copy`` of DuckDB, and return what runs SQL in it on nobody's behalf."""
    path = str(tmp_path / "copy.duckdb")
    lake.create_target("copy", "duckdb", path=path)

    def run(sql: str) -> Any:
        with duckdb.connect(path) as connection:
            return connection.execute(sql).fetchall()

    return run


@pytest.fixture
def in_postgres(lake: Lake, postgres_server: str) -> Iterator[Callable[[str], Any]]:
    """Make the target ``copy`` of PostgreSQL, likewise."""
    schema = f"s{uuid4().hex}"

    def run(sql: str) -> Any:
        with psycopg.connect(postgres_server, autocommit=True, options=f"-c search_path={schema}") as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    run(f"CREATE SCHEMA {schema}")
    lake.create_target("copy", "postgres", dsn=postgres_server, schema=schema)
    yield run
    run(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture(params=["in_duckdb", "in_postgres"])
def in_either(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    run: Callable[[str], Any] = request.getfixturevalue(request.param)
    return run


def some_rows(ids: range) -> pa.Table:
    return pa.table({"id": list(ids), "region": [f"r{n % 7}" for n in ids], "amount": [n / 7 for n in ids]}, SCHEMA)


def subscribed(lake: Lake, **wishes: Any) -> Subscription:
    made = lake.dataset("sales.orders").subscribe("copy", **wishes)
    lake.run_pending()
    return state_of(lake, made)


def state_of(lake: Lake, subscription: Subscription) -> Subscription:
    return lake.backend.subscription(subscription.id).subscription


def told(lake: Lake) -> list[str]:
    """What events said about equality, oldest first."""
    events = [event for event in lake.backend.events(limit=1000) if event.topic == "subscription.verified"]
    return [event.payload["equality"] for event in reversed(events)]


def test_a_first_delivery_is_proven(lake: Lake, in_duckdb: Callable[[str], Any]) -> None:
    made = subscribed(lake)
    assert (made.equality, made.verified_sequence, made.drift) == (Equality.EQUAL, 1, "")
    lake.dataset("sales.orders").write(some_rows(range(5)), "upsert")
    lake.run_pending()
    assert state_of(lake, made).verified_sequence == 1  # changes alone are not worth a comparison of everything
    assert lake.backend.verify_subscription(made.id).sequence_number == 2
    assert told(lake) == ["equal"]


@pytest.mark.parametrize("seed", range(2))
def test_random_drift_is_found_exactly_and_repaired(lake: Lake, in_either: Callable[[str], Any], seed: int) -> None:
    made, random = subscribed(lake), Random(seed)
    before = in_either("SELECT * FROM orders ORDER BY id")
    chosen = random.sample(range(ROWS), random.randint(3, 40))
    gone, changed = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
    column = random.choice(["region = 'x'", "region = NULL", "amount = amount + 0.001", "amount = 'NaN'"])
    added = random.randint(0, 3)
    in_either(f"DELETE FROM orders WHERE id IN ({', '.join(map(str, gone))})")
    in_either(f"UPDATE orders SET {column} WHERE id IN ({', '.join(map(str, changed))})")
    for number in range(added):
        in_either(f"INSERT INTO orders VALUES ({-1 - number}, NULL, NULL)")
    found = lake.backend.verify_subscription(made.id)
    assert not found.equal
    assert (found.rows_missing, found.rows_unexpected, found.rows_different) == (len(gone), added, len(changed))
    assert found.missing == tuple(sorted(f"({n})" for n in gone)[:5])
    assert found.different == tuple(sorted(f"({n})" for n in changed)[:5])
    assert found.columns == (column.split()[0],)
    repaired = lake.backend.repair_subscription(made.id)
    assert (repaired.rows_restored, repaired.rows_removed) == (len(chosen), added)
    assert repaired.verified.equal
    assert in_either("SELECT * FROM orders ORDER BY id") == before
    assert told(lake) == ["equal", "drifted", "equal"]
    (entry,) = [e for e in lake.backend.audit(object_name=str(made.id)) if e.action == "subscription.repair"]
    assert (entry.details["rows_restored"], entry.details["rows_removed"]) == (len(chosen), added)


def test_what_is_equal_is_left_alone(lake: Lake, in_duckdb: Callable[[str], Any]) -> None:
    repaired = lake.backend.repair_subscription(subscribed(lake).id)
    assert repaired.found is not None
    assert (repaired.found.equal, repaired.rows_restored, repaired.rows_removed) == (True, 0, 0)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda lake, one: lake.backend.revoke_subscription(one), LifecycleError),
        (lambda lake, one: lake.backend.change_subscription(one, WishChange(row_filter="id > 9")), CommitConflictError),
    ],
    ids=["revoked", "changed"],
)
def test_a_repair_stops_when_its_rows_are_not_wanted_any_more(
    lake: Lake,
    in_duckdb: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Lake, UUID], object],
    error: type[CordilleraError],
) -> None:
    made = subscribed(lake)
    in_duckdb("DELETE FROM orders WHERE id < 3")
    applied = DuckDBSynchronizer.apply

    def late(driver: DuckDBSynchronizer, delivery: Delivery) -> DeliveryResult:
        change(lake, made.id)
        return applied(driver, delivery)

    monkeypatch.setattr(DuckDBSynchronizer, "apply", late)
    with pytest.raises(error):
        lake.backend.repair_subscription(made.id)
    assert in_duckdb("SELECT count(*) FROM orders") == [(ROWS - 3,)]


def test_more_drift_than_can_be_told_apart_is_repaired_by_delivering_everything(
    lake: Lake, in_either: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equality, "MOST_DIFFERENCES", 10)
    made = subscribed(lake)
    in_either("UPDATE orders SET amount = 0 WHERE id >= 30")
    in_either("INSERT INTO orders VALUES (-1, 'x', 1)")
    found = lake.backend.verify_subscription(made.id)
    assert (found.complete, found.rows_different) == (False, 10)
    assert state_of(lake, made).drift == "Rows that differ: at least 10 different (in amount)."
    repaired = lake.backend.repair_subscription(made.id)
    assert (repaired.rows_restored, repaired.verified.equal) == (ROWS, True)


def test_drift_is_compared_with_what_the_target_holds_not_with_what_is_newest(
    lake: Lake, in_duckdb: Callable[[str], Any]
) -> None:
    made = subscribed(lake, columns=["amount"], row_filter="region <> 'r3'")
    lake.backend.pause_subscription(made.id)
    lake.dataset("sales.orders").write(some_rows(range(0, ROWS, 2)), "delete")
    in_duckdb("UPDATE orders SET amount = -1 WHERE id = 4")
    assert lake.backend.verify_subscription(made.id).different == ("(4)",)
    assert lake.backend.repair_subscription(made.id).verified.equal
    lake.backend.resume_subscription(made.id)
    lake.run_pending()
    assert lake.backend.verify_subscription(made.id).equal


def test_a_table_that_somebody_removed_is_drift(lake: Lake, in_either: Callable[[str], Any]) -> None:
    made = subscribed(lake)
    in_either("DROP TABLE orders")
    with pytest.raises(TargetDriftError):
        lake.backend.verify_subscription(made.id)
    assert state_of(lake, made).equality is Equality.DRIFTED
    assert "is not in the target" in state_of(lake, made).drift
    assert told(lake) == ["equal", "drifted"]


def test_targets_are_verified_as_often_as_was_asked_for(
    lake: Lake, in_duckdb: Callable[[str], Any], clock: MovableClock
) -> None:
    made = subscribed(lake, verify_every_seconds=3600)
    in_duckdb("UPDATE orders SET amount = -1 WHERE id = 4")
    lake.run_pending()
    assert state_of(lake, made).equality is Equality.EQUAL
    for _ in range(2):
        clock.advance(hours=1, minutes=1)
        lake.run_pending()
        found = state_of(lake, made)
        assert found.equality is Equality.DRIFTED
        assert found.verified_at is not None
        assert found.verified_at > clock.now() - timedelta(minutes=1)
    lake.backend.schedule_verification(made.id, 86_400)
    lake.backend.repair_subscription(made.id)
    in_duckdb("UPDATE orders SET amount = -1 WHERE id = 4")
    clock.advance(hours=18)
    lake.run_pending()
    assert state_of(lake, made).equality is Equality.EQUAL  # what waited for the earlier interval does nothing
    clock.advance(hours=7)
    lake.run_pending()
    assert state_of(lake, made).equality is Equality.DRIFTED
    lake.backend.schedule_verification(made.id, None)
    clock.advance(hours=30)
    lake.run_pending()
    assert lake.backend.tasks(state="queued") == []
    assert told(lake) == ["equal", "drifted", "equal", "drifted"]


def test_a_schedule_goes_on_after_a_comparison_that_fails(
    lake: Lake, in_duckdb: Callable[[str], Any], clock: MovableClock
) -> None:
    made = subscribed(lake, verify_every_seconds=3600)
    in_duckdb("ALTER TABLE orders RENAME TO hidden")
    clock.advance(hours=1, minutes=1)
    lake.run_pending()
    assert state_of(lake, made).equality is Equality.DRIFTED
    in_duckdb("ALTER TABLE hidden RENAME TO orders")
    clock.advance(hours=1, minutes=1)
    lake.run_pending()
    assert state_of(lake, made).equality is Equality.EQUAL


def test_a_delivery_meanwhile_is_no_drift(
    lake: Lake, in_duckdb: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, orders, meanwhile = subscribed(lake), lake.dataset("sales.orders"), iter(range(2))
    compare = Comparer._target_sums

    def delivered_first(comparer: Comparer, buckets: int) -> pa.Table | None:
        if next(meanwhile, None) == 0:
            orders.write(some_rows(range(ROWS, ROWS + 9)), "append")
            lake.run_pending()
        return compare(comparer, buckets)

    monkeypatch.setattr(Comparer, "_target_sums", delivered_first)
    assert lake.backend.verify_subscription(made.id).sequence_number == 2
    assert told(lake) == ["equal"]
    numbers = iter(range(1000, 2000))

    def always_delivered_first(comparer: Comparer, buckets: int) -> pa.Table | None:
        if buckets == 1:
            number = next(numbers)
            orders.write(some_rows(range(number, number + 1)), "append")
            lake.run_pending()
        return compare(comparer, buckets)

    monkeypatch.setattr(Comparer, "_target_sums", always_delivered_first)
    with pytest.raises(TargetUnreachableError, match="again and again"):
        lake.backend.verify_subscription(made.id)
    assert told(lake) == ["equal"]


def test_a_snapshot_that_has_expired_cannot_be_compared_with(lake: Lake, in_duckdb: Callable[[str], Any]) -> None:
    made, orders = subscribed(lake), lake.dataset("sales.orders")
    lake.backend.pause_subscription(made.id)
    orders.write(some_rows(range(5)), "upsert")
    orders.expire_snapshots(older_than=timedelta(0), keep_last=1)
    with pytest.raises(SnapshotNotFoundError, match="has expired"):
        lake.backend.verify_subscription(made.id)
    assert state_of(lake, made).equality is Equality.EQUAL


def test_keys_that_a_target_holds_twice_are_drift(lake: Lake, tmp_path: Path) -> None:
    path = str(tmp_path / "copy.duckdb")
    lake.create_target("copy", "duckdb", path=path)
    made = subscribed(lake)
    with duckdb.connect(path) as connection:
        connection.execute("INSERT INTO orders SELECT * FROM orders WHERE id = 17")
    found = lake.backend.verify_subscription(made.id)
    assert (found.different, found.rows_different, found.columns) == (("(17)",), 1, ())
    assert lake.backend.repair_subscription(made.id).verified.equal


def test_keys_of_several_columns_with_the_names_that_queries_use(lake: Lake, postgres_server: str) -> None:
    schema = pa.schema([("k1", pa.string()), ("kind", pa.float64()), ("n", pa.int32()), ("h0", pa.list_(pa.int32()))])
    rows = [{"k1": f"é{n % 3}", "kind": float(n), "n": n, "h0": [n, None]} for n in range(30)]
    lake.create_dataset("sales.odd", schema, key=["kind", "k1"]).write(rows, "append")
    lake.create_target("pg", "postgres", dsn=postgres_server)
    made = lake.dataset("sales.odd").subscribe("pg")
    lake.run_pending()
    target = lake.backend.target("pg")
    assert isinstance(build_synchronizer(target.kind, target.config), ChecksumTarget)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("UPDATE odd SET h0 = '[1, 2]', n = NULL WHERE n = 7")
    found = lake.backend.verify_subscription(made.id)
    assert (found.different, found.columns) == (("(7.0, é1)",), ("h0", "n"))
    assert lake.backend.repair_subscription(made.id).verified.equal


@pytest.mark.parametrize("kind", ["parquet", "tsv"])
def test_exports_are_proven_each_and_repaired_whole(lake: Lake, tmp_path: Path, kind: str) -> None:
    lake.create_target("copy", kind, root=str(tmp_path / "exports"))
    made = subscribed(lake)
    lake.dataset("sales.orders").write(some_rows(range(5)), "delete")
    lake.run_pending()
    now = state_of(lake, made)
    assert (now.equality, now.cursor_sequence, now.verified_sequence) == (Equality.EQUAL, 2, 2)
    (part,) = (tmp_path / "exports" / "orders").glob(f"*0002-*/*/*.{kind}")
    content = part.read_bytes()
    part.unlink()
    with pytest.raises(TargetDriftError, match="gone or damaged"):
        lake.backend.verify_subscription(made.id)
    assert state_of(lake, made).equality is Equality.DRIFTED
    repaired = lake.backend.repair_subscription(made.id)
    assert (repaired.found, repaired.rows_restored, repaired.verified.equal) == (None, ROWS - 5, True)
    (part,) = (tmp_path / "exports" / "orders").glob(f"*0002-*-0001/*/*.{kind}")
    if kind == "tsv":
        part.chmod(0o600)
        part.write_bytes(content.replace(b"r3", b"r4", 1))
        repaired = lake.backend.repair_subscription(made.id)
        assert repaired.found is not None
        assert (repaired.found.rows_different, repaired.found.columns) == (1, ("region",))
        assert repaired.verified.equal
    assert told(lake) == ["equal", "drifted", "equal"]
