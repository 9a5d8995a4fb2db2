"""What Redshift is asked to run is what it was, word for word, and is its SQL."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError
from tests.adapters.synchronizers.redshift_stand_in import StandIn

from cordillera.adapters.synchronizers import redshift_statements as statements
from cordillera.adapters.synchronizers.redshift_statements import Grant, Layout, TableName
from cordillera.errors import InvalidConfigurationError, InvalidNameError
from cordillera.ports.synchronizer import TargetColumn, TargetTable
from cordillera.testing.synchronizer_deliveries import ORDER_ROWS, ORDERS, OURS, all_types, deliver, field

GOLDEN = Path(__file__).parent / "golden" / "redshift.sql"
ORDERS_TABLE = TableName("public", "orders")
ID, CUSTOMER, AMOUNT = ORDERS.columns
EVERY_TYPE = tuple(TargetColumn(n, name, values.type) for n, (name, values) in enumerate(all_types().items(), 2))

# What sqlglot does not parse, as the pages of Amazon Redshift's Database Developer Guide give its syntax.
RECORDED = (
    r"LOCK( TABLE)? {name}",
    r"SET \w+ TO \w+",
    r"RESET \w+",
    r"FETCH FORWARD \d+ FROM \w+",
    r"CLOSE \w+",
    r"COMMENT ON COLUMN {name} IS NULL",
)
QUOTED = r'("[^"]+"\.)*"[^"]+"'


def scripted(redshift: StandIn) -> list[str]:
    """Return the statements of a subscription's life, each once, from its first delivery on, with names made plain."""
    target = redshift.target()
    target.check()
    everything = TargetTable("types", (TargetColumn(1, "id", pa.int64(), False), *EVERY_TYPE), ("id",))
    row = pa.table(
        [pa.array([1], pa.int64()), *(pa.nulls(1, column.type) for column in EVERY_TYPE)],
        schema=everything.arrow_schema(),
    )
    target.apply(deliver(everything, (None, 1), row))
    target.read_rows(everything).read_all()
    target.drop(OURS, everything, keep_rows=False)
    target.apply(deliver(ORDERS, (None, 1), ORDER_ROWS))
    target.apply(deliver(ORDERS, (1, 2), ORDER_ROWS[:1], [{"id": 2}]))
    renamed = replace(ORDERS, columns=(ID, replace(CUSTOMER, name="buyer"), TargetColumn(4, "at", pa.date32())))
    target.apply(deliver(renamed, (2, (3, 1))))
    widened = replace(renamed, columns=(ID, replace(renamed.columns[1], doc=None), TargetColumn(5, "n", pa.int32())))
    target.apply(deliver(widened, ((3, 1), (4, 2))))
    widened = replace(widened, columns=(*widened.columns[:2], TargetColumn(5, "n", pa.int64())))
    target.apply(deliver(widened, ((4, 2), (5, 3))))
    target.apply(deliver(widened, ((5, 3), (6, 3)), [{"id": 7, "buyer": "b", "n": 1}], replacing=True))
    target.checksums(widened, 1)
    target.read_buckets(widened, 16, [3, 5]).read_all()
    target.drop(OURS, widened, keep_rows=True)
    plain = "\n".join(" ".join(statement.split()) + ";" for statement in redshift.recorded)
    plain = plain.replace(redshift.staging, "s3://bucket/folder").replace(redshift.schema, "public")
    plain = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", plain)
    return list(dict.fromkeys(re.sub(r"_[0-9a-f]{32}\b", "_ID", plain).splitlines()))


OTHERS = (
    statements.create(ORDERS_TABLE, EVERY_TYPE, (), Layout("auto", "auto")),
    statements.create(ORDERS_TABLE, ORDERS.columns, ("id", "customer"), Layout("even", "none")),
    statements.create(
        ORDERS_TABLE, [replace(ID, type=pa.binary()), CUSTOMER], ("id", "customer"), Layout("key", "key")
    ),
    statements.create_staging("_s", ORDERS.columns, ("id",), Layout("all")),
    statements.copy("_s", "s3://bucket/manifest.json", "default"),
    statements.delete(ORDERS_TABLE, "_s", EVERY_TYPE),
    statements.end(ORDERS_TABLE, "_s", EVERY_TYPE),
    statements.repeated_key("_s", EVERY_TYPE),
    statements.grant(ORDERS_TABLE, Grant("SELECT", "ana", "user", True)),
    statements.grant(ORDERS_TABLE, Grant("DELETE", 'a"b', "role", False)),
    statements.grant(ORDERS_TABLE, Grant("INSERT", "readers", "group", False)),
    statements.grant(ORDERS_TABLE, Grant("SELECT", "public", "public", False)),
)


@pytest.fixture(scope="module")
def golden() -> list[str]:
    return GOLDEN.read_text().splitlines()


def test_statements_are_those_on_record(redshift: StandIn) -> None:
    """Where they change on purpose: TEST_UPDATE_GOLDEN=1 writes the file anew. Run it on a real cluster then."""
    found = [*scripted(redshift), *(f"{statement};" for statement in OTHERS)]
    if os.environ.get("TEST_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("\n".join(found) + "\n")
    assert found == GOLDEN.read_text().splitlines()


def test_statements_on_record_are_redshift_sql(golden: list[str]) -> None:
    known = [re.compile(pattern.format(name=QUOTED)) for pattern in RECORDED]
    for line in golden:
        statement = line.removesuffix(";")
        if any(pattern.fullmatch(statement) for pattern in known):
            continue
        cursor = re.fullmatch(r"DECLARE \w+ CURSOR FOR (SELECT .*)", statement)
        parsed = parse(cursor[1] if cursor else statement)
        assert not list(parsed.find_all(exp.Command, exp.Anonymous)) or not unknown(parsed), statement
        written = parsed.sql("redshift")
        assert parse(written).sql("redshift") == written


FUNCTIONS = {"JSON_PARSE", "JSON_SERIALIZE_TO_VARBYTE", "STRTOL", "TO_HEX", "OCTET_LENGTH", "LPAD"}
FUNCTIONS |= {"HAS_SCHEMA_PRIVILEGE", "HAS_DATABASE_PRIVILEGE", "CURRENT_DATABASE"}


def unknown(parsed: exp.Expression) -> list[str]:
    """Return what sqlglot took for a command, or for a function that is not on Redshift's list."""
    commands = [found.sql() for found in parsed.find_all(exp.Command)]
    return commands + [f.name for f in parsed.find_all(exp.Anonymous) if f.name.upper() not in FUNCTIONS]


def parse(statement: str) -> exp.Expression:
    # SORTKEY AUTO is in Redshift's grammar of CREATE TABLE, but not in sqlglot's.
    return sqlglot.parse_one(statement.removesuffix(" SORTKEY AUTO"), dialect="redshift")


def test_the_grammar_refuses_what_is_none() -> None:
    for wrong in ('CREATE TABLE "t" ("id" BIGINT) DISTSTYLE KEY DISTKEY', 'DELETE "t" FROM USING "s"'):
        with pytest.raises(ParseError):
            parse(wrong)


# --- names and literals ---------------------------------------------------------------------------------------------


def table_of(*names: str) -> TargetTable:
    return TargetTable("t", tuple(TargetColumn(n, name, pa.int32()) for n, name in enumerate(names)), ())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (replace(ORDERS, name="t" * 128), "128 bytes"),
        (replace(ORDERS, name="ä" * 64), "128 bytes"),
        (replace(ORDERS, name="a.b.c"), "schema.table"),
        (replace(ORDERS, name=""), "table name"),
        (replace(ORDERS, name="a\x00"), "table name"),
        (replace(ORDERS, name="_Cordillera_x"), "_cordillera_"),
        (table_of("c" * 128), "column name"),
        (table_of("CTID"), "'CTID'"),
        (table_of("deletexid"), "deletexid"),
        (table_of("Name", "name"), "'Name' and 'name'"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(table: TargetTable, words: str) -> None:
    with pytest.raises(InvalidNameError, match=words):
        statements.locate(table, "public")


def test_names_are_quoted_whatever_they_hold() -> None:
    located = statements.locate(replace(ORDERS, name='My"Schema.Sel"ect; --'), "public")
    assert located.sql == '"my""schema"."sel""ect; --"'
    assert statements.locate(table_of("Ä", "ä"), "public").name == "t"  # only ASCII letters are folded


@pytest.mark.parametrize("role", ["", "root", "arn:aws:iam::1:role/x", "arn:aws:iam::123456789012:role/x' FORMAT CSV"])
def test_roles_that_are_none_are_refused(role: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="ARN"):
        statements.check_role(role)


def test_roles_can_be_chained_and_in_any_partition() -> None:
    role = "arn:aws-cn:iam::123456789012:role/a/b,arn:aws:iam::123456789012:role/c"
    assert statements.check_role(role) == role


def test_comments_cannot_end_their_literal() -> None:
    column = replace(CUSTOMER, doc="\\'; DROP TABLE orders; --")
    assert statements.describe(ORDERS_TABLE, column).endswith("IS '/''; DROP TABLE orders; --'")


def test_privileges_that_are_not_known_stop_the_delivery() -> None:
    with pytest.raises(InvalidConfigurationError, match="cannot be given again"):
        statements.grant(ORDERS_TABLE, Grant("SELECT", "ana", "datashare", False))


def test_nested_columns_have_no_place_in_a_key() -> None:
    nested = pa.struct([field(9, "x", pa.int32())])
    made = statements.create(ORDERS_TABLE, [replace(ID, type=nested), CUSTOMER], ("id", "customer"), Layout())
    assert made.endswith('DISTSTYLE KEY DISTKEY ("customer")')
