"""The synchronizer of native tables of Snowflake, on fakesnow, an emulator."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from tests.adapters.synchronizers.through_a_lake import (
    STATES,
    assert_history_kept_and_repaired,
    assert_proven_equal_and_repaired,
)
from tests.servers_snowflake import Snowflake

from cordillera.adapters.synchronizers import snowflake_session, snowflake_state
from cordillera.adapters.synchronizers.snowflake import SnowflakeSynchronizer
from cordillera.adapters.synchronizers.snowflake_session import RefusedError, Session
from cordillera.adapters.synchronizers.snowflake_state import Change, Held, Phase, States, next_state, state_table
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName
from cordillera.client import Lake
from cordillera.errors import (
    InvalidConfigurationError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, Delivery, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    ORDER_ROWS,
    ORDERS,
    OURS,
    deliver,
    field,
    reader_of,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import HistorySuite
from cordillera.testing.synchronizer_suite import SynchronizerSuite

pytestmark = pytest.mark.long  # every statement costs the emulator a hundredth of a second


@pytest.fixture
def target(snowflake: Snowflake) -> SnowflakeSynchronizer:
    return snowflake.target()


class TestSnowflakeSynchronizer(HistorySuite, SynchronizerSuite):
    @pytest.fixture
    def synchronizer(self, target: SnowflakeSynchronizer) -> SnowflakeSynchronizer:
        return target


# --- what readers see -----------------------------------------------------------------------------------------------


def test_readers_see_all_rows_of_a_delivery_or_none(snowflake: Snowflake, target: SnowflakeSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    seen: list[Any] = []

    def watched(replacing: bool) -> None:
        def rows() -> pa.RecordBatchReader:
            seen.extend(snowflake.execute('SELECT COUNT(*), SUM(IFF("id" > 10, 1, 0)) FROM "orders"'))
            return reader_of(ORDERS.arrow_schema(), [{"id": n, "customer": "x", "amount": None} for n in (11, 12)])()

        step = (2, 3) if replacing else (1, 2)
        target.apply(deliver(ORDERS, step, rows, [] if replacing else [{"id": 1}], replacing=replacing))
        seen.extend(snowflake.execute('SELECT COUNT(*), SUM(IFF("id" > 10, 1, 0)) FROM "orders"'))

    watched(False)
    watched(True)
    assert [tuple(map(int, one)) for one in seen] == [(3, 0), (4, 2), (4, 2), (2, 2)]


def test_what_readers_add_stays_and_tables_follow_in_place(snowflake: Snowflake, target: SnowflakeSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    snowflake.execute('ALTER TABLE "orders" ADD COLUMN "note" VARCHAR')
    snowflake.execute("""UPDATE "orders" SET "note" = 'theirs'""")
    wider = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], type=pa.decimal128(20, 2))))
    target.apply(deliver(wider, (1, (2, 1)), [{"id": 9, "customer": "zoë", "amount": Decimal("123456789012.25")}]))
    found = snowflake.execute('SELECT "id", "note" FROM "orders" ORDER BY 1')
    assert found == [(1, "theirs"), (2, "theirs"), (3, "theirs"), (9, None)]
    clash = replace(ORDERS, columns=(*wider.columns, TargetColumn(9, "note", pa.string())))
    with pytest.raises(TargetDriftError, match="'note', which somebody has added"):
        target.apply(deliver(clash, ((2, 1), (3, 2)), []))


# --- what somebody else does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ('DROP TABLE "orders"', "not in the target"),
        ('ALTER TABLE "orders" DROP COLUMN "customer"', "'customer'.*missing"),
        (
            'ALTER TABLE "orders" ALTER COLUMN "amount" SET DATA TYPE NUMBER(12,2)',
            r"NUMBER\(12,2\), not NUMBER\(10,2\)",
        ),
        (
            """COMMENT ON TABLE "orders" IS 'cordillera.mark=00000000000000000000000000000000'""",
            "another than the one",
        ),
    ],
)
def test_drift_is_noticed_and_repairing_everything_makes_the_table_anew(
    snowflake: Snowflake, target: SnowflakeSynchronizer, damage: str, words: str
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    snowflake.execute(damage)
    with pytest.raises(TargetDriftError, match=words):
        target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS))
    assert target.read_cursor(OURS) == Cursor(1, 0)
    target.apply(replace(deliver(ORDERS, (1, 1), ORDER_ROWS, replacing=True), repair=True))
    target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}]))
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[1:])


def test_a_comment_by_somebody_else_changes_nothing(snowflake: Snowflake, target: SnowflakeSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    snowflake.execute("""COMMENT ON TABLE "orders" IS 'ours'""")
    assert target.apply(deliver(ORDERS, (1, 2), [], [{"id": 1}])).rows_deleted == 1


# --- deaths and other workers ---------------------------------------------------------------------------------------

STRUCTS = [
    pa.struct([field(11, "a", pa.int32())]),
    pa.struct([field(12, "b", pa.string()), field(11, "c", pa.int64())]),
]
ID, CUSTOMER, AMOUNT = ORDERS.columns
BEFORE = replace(ORDERS, columns=(ID, CUSTOMER, AMOUNT, TargetColumn(4, "s", STRUCTS[0])))
BEFORE_ROWS = [{**row, "s": {"a": row["id"]}} for row in ORDER_ROWS]
SWAPPED = replace(
    BEFORE, columns=(ID, replace(CUSTOMER, name="s"), TargetColumn(5, "amount", pa.date32()), replace(
        BEFORE.columns[3], name="customer", type=STRUCTS[1]
    ))
)  # fmt: skip
REKEYED = replace(BEFORE, columns=(ID, replace(CUSTOMER, nullable=False)), key=("customer",))


def _first() -> tuple[Delivery, list[dict[str, Any]]]:
    return deliver(BEFORE, (None, 1), BEFORE_ROWS), BEFORE_ROWS


def _merged() -> tuple[Delivery, list[dict[str, Any]]]:
    row = {"id": 3, "customer": "x", "amount": None, "s": None}
    return deliver(BEFORE, (1, 2), [row], [{"id": 1}]), [BEFORE_ROWS[1], row]


def _swapped() -> tuple[Delivery, list[dict[str, Any]]]:
    row = {"id": 9, "s": "new", "amount": None, "customer": {"b": "b", "c": 1}}
    kept = [
        {"id": old["id"], "s": old["customer"], "amount": None, "customer": {"b": None, "c": old["id"]}}
        for old in BEFORE_ROWS[1:]
    ]
    return deliver(SWAPPED, (1, (2, 1)), [row], [{"id": 1}]), [*kept, row]


def _rekeyed() -> tuple[Delivery, list[dict[str, Any]]]:
    rows = [{"id": 1, "customer": "a"}, {"id": 1, "customer": "b"}]
    return deliver(REKEYED, (1, (2, 1)), rows, replacing=True), rows


@pytest.mark.parametrize("answer_lost", [False, True])
@pytest.mark.parametrize("made", [_first, _merged, _swapped, _rekeyed])
def test_whoever_dies_at_any_statement_is_followed_by_one_who_finishes(
    snowflake: Snowflake,
    made: Callable[[], tuple[Delivery, list[dict[str, Any]]]],
    answer_lost: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, left, cuts = Session.run, 0, 0

    def cut(self: Session, statement: str, *values: Any) -> int:
        nonlocal left
        left -= 1
        if left == 0 and not answer_lost:
            raise TargetUnreachableError("The connection was lost.")
        changed = run(self, statement, *values)
        if left == 0:
            raise TargetUnreachableError("The connection was lost.")
        return changed

    monkeypatch.setattr(Session, "run", cut)
    delivery, expected = made()
    for at in range(1, 60):
        place, left = snowflake.another_schema(), 0
        target = place.target()
        if delivery.from_cursor is not None:
            target.apply(_first()[0])
        left = at
        try:
            target.apply(delivery)
        except TargetUnreachableError:
            cuts += 1
        else:
            break
        before = target.read_cursor(OURS)
        assert before in (delivery.from_cursor, delivery.to_cursor)
        if made is _rekeyed:
            ids = [row[0] for row in place.execute('SELECT "id" FROM "orders" ORDER BY 1')]
            assert ids == ([1, 1] if before == delivery.to_cursor else [1, 2, 3]), "empty at no step"
        assert target.apply(delivery).already_applied == (before == delivery.to_cursor)
        assert rows_of(target, delivery.table) == spelled(expected), at
        assert target.read_cursor(OURS) == delivery.to_cursor
        assert len(place.tables()) == 2, at
    assert cuts >= 8


def test_worker_waiting_for_another_gives_up_in_time(snowflake: Snowflake, target: SnowflakeSynchronizer) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    theirs = snowflake.open_session()
    with theirs.transaction():
        theirs.run(f'UPDATE {state_table("LAKE", snowflake.schema, OURS).sql} SET "revision" = "revision"')
        with pytest.raises(TargetUnreachableError, match="waited for a lock"):
            target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1]))
        assert rows_of(target, ORDERS) == spelled(ORDER_ROWS)
    theirs.close()
    assert not target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1])).already_applied


def test_a_worker_that_is_overtaken_between_reading_and_changing_changes_nothing(
    snowflake: Snowflake, target: SnowflakeSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    run, delivery, overtaking = Session.run, deliver(ORDERS, (1, 2), [], [{"id": 1}]), [True]

    def overtaken(self: Session, statement: str, *values: Any) -> int:
        if statement == "BEGIN" and overtaking:
            overtaking.clear()
            assert not snowflake.target().apply(delivery).already_applied
        return run(self, statement, *values)

    monkeypatch.setattr(Session, "run", overtaken)
    assert target.apply(delivery).already_applied
    assert rows_of(target, ORDERS) == spelled(ORDER_ROWS[1:])


@pytest.mark.parametrize("statement", ["CREATE OR REPLACE", "INSERT INTO", "ALTER TABLE"])
def test_a_new_table_that_another_worker_has_overtaken_does_not_take_the_name(
    snowflake: Snowflake, target: SnowflakeSynchronizer, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    target.apply(_first()[0])
    (delivery, rows), run, overtaking = _rekeyed(), Session.run, [True]

    def overtaken(self: Session, text: str, *values: Any) -> int:
        if text.startswith(statement) and overtaking:
            overtaking.clear()
            assert not snowflake.target().apply(delivery).already_applied
            assert not snowflake.target().apply(deliver(REKEYED, ((2, 1), (3, 1)), [], [rows[0]])).already_applied
        return run(self, text, *values)

    monkeypatch.setattr(Session, "run", overtaken)
    assert target.apply(delivery).already_applied
    assert (rows_of(target, REKEYED), target.read_cursor(OURS)) == (spelled(rows[1:]), Cursor(3, 1))
    assert len(snowflake.tables()) == 2


def test_a_worker_follows_another_that_makes_a_table_and_gives_up_in_time(
    snowflake: Snowflake, target: SnowflakeSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (delivery, rows), run, theirs = _first(), Session.run, [True]

    def meanwhile(self: Session, text: str, *values: Any) -> int:
        if text.startswith("CREATE TABLE IF") and theirs:
            theirs.clear()
            states = States(self, state_table("LAKE", snowflake.schema, OURS), f"{snowflake.schema}.orders")
            state = next_state(TableName("LAKE", snowflake.schema, "orders"), BEFORE, delivery.to_cursor)
            assert states.write(states.prepare(), Held(0, change=Change(Phase.MAKE, state, "0" * 32)))
        return run(self, text, *values)

    monkeypatch.setattr(Session, "run", meanwhile)
    monkeypatch.setattr(snowflake_state, "LOCK_TIMEOUT_S", 1)
    with pytest.raises(TargetUnreachableError, match="another worker is making the table"):
        target.apply(delivery)
    assert not target.apply(delivery).already_applied
    assert rows_of(target, BEFORE) == spelled(rows)


def test_a_new_table_that_cannot_be_filled_leaves_the_old_one_and_nothing_else(
    snowflake: Snowflake, target: SnowflakeSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.apply(_first()[0])
    run = Session.run

    def refusing(self: Session, text: str, *values: Any) -> int:
        if text.startswith("INSERT INTO"):
            raise RefusedError(100038, "Numeric value 'secret' is not recognized")
        return run(self, text, *values)

    monkeypatch.setattr(Session, "run", refusing)
    with pytest.raises(TypeMismatchError, match="does not fit"):
        target.apply(_rekeyed()[0])
    assert (rows_of(target, BEFORE), target.read_cursor(OURS)) == (spelled(BEFORE_ROWS), Cursor(1, 0))
    assert len(snowflake.tables()) == 2
    target.drop(OURS, BEFORE, keep_rows=True)
    assert snowflake.tables() == ["orders"]


# --- through a lake -------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("SNOWFLAKE_TOKEN", "hunter2")
    return {**snowflake.settings, "token_env": "SNOWFLAKE_TOKEN"}


def test_a_copy_is_proven_equal_and_repaired(lake: Lake, snowflake: Snowflake, settings: dict[str, str]) -> None:
    spoilt = (
        'DELETE FROM "orders" WHERE "id" IN (5, 6)',
        'UPDATE "orders" SET "amount" = 9 WHERE "id" = 7',
        """INSERT INTO "orders" ("id", "region", "amount") VALUES (1000, 'x', 1)""",
    )

    def execute(statement: str) -> list[tuple[Any, ...]]:
        return snowflake.execute(statement.replace("FROM orders ORDER BY id", 'FROM "orders" ORDER BY "id"'))

    assert_proven_equal_and_repaired(lake, "snowflake", settings, execute, spoilt)


def test_a_history_is_kept_and_repaired(lake: Lake, snowflake: Snowflake, settings: dict[str, str]) -> None:
    quoted = STATES
    for name in ("id", "amount", "_commit_sequence_number", "_is_current", "orders"):
        quoted = quoted.replace(name, f'"{name}"')
    assert_history_kept_and_repaired(
        lake,
        "snowflake",
        settings,
        lambda: [tuple(map(int, row[:3])) + row[3:] for row in snowflake.execute(quoted)],
        lambda: snowflake.execute('UPDATE "orders" SET "amount" = 98 WHERE "id" = 1 AND "_is_current"'),
    )


# --- check, values and errors ---------------------------------------------------------------------------------------


def test_nobody_there_is_a_passing_trouble_and_tells_no_secret(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snowflake_session, "LOGIN_TIMEOUT_S", 1)
    with pytest.raises(TargetUnreachableError) as caught:
        replace(snowflake, port=1).target().check()
    assert "hunter2" not in repr(caught.value) + repr(snowflake.target())


def test_check_names_a_schema_that_is_missing(target: SnowflakeSynchronizer, monkeypatch: pytest.MonkeyPatch) -> None:
    target.check()
    monkeypatch.setattr(Session, "rows", lambda *_: [])
    with pytest.raises(InvalidConfigurationError, match="There is no schema LAKE"):
        target.check()


def test_too_large_values_are_refused_naming_column_and_key(target: SnowflakeSynchronizer) -> None:
    wide = [ORDER_ROWS[0], {**ORDER_ROWS[1], "customer": "x" * (16 * 1024 * 1024 + 1)}]
    with pytest.raises(TypeMismatchError, match=r"'customer'.*16,777,216 bytes in the row id=2"):
        target.apply(deliver(ORDERS, (None, 1), wide))
    table = TargetTable("b", (ID, TargetColumn(2, "b", pa.binary())), ("id",))
    with pytest.raises(TypeMismatchError, match=r"'b'.*8,388,608 bytes in the row id=7"):
        target.apply(deliver(table, (None, 1), [{"id": 7, "b": b"x" * (8 * 1024 * 1024 + 1)}]))


def test_other_than_the_rows_that_were_sent_are_not_taken(
    target: SnowflakeSynchronizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Session.put

    def twice(self: Session, statement: str, file: Any) -> None:
        content = file.read()
        put(self, statement, io.BytesIO(content))
        put(self, statement.replace("part-00000", "part-00001"), io.BytesIO(content))

    monkeypatch.setattr(Session, "put", twice)
    with pytest.raises(Exception, match="loaded 6 of the 3 rows"):
        target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
