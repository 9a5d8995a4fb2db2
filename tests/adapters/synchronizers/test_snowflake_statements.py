"""What Snowflake is asked to run for native tables is what it was, word for word, and is its SQL.

A subscription's life, from its first delivery on, on fakesnow, an emulator.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError
from tests.servers_snowflake import Snowflake

from cordillera.adapters.synchronizers import snowflake_table_statements as statements
from cordillera.adapters.synchronizers.snowflake_session import RefusedError, Session, meaning_of
from cordillera.adapters.synchronizers.snowflake_table_statements import TableName
from cordillera.errors import (
    CordilleraError,
    IncompatibleSchemaError,
    InvalidConfigurationError,
    InvalidNameError,
    NotAllowedError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)
from cordillera.ports.synchronizer import Cursor, TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import (
    ORDER_ROWS,
    ORDERS,
    OURS,
    THEIRS,
    all_types,
    deliver,
    rows_of,
    spelled,
)
from cordillera.testing.synchronizer_history_suite import KEPT, history, state

GOLDEN = Path(__file__).parent / "golden" / "snowflake_tables.sql"
ID, CUSTOMER, AMOUNT = ORDERS.columns
EVERY_TYPE = tuple(TargetColumn(n, name, values.type) for n, (name, values) in enumerate(all_types().items(), 2))
TABLE = TableName("LAKE", "MART", "orders")

# What sqlglot does not parse, as the pages of Snowflake's SQL reference give its syntax.
RECORDED = (r"PUT file://part-\d{5}\.parquet @\"[^\"]+\" AUTO_COMPRESS = FALSE",)
FUNCTIONS = {"HEX_ENCODE", "OCTET_LENGTH"}


def live(snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lead the life of two subscriptions; return its statements, each once, with names made plain."""
    told: list[str] = []
    for name in ("run", "rows", "stream", "put"):

        def recorded(self: Session, statement: str, *values: Any, kept: Any = getattr(Session, name)) -> Any:
            told.append(statement)
            return kept(self, statement, *values)

        monkeypatch.setattr(Session, name, recorded)
    target = snowflake.target()
    target.check()
    assert target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS)).rows_upserted == 3
    merge = deliver(ORDERS, (1, 2), [{**ORDER_ROWS[0], "amount": None}], [{"id": 2}])
    assert (target.apply(merge).rows_deleted, target.apply(merge).already_applied) == (1, True)
    swapped = (ID, replace(CUSTOMER, name="amount", doc=None), replace(AMOUNT, name="customer"))
    changed = replace(ORDERS, columns=(*swapped, TargetColumn(4, "n", pa.int32(), doc="How many")))
    target.apply(deliver(changed, (2, (3, 1)), [{"id": 9, "amount": "Dee", "customer": None, "n": 1}]))
    wide = (ID, swapped[1], replace(swapped[2], type=pa.decimal128(20, 2)))
    changed = replace(ORDERS, columns=wide)
    target.apply(deliver(changed, ((3, 1), (4, 2))))
    assert rows_of(target, changed, ["id", "amount"]) == spelled(
        [{"id": 1, "amount": "Ana"}, {"id": 3, "amount": None}, {"id": 9, "amount": "Dee"}]
    )
    assert target.checksums(changed, 1) is not None
    assert target.read_buckets(changed, 16, [3, 5]).read_all().num_rows < 3
    anew = replace(changed, columns=(ID, replace(wide[1], nullable=False)), key=("amount",))
    with pytest.raises(IncompatibleSchemaError):
        target.apply(deliver(anew, ((4, 2), (5, 3)), []))
    row = {"id": 5, "amount": "key"}
    assert target.apply(deliver(anew, ((4, 2), (5, 3)), [row], replacing=True)).rows_deleted == 3
    assert (rows_of(target, anew), target.read_cursor(OURS)) == (spelled([row]), Cursor(5, 3))
    target.apply(replace(history((None, 1), [state(1, "Ana", 1)], {}, replace(KEPT, name="h")), subscription_id=THEIRS))
    ending = history((1, 2), [state(1, "Anna", 2)], {1: 2}, replace(KEPT, name="h"))
    assert target.apply(replace(ending, subscription_id=THEIRS)).rows_updated == 1
    assert target.count_unsound(replace(KEPT, name="h")) == 0
    target.drop(OURS, anew, keep_rows=True)
    target.drop(THEIRS, replace(KEPT, name="h"), keep_rows=False)
    assert snowflake.execute('SELECT "id" FROM "orders"') == [(5,)]
    plain = "\n".join(" ".join(statement.split()) + ";" for statement in told).replace(snowflake.schema, "MART")
    return list(dict.fromkeys(re.sub(r"\b_?[0-9a-f]{32}\b|(?<=_)[0-9a-f]{32}", "ID", plain).splitlines()))


OTHERS = (
    statements.create(TABLE, TargetTable("orders", (ID, *EVERY_TYPE), ("id",)), "0" * 32, instead=False),
    statements.create_staging("_s", EVERY_TYPE),
    statements.copy("_s", EVERY_TYPE, "_files"),
    statements.insert(TABLE, "_s", EVERY_TYPE),
    statements.delete(TABLE, "_s", EVERY_TYPE),
    statements.repeated_key("_s", EVERY_TYPE),
    statements.select(TABLE, EVERY_TYPE),
    statements.make_optional(TABLE, 'quo"te'),
    statements.describe_column(TABLE, replace(CUSTOMER, doc='It\'s 100% \\ "quoted"')),
)


def test_a_subscription_lives_by_the_statements_on_record(
    snowflake: Snowflake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they change on purpose: TEST_UPDATE_GOLDEN=1 writes the file anew. Run it on a real account then."""
    found = [*live(snowflake, monkeypatch), *(f"{statement};" for statement in OTHERS)]
    if os.environ.get("TEST_UPDATE_GOLDEN"):
        GOLDEN.write_text("\n".join(found) + "\n")
    assert found == GOLDEN.read_text().splitlines()


def test_statements_on_record_are_snowflake_sql() -> None:
    known = [re.compile(pattern) for pattern in RECORDED]
    for line in GOLDEN.read_text().splitlines():
        statement = line.removesuffix(";")
        if any(pattern.fullmatch(statement) for pattern in known):
            continue
        parsed = sqlglot.parse_one(statement, dialect="snowflake")
        assert not list(parsed.find_all(exp.Command)), statement
        assert {found.name.upper() for found in parsed.find_all(exp.Anonymous)} <= FUNCTIONS, statement
        written = parsed.sql("snowflake")
        assert sqlglot.parse_one(written, dialect="snowflake").sql("snowflake") == written


def test_the_grammar_refuses_what_is_none() -> None:
    for wrong in ('CREATE TABLE "t" ("id" NUMBER(38,0)', "SELECT FROM WHERE"):
        with pytest.raises(ParseError):
            sqlglot.parse_one(wrong, dialect="snowflake")


# --- names and errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (replace(ORDERS, name="t" * 256), "256 characters"),
        (replace(ORDERS, name="a.b.c"), "schema.table"),
        (replace(ORDERS, name=""), "table name"),
        (replace(ORDERS, name="a\x00"), "table name"),
        (replace(ORDERS, name='od"d.orders'), "schema of Snowflake"),
        (replace(ORDERS, name="_cordillera_x"), "kept for Cordillera"),
        (replace(ORDERS, columns=(replace(ID, name=""),)), "column name"),
    ],
)
def test_names_that_snowflake_cannot_keep_are_refused(table: TargetTable, words: str) -> None:
    with pytest.raises(InvalidNameError, match=words):
        statements.locate(table, "LAKE", "MART")


def test_names_are_found_in_the_schema_that_they_say_and_told_apart_by_their_case() -> None:
    assert statements.locate(replace(ORDERS, name="Orders"), "LAKE", "MART").sql == '"LAKE"."MART"."Orders"'
    assert statements.locate(replace(ORDERS, name="other.t"), "LAKE", "MART").sql == '"LAKE"."OTHER"."t"'


@pytest.mark.parametrize(
    ("number", "told", "kind"),
    [
        (606, "No active warehouse selected", InvalidConfigurationError),
        (3001, "Insufficient privileges", InvalidConfigurationError),
        (625, "has locked table", TargetUnreachableError),
        (904, "invalid identifier", TargetDriftError),
        (100072, "NULL result in a non-nullable column", TypeMismatchError),
        (1003, "syntax error", NotAllowedError),
    ],
)
def test_errors_mean_what_they_say(number: int, told: str, kind: type[CordilleraError]) -> None:
    assert type(meaning_of(RefusedError(number, told), "Snowflake account lab")) is kind


def test_errors_about_values_tell_none() -> None:
    told = meaning_of(RefusedError(100038, "Numeric value 'secret' is not recognized"), "Snowflake account lab")
    assert "secret" not in str(told) + told.hint
