"""The synchronizer of Amazon Redshift, on its stand-in (see ``redshift_stand_in``): what is tested is not COPY."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import conninfo
from redshift_connector.core import Connection
from tests.adapters.synchronizers.redshift_stand_in import ROLE, StandIn, StandInSession, stand_in
from tests.servers_s3 import S3Server

from cordillera.adapters.synchronizers import redshift_state
from cordillera.adapters.synchronizers.redshift import RedshiftSynchronizer
from cordillera.adapters.synchronizers.redshift_statements import Layout
from cordillera.adapters.synchronizers.redshift_types import MOST_TEXT_BYTES
from cordillera.errors import (
    CordilleraError,
    CorruptDataError,
    DuplicateKeyError,
    InvalidConfigurationError,
    NotAllowedError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, THEIRS, deliver, rows_of, spelled
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite

ID = TargetColumn(1, "id", pa.int64(), nullable=False)
WIDE = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], type=pa.decimal128(20, 2))))


@pytest.fixture
def target(redshift: StandIn) -> RedshiftSynchronizer:
    return redshift.target()


class TestRedshiftSynchronizer(HistorySuite, SynchronizerSuite):
    longest_text = MOST_TEXT_BYTES

    @pytest.fixture
    def synchronizer(self, target: RedshiftSynchronizer) -> RedshiftSynchronizer:
        return target


def staged(redshift: StandIn) -> list[Path]:
    return [path for path in Path(redshift.staging.removeprefix("file://")).rglob("*") if path.is_file()]


# --- what is in the database, and in the staging folder --------------------------------------------------------------


def test_names_are_folded_and_documentation_becomes_comments(redshift: StandIn, target: RedshiftSynchronizer) -> None:
    columns = (replace(ID, name="OrderId", doc=r"It's \ odd"), TargetColumn(2, "Größe", pa.string()))
    table = TargetTable("Orders", columns, ("OrderId",))
    target.apply(deliver(table, (None, 1), [{"OrderId": 1, "Größe": "L"}]))
    assert redshift.execute("SELECT orderid, größe FROM orders") == [(1, "L")]
    assert redshift.execute("SELECT col_description('orders'::regclass, 1)") == [("It's / odd",)]
    assert target.read_rows(table).read_all().to_pylist() == [{"OrderId": 1, "Größe": "L"}]
    recased = replace(table, columns=(replace(columns[0], name="ORDERID"), columns[1]), key=("ORDERID",))
    target.apply(deliver(recased, (1, (2, 1)), [{"ORDERID": 2, "Größe": "M"}]))
    assert redshift.execute("SELECT count(*) FROM orders") == [(2,)]


def test_staged_files_go_with_the_attempt_and_those_of_the_dead_a_day_later(
    redshift: StandIn, target: RedshiftSynchronizer
) -> None:
    folder = Path(redshift.staging.removeprefix("file://")) / str(OURS) / "dead"
    folder.mkdir(parents=True)
    for name, age_s in (("old", 100_000), ("young", 100)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert [path.name for path in staged(redshift)] == ["young"]
    with pytest.raises(DuplicateKeyError) as caught:
        target.apply(deliver(ORDERS, (1, 2), [{**ORDER_ROWS[0], "id": 4711}] * 2))
    assert [path.name for path in staged(redshift)] == ["young"]
    assert "4711" not in str(caught.value)


def test_files_travel_by_way_of_s3(
    redshift_database: tuple[int, str], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"access_key": s3_server.access_key, "secret_key": s3_server.secret_key}
    redshift = stand_in(redshift_database, f"s3://{s3_server.bucket}/to-redshift", endpoint=s3_server.endpoint, **keys)
    target = redshift.target()
    target.check()
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    target.apply(deliver(ORDERS, (1, 2), [{"id": 9, "customer": "n", "amount": None}], [{"id": 1}, {"id": 2}]))
    assert rows_of(target, ORDERS) == spelled([ORDER_ROWS[2], {"id": 9, "customer": "n", "amount": None}])
    found = s3_server.client().list_objects_v2(Bucket=s3_server.bucket, Prefix="to-redshift/")
    assert found.get("KeyCount") == 0
    statements = "\n".join(redshift.recorded)
    assert f"FROM 's3://{s3_server.bucket}/to-redshift/{OURS}/" in statements
    assert f"IAM_ROLE '{ROLE}'" in statements
    assert not any(key in statements for key in keys.values())


def test_copy_that_loads_other_rows_than_were_staged_changes_nothing(
    target: RedshiftSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    with monkeypatch.context() as patch:
        patch.setattr(StandInSession, "_copy", lambda self, *_: super(StandInSession, self)._execute("SELECT 1", None))
        with pytest.raises(CorruptDataError, match="0 of the 3 rows"):
            target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
    assert target.read_cursor(OURS) == Cursor(1, 0)
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


# --- tables that are made anew --------------------------------------------------------------------------------------


def test_a_table_that_is_made_anew_keeps_privileges_and_comments(
    redshift: StandIn, target: RedshiftSynchronizer
) -> None:
    reader = f"reader_{redshift.schema}"
    redshift.execute(f'CREATE ROLE "{reader}"')
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    redshift.execute(f'GRANT SELECT ON orders TO "{reader}" WITH GRANT OPTION')
    target.apply(deliver(WIDE, (1, (2, 1)), [], [{"id": 1}]))
    assert rows_of(target, WIDE) == spelled(ORDER_ROWS[1:])
    may = f"SELECT has_table_privilege('{reader}', '{redshift.schema}.orders', 'SELECT WITH GRANT OPTION')"
    assert redshift.execute(may) == [(True,)]
    assert redshift.execute("SELECT col_description('orders'::regclass, 2)") == [("Who ordered",)]
    redshift.execute(f'DROP OWNED BY "{reader}"')
    redshift.execute(f'DROP ROLE "{reader}"')


def test_a_view_keeps_its_table_from_being_made_anew(redshift: StandIn, target: RedshiftSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    redshift.execute("CREATE VIEW amounts AS SELECT amount FROM orders")
    with pytest.raises(NotAllowedError, match="depend"):
        target.apply(deliver(WIDE, (1, (2, 1)), [{"id": 1, "customer": "changed", "amount": None}]))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
    assert target.read_cursor(OURS) == Cursor(1, 0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DROP TABLE orders", "not in the target"),
        ("ALTER TABLE orders DROP COLUMN customer", "'customer'.*missing"),
        ("ALTER TABLE orders ALTER COLUMN amount TYPE numeric(12,2)", r"DECIMAL\(12,2\), not DECIMAL\(10,2\)"),
        ("ALTER TABLE orders ALTER COLUMN customer TYPE varchar(9)", r"VARCHAR\(9\), not"),
    ],
)
def test_drift_is_noticed(redshift: StandIn, target: RedshiftSynchronizer, damage: str, words: str) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    redshift.execute(damage)
    with pytest.raises(TargetDriftError, match=words):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))


@pytest.mark.parametrize("damage", ["DROP TABLE orders", "ALTER TABLE orders DROP COLUMN customer"])
def test_repairing_everything_makes_a_damaged_table_anew(
    redshift: StandIn, target: RedshiftSynchronizer, damage: str
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    redshift.execute(damage)
    target.apply(replace(deliver(ORDERS, (1, 1), ORDER_ROWS, replacing=True), repair=True))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
    target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[1:])


# --- deaths and other workers ---------------------------------------------------------------------------------------


def test_worker_waiting_for_another_gives_up_in_time(
    redshift: StandIn, target: RedshiftSynchronizer, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    target.apply(deliver(replace(ORDERS, name="theirs"), (None, 1), ORDER_ROWS, subscription_id=THEIRS))
    monkeypatch.setattr(redshift_state, "LOCK_TIMEOUT_MS", 200)
    with psycopg.connect(conninfo.make_conninfo(postgres_server, dbname=redshift.database)) as other:
        other.execute(f"LOCK TABLE {redshift_state.state_table(redshift.schema, OURS).sql}")
        with pytest.raises(TargetUnreachableError, match="timeout"):
            target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1]))
        target.apply(deliver(replace(ORDERS, name="theirs"), (1, 2), ORDER_ROWS[:1], subscription_id=THEIRS))
    assert not target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1])).already_applied


class CutSession(StandInSession):
    """Loses its connection at a statement, as the server sees it when the process is killed."""

    left = 0

    def _execute(self, statement: str, values: Any) -> Any:
        CutSession.left -= 1
        if CutSession.left == 0:
            self._connection._usock.shutdown(2)
        return super()._execute(statement, values)


def test_a_connection_that_is_cut_at_any_statement_leaves_before_or_after(
    redshift: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, step, cuts = redshift.target(), 1, 0
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    monkeypatch.setattr("tests.adapters.synchronizers.redshift_stand_in.StandInSession", CutSession)
    for at in range(1, 100):
        CutSession.left = at
        table = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], name=f"amount_{step}")))
        rows = [{"id": step, "customer": f"step {step}", f"amount_{step}": None}]
        delivery = deliver(table, ((step, step - 1), (step + 1, step)), rows, [{"id": step + 1}])
        try:
            target.apply(delivery)
        except TargetUnreachableError:
            cuts += 1
        else:
            break
        CutSession.left = 0
        assert target.read_cursor(OURS) == Cursor(step, step - 1)
        assert staged(redshift) == []
    CutSession.left = 0
    assert cuts > 15
    assert target.read_cursor(OURS) == Cursor(step + 1, step)
    kept = [row["id"] for row in target.read_rows(table, ["id"]).read_all().to_pylist()]
    assert sorted(kept) == [1, 3]


def test_a_commit_whose_answer_is_lost_is_found_done(
    target: RedshiftSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    delivery = deliver(ORDERS, (1, 2), [], [{"id": 1}])
    commit = Connection.commit

    def unheard(connection: Connection) -> None:
        commit(connection)
        raise ConnectionResetError("reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", unheard)
        with pytest.raises(TargetUnreachableError, match="reset by peer"):
            target.apply(delivery)
    assert not target.apply(delivery).already_applied
    with monkeypatch.context() as patch:
        heard = iter([True, True, False])
        patch.setattr(Connection, "commit", lambda c: commit(c) if next(heard) else unheard(c))
        with pytest.raises(TargetUnreachableError):
            target.apply(deliver(ORDERS, (2, 3), ORDER_ROWS[:1]))
    assert target.apply(deliver(ORDERS, (2, 3), ORDER_ROWS[:1])).already_applied
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)


# --- check ----------------------------------------------------------------------------------------------------------


def test_check_tells_what_is_missing_and_changes_nothing(redshift: StandIn, target: RedshiftSynchronizer) -> None:
    target.check()
    assert redshift.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '%cordillera_probe%'") == [(0,)]
    assert staged(redshift) == []
    with pytest.raises(InvalidConfigurationError, match="no schema 'mart'"):
        replace(redshift, schema="mart").target().check()
    guest = f"guest_{redshift.schema}"
    redshift.execute(f'CREATE ROLE "{guest}" LOGIN')
    with pytest.raises(InvalidConfigurationError, match="may not create tables"):
        redshift.target(user=guest).check()
    redshift.execute(f'DROP ROLE "{guest}"')


def test_nobody_there_is_a_passing_trouble(redshift: StandIn) -> None:
    from cordillera.adapters.synchronizers.redshift_session import Place, open_session

    with pytest.raises(TargetUnreachableError, match=r"127\.0\.0\.1") as caught:
        open_session(Place("127.0.0.1", 1, "dev", "lake"), "hunter2")
    assert "hunter2" not in repr(caught.value)
    # The stand-in speaks no TLS, without which nothing is sent to Redshift.
    with pytest.raises(TargetUnreachableError, match="SSL"):
        open_session(Place("127.0.0.1", redshift.port, redshift.database, "postgres"), "hunter2")


@pytest.mark.parametrize(
    ("distribution", "sorting", "words"),
    [("hash", "key", "distribution 'hash'"), ("key", "interleaved", "sorting 'interleaved'")],
)
def test_layouts_that_are_none_are_refused(distribution: str, sorting: str, words: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=words):
        Layout(distribution, sorting)


def test_too_long_texts_are_refused_naming_column_and_key(target: RedshiftSynchronizer) -> None:
    with pytest.raises(TypeMismatchError, match=r"'customer'.*65,535 bytes in the row id=2"):
        target.apply(deliver(ORDERS, (None, 1), [ORDER_ROWS[0], {**ORDER_ROWS[1], "customer": "ä" * 32_768}]))
    longest = {**ORDER_ROWS[1], "customer": "ä" * 32_767}
    target.apply(deliver(ORDERS, (None, 1), [longest]))
    assert rows_of(target, ORDERS) == spelled([longest])


def test_errors_and_representation_are_those_of_the_lake(target: RedshiftSynchronizer, redshift: StandIn) -> None:
    redshift.execute(f"DROP SCHEMA {redshift.schema} CASCADE")
    with pytest.raises(CordilleraError) as caught:
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    assert isinstance(caught.value, InvalidConfigurationError)
    assert "CREATE TABLE" not in str(caught.value) + repr(target)
