"""ODCS documents become contracts; what breaks the standard is refused with its place in the document."""

from __future__ import annotations

import copy
from contextlib import suppress
from datetime import UTC, date, datetime, time
from importlib.resources import files
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordillera.errors import InvalidContractError
from cordillera.spec.contract import (
    Availability,
    Comparison,
    Period,
    PeriodUnit,
    Scope,
    Severity,
    SupportChannel,
    TeamMember,
    key_of,
    parse_contract,
    partition_columns_of,
)
from cordillera.spec.contract.words import words
from tests.spec.contract_support import contract, document, integer, text

FLIGHTS = yaml.safe_load(files("cordillera.demo").joinpath("contracts/flights.odcs.yaml").read_bytes())


def refusal(*properties: dict[str, Any], **more: Any) -> InvalidContractError:
    with pytest.raises(InvalidContractError) as refused:
        contract(*properties, **more)
    return refused.value


def quality_refusal(rule: dict[str, Any], column: dict[str, Any] | None = None) -> InvalidContractError:
    return refusal({**(column or text("a")), "quality": [rule]})


def test_what_the_document_says_about_itself() -> None:
    read = contract(
        text("a"),
        name="Orders",
        tags=["one", "two"],
        description={"purpose": "p", "usage": "u", "limitations": "l"},
        team={"name": "sales", "members": [{"username": "ann", "role": "Owner"}, {"username": "bob", "dateOut": "x"}]},
        support=[{"channel": "#help", "tool": "slack", "url": "https://example.com"}],
        price={"priceAmount": 1},
        servers=[{"server": "x", "type": "custom"}],
    )
    assert (read.id, read.name, read.document_version, read.status) == ("orders-contract", "Orders", "1.0.0", "active")
    assert (read.purpose, read.usage, read.limitations, read.tags) == ("p", "u", "l", ("one", "two"))
    assert (read.owner, read.team) == ("sales", (TeamMember("ann", role="Owner"),))
    assert read.support == (SupportChannel("#help", "https://example.com", "slack"),)
    assert read.object_name == "orders"


def test_the_team_of_odcs_3_0_names_its_owner_by_role() -> None:
    team = [{"username": "ann", "role": "Owner", "dateOut": "2020-01-01"}, {"username": "bob", "role": "owner"}]
    assert contract(text("a"), team=team, apiVersion="v3.0.2").owner == "bob"


def test_columns_carry_what_the_properties_say() -> None:
    (column,) = contract(
        {
            **text("a", maxLength=3),
            "physicalName": "a_1",
            "physicalType": "varchar(3)",
            "businessName": "The A",
            "description": "An A.",
            "classification": "restricted",
            "required": True,
            "tags": ["x"],
        }
    ).columns
    assert (column.name, column.logical_type, column.physical_type) == ("a_1", "string", "varchar(3)")
    assert (column.business_name, column.description, column.tags) == ("The A", "An A.", ("x",))
    assert (column.required, column.sensitive, column.options.max_length) == (True, True, 3)


def test_key_and_partition_columns_stand_in_their_stated_order() -> None:
    read = contract(
        {**text("a"), "primaryKey": True, "primaryKeyPosition": 2, "partitioned": True},
        {**text("b"), "primaryKey": False, "primaryKeyPosition": -1},
        {**text("c"), "primaryKey": True, "primaryKeyPosition": 1, "partitioned": True},
    )
    assert key_of(read) == ("c", "a")
    assert partition_columns_of(read) == ("a", "c")


def test_an_object_has_to_be_named_where_there_are_several() -> None:
    body = yaml.safe_load(document(text("a")))
    body["schema"].append({"name": "lines", "properties": [integer("n")]})
    both = yaml.safe_dump(body)
    assert [column.name for column in parse_contract(both, "lines").columns] == ["n"]
    for name in (None, "other"):
        with pytest.raises(InvalidContractError, match=r"orders, lines|no object 'other'"):
            parse_contract(both, name)


def test_limits_are_read_in_the_type_of_their_column() -> None:
    read = contract(
        {"name": "d", "logicalType": "date", "logicalTypeOptions": {"minimum": "2020-01-01"}},
        {"name": "t", "logicalType": "time", "logicalTypeOptions": {"exclusiveMaximum": "12:00:00"}},
        {"name": "n", "logicalType": "timestamp", "logicalTypeOptions": {"maximum": "2020-01-01 00:00:00"}},
        {
            "name": "z",
            "logicalType": "timestamp",
            "logicalTypeOptions": {
                **{"minimum": "2020-01-01T00:00:00", "maximum": "2021-01-01T00:00:00+01:00"},
                **{"timezone": True, "defaultTimezone": "Australia/Sydney"},
            },
        },
    )
    d, t, n, z = (column.options for column in read.columns)
    assert (d.minimum, t.exclusive_maximum) == (date(2020, 1, 1), time(12))
    assert n.maximum == datetime.fromisoformat("2020-01-01T00:00:00")
    assert z.minimum == datetime(2019, 12, 31, 13, tzinfo=UTC)
    assert z.maximum == datetime(2020, 12, 31, 23, tzinfo=UTC)


def test_service_levels() -> None:
    read = contract(
        text("a"),
        slaProperties=[
            {"property": "frequency", "value": 1, "unit": "d"},
            {"property": "timeOfAvailability", "value": "06:00 America/New_York", "valueExt": 2, "unit": "d"},
            {"property": "timeOfAvailability", "value": "09:00-08:00", "driver": "analytics"},
            {"property": "ly", "value": 4, "unit": "h", "element": "orders.a"},
            {"property": "retention", "value": 1, "unit": "y", "element": "lines.x"},
            {"property": "retention", "value": 3, "unit": "y"},
            {"property": "generalAvailability", "value": "2022-05-12T09:30:10-08:00"},
            {"property": "endOfSupport", "value": "2032-05-12"},
            {"property": "endOfLife", "value": "2042-05-12T09:30:10-08:00"},
        ],
    )
    level = read.service_level
    assert level.frequency == Period(1, PeriodUnit.DAY)
    assert level.availability == Availability(time(6), "America/New_York", 2)
    assert (str(level.latency), str(level.retention)) == ("4 hours", "3 years")
    assert [left.path for left in read.unenforced] == ["slaProperties[2]", "slaProperties[6]"]
    assert level.end == date(2032, 5, 12)
    assert level.end_of_life == datetime.fromisoformat("2042-05-12T09:30:10-08:00")


@pytest.mark.parametrize(
    ("value", "end"),
    [
        ("2032-05-12", date(2032, 5, 12)),
        ("2032-05-12T09:30", datetime(2032, 5, 12, 9, 30)),
        ("2032-05-12T09:30:10Z", datetime(2032, 5, 12, 9, 30, 10, tzinfo=UTC)),
    ],
)
def test_promises_can_end(value: str, end: date) -> None:
    assert contract(text("a"), slaProperties=[{"property": "es", "value": value}]).service_level.end == end


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("09:00-08:00", Availability(time(9), "-08:00")),
        ("07:30Z", Availability(time(7, 30), "UTC")),
        ("07:30", Availability(time(7, 30), "UTC")),
    ],
)
def test_times_of_availability(value: str, expected: Availability) -> None:
    read = contract(text("a"), slaProperties=[{"property": "timeOfAvailability", "value": value}])
    assert read.service_level.availability == expected


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"property": "frequency", "value": "daily"}, "number is expected"),
        ({"property": "frequency", "value": 1}, "unit is missing"),
        ({"property": "frequency", "value": 1, "unit": "m"}, "not a unit of time"),
        ({"property": "retention", "value": 0, "unit": "d"}, "not greater than 0"),
        ({"property": "timeOfAvailability", "value": 6}, "text is expected"),
        ({"property": "timeOfAvailability", "value": "25:00"}, "not a time of day"),
        ({"property": "timeOfAvailability", "value": "06:00 Mars/Olympus"}, "known time zone"),
        ({"property": "timeOfAvailability", "value": "06:00 ../../etc/passwd"}, "known time zone"),
        ({"property": "timeOfAvailability", "value": "06:00", "valueExt": 1, "unit": "h"}, "counts days"),
        ({"property": "endOfSupport", "value": "soon"}, "neither a date nor a time"),
        ({"property": "endOfSupport"}, "neither a date nor a time"),
        ({"value": 1}, "property is missing"),
        ({"property": "x", "value": 1, "units": "d"}, "'units' is not a key"),
    ],
)
def test_service_levels_that_cannot_be_understood_are_refused(entry: dict[str, Any], reason: str) -> None:
    refused = refusal(text("a"), slaProperties=[entry])
    assert reason in refused.message
    assert refused.details["path"].startswith("slaProperties[0]")


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"apiVersion": "v2.2.2"}, "apiVersion 'v2.2.2' is not supported"),
        ({"apiVersion": "v3.2.0"}, "not supported"),
        ({"kind": "DataProduct"}, "kind is 'DataProduct'"),
        ({"version": 1.0}, "the number 1.0 stands where text is expected"),
        ({"id": None}, "id is missing"),
        ({"status": ""}, "status is empty"),
        ({"tags": "one"}, "where a list is expected"),
        ({"team": {"members": [{"name": "x"}]}}, "username is missing"),
        ({"support": [{"url": "x"}]}, "channel is missing"),
    ],
)
def test_the_frame_of_the_document_is_checked(top: dict[str, Any], reason: str) -> None:
    assert reason in refusal(text("a"), **top).message


@pytest.mark.parametrize(
    ("properties", "path", "reason"),
    [
        ([{"logicalType": "string"}], "schema[0].properties[0]", "name is missing"),
        ([{**text("a"), "requried": True}], "schema[0].properties[0].requried", "not a key of the standard"),
        ([{"name": "a", "logicalType": "text"}], "schema[0].properties[0].logicalType", "'text' is not a logicalType"),
        ([text("a"), text("A")], "schema[0].properties[1]", "appears twice"),
        ([text("a.b")], "schema[0].properties[0]", "not a legal column name"),
        ([text("_row_id")], "schema[0].properties[0]", "reserved"),
        ([{**text("a"), "required": "yes"}], "schema[0].properties[0].required", "true or false is expected"),
        ([text("a", maximum=1)], "schema[0].properties[0].logicalTypeOptions.maximum", "not a key"),
        ([text("a", maxLength=-1)], "schema[0].properties[0].logicalTypeOptions.maxLength", "less than 0"),
        ([text("a", pattern="a(?=b)")], "schema[0].properties[0].logicalTypeOptions.pattern", "pattern cannot be used"),
        ([integer("a", minimum="1")], "schema[0].properties[0].logicalTypeOptions.minimum", "number is expected"),
        ([integer("a", minimum=float("inf"))], "schema[0].properties[0].logicalTypeOptions.minimum", "not a finite"),
        ([integer("a", exclusiveMinimum=True)], "schema[0].properties[0].logicalTypeOptions.exclusiveMinimum", "3.1"),
        ([integer("a", multipleOf=0)], "schema[0].properties[0].logicalTypeOptions.multipleOf", "greater than 0"),
        ([integer("a", format="f32")], "schema[0].properties[0].logicalTypeOptions.format", "not a format of integer"),
        (
            [{"name": "d", "logicalType": "date", "logicalTypeOptions": {"minimum": "1 May"}}],
            "schema[0].properties[0].logicalTypeOptions.minimum",
            "not a date",
        ),
        (
            [{"name": "t", "logicalType": "timestamp", "logicalTypeOptions": {"minimum": "2020-01-01T00:00:00Z"}}],
            "schema[0].properties[0].logicalTypeOptions.minimum",
            "no time zone",
        ),
        (
            [{"name": "t", "logicalType": "timestamp", "logicalTypeOptions": {"defaultTimezone": "Nowhere"}}],
            "schema[0].properties[0].logicalTypeOptions.defaultTimezone",
            "not a time zone",
        ),
        ([{**text("a"), "items": text("b")}], "schema[0].properties[0].items", "only an array"),
        ([{**text("a"), "primaryKeyPosition": 1}], "schema[0].properties[0].primaryKeyPosition", "primaryKey is not"),
        (
            [{**text("a"), "primaryKey": True, "primaryKeyPosition": 0}],
            "schema[0].properties[0].primaryKeyPosition",
            "begin at 1",
        ),
        (
            [{**text("a"), "primaryKey": True, "primaryKeyPosition": 1}, {**text("b"), "primaryKey": True}],
            "schema[0].properties[1]",
            "but not 'b'",
        ),
        (
            [{**text(name), "primaryKey": True, "primaryKeyPosition": 1} for name in "ab"],
            "schema[0].properties[1]",
            "same position",
        ),
    ],
)
def test_properties_that_break_the_standard_are_refused(
    properties: list[dict[str, Any]], path: str, reason: str
) -> None:
    refused = refusal(*properties)
    assert (refused.details["path"], reason in refused.message) == (path, True), refused.message
    assert refused.details["line"] > 6
    assert refused.hint or "line" in refused.message


@pytest.mark.parametrize(
    ("rule", "key", "reason"),
    [
        ({"metric": "nulls", "mustBe": 0}, ".metric", "not a metric of the standard"),
        ({"metric": "nullValues"}, "", "compares with nothing"),
        ({"metric": "nullValues", "mustBe": "0"}, ".mustBe", "number is expected"),
        ({"metric": "nullValues", "mustBe": True}, ".mustBe", "number is expected"),
        ({"metric": "nullValues", "mustBelessThan": 1}, ".mustBelessThan", "not a key of the standard"),
        ({"metric": "nullValues", "mustBeBetween": [3, 1]}, ".mustBeBetween", "smaller one first"),
        ({"metric": "nullValues", "mustBeBetween": [3]}, ".mustBeBetween", "two numbers"),
        ({"metric": "nullValues", "mustBe": 0, "unit": "furlongs"}, ".unit", "no meaning"),
        ({"metric": "nullValues", "mustBe": 0, "severity": "loud"}, ".severity", "no meaning here"),
        ({"metric": "nullValues", "mustBe": 0, "arguments": {"x": 1}}, ".arguments.x", "not an argument"),
        ({"metric": "invalidValues", "mustBe": 0}, "", "does not say which values are valid"),
        ({"metric": "invalidValues", "mustBe": 0, "pattern": "x"}, ".pattern", "not a key of the standard"),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "("}},
            ".arguments.pattern",
            "cannot be used",
        ),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [1]}},
            ".arguments.validValues[0]",
            "text is expected",
        ),
        ({"metric": "missingValues", "mustBe": 0}, "", "missingValues is missing"),
        ({"metric": "rowCount", "mustBe": 0}, ".metric", "about the object"),
        ({"type": "sql", "mustBe": 0}, "", "query is missing"),
        ({"type": "sql", "mustBe": 0, "query": "SELECT count(*) FROM x"}, ".query", "reads 'x'"),
        ({"type": "sql", "mustBe": "x", "query": "SELECT count(*) FROM orders"}, ".mustBe", "number is expected"),
        ({"type": "custom", "implementation": "x"}, "", "engine is missing"),
        ({"type": "custom", "engine": "cordillera", "implementation": "b > 1"}, ".implementation", "no column 'b'"),
        ({"type": "custom", "engine": "cordillera", "implementation": {"a": 1}}, ".implementation", "text is expected"),
        ({"type": "magic"}, ".type", "not a type of rule"),
        ({"description": "nothing else"}, "", "neither a type nor a metric"),
        (
            {"metric": "nullValues", "mustBe": 0, "customProperties": [{"property": "scope", "value": "world"}]},
            ".customProperties[0]",
            "no meaning here",
        ),
    ],
)
def test_quality_rules_that_could_not_be_kept_are_refused(rule: dict[str, Any], key: str, reason: str) -> None:
    refused = quality_refusal(rule)
    assert refused.details["path"] == f"schema[0].properties[0].quality[0]{key}", refused.message
    assert reason in refused.message


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ({"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["1"]}}, integer("a")),
        ({"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "1"}}, integer("a")),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [1]}},
            {"name": "a", "logicalType": "boolean"},
        ),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["1 May"]}},
            {"name": "a", "logicalType": "date"},
        ),
        ({"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["x"]}}, {"name": "a"}),
        (
            {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": ["x"]}},
            {"name": "a", "logicalType": "array", "items": text("x")},
        ),
    ],
)
def test_listed_values_have_to_fit_the_column(rule: dict[str, Any], column: dict[str, Any]) -> None:
    assert "quality[0].arguments" in quality_refusal(rule, column).details["path"]


def test_rules_of_the_object_and_of_properties_keep_their_place() -> None:
    with pytest.raises(InvalidContractError, match="about a property"):
        contract(text("a"), quality=[{"metric": "nullValues", "mustBe": 0}])
    with pytest.raises(InvalidContractError, match="needs to know the columns"):
        contract(text("a"), quality=[{"metric": "duplicateValues", "mustBe": 0}])
    with pytest.raises(InvalidContractError, match="no property 'b'"):
        contract(text("a"), quality=[{"metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["b"]}}])


def test_a_complaint_names_path_line_and_next_step() -> None:
    source = document({**text("a"), "quality": [{"metric": "nullValue", "mustBe": 0}]})
    line = next(number for number, row in enumerate(source.splitlines(), 1) if "nullValue" in row)
    with pytest.raises(InvalidContractError) as refused:
        parse_contract(source)
    assert f"schema[0].properties[0].quality[0].metric (line {line})" in str(refused.value)
    assert "nullValues" in refused.value.hint


def test_what_is_not_checked_is_listed() -> None:
    read = contract(
        {**text("a", format="ipv6"), "quality": [{"type": "text", "description": "nice"}]},
        {"name": "l", "logicalType": "array", "items": {**text("x", maxLength=3)}},
        {
            "name": "d",
            "logicalType": "date",
            "physicalType": "varchar(10)",
            "logicalTypeOptions": {"minimum": "2020-01-01"},
        },
        quality=[{"type": "custom", "engine": "soda", "implementation": "x"}],
    )
    assert {left.path: left.reason for left in read.unenforced} == {
        "schema[0].properties[0].logicalTypeOptions.format": "the format 'ipv6' is not checked",
        "schema[0].properties[0].quality[0]": "it is documentation (type text)",
        "schema[0].properties[1].items": "rules on the items of an array are not checked",
        "schema[0].properties[2].logicalTypeOptions": "the column is stored as varchar(10), not as date",
        "schema[0].quality[0]": "it is written for the engine 'soda'",
    }


def test_severity_scope_and_names() -> None:
    rules = [
        {"metric": "nullValues", "mustBe": 0, "severity": "warning", "name": "same"},
        {"metric": "nullValues", "mustBe": 0, "severity": "info", "name": "same"},
        {"metric": "nullValues", "mustBe": 0, "id": "by_id"},
        {"metric": "nullValues", "mustBe": 0},
        {"metric": "nullValues", "mustBe": 0, "customProperties": [{"property": "scope", "value": "table"}]},
        {"metric": "nullValues", "mustBeLessThan": 5, "customProperties": [{"property": "scope", "value": "batch"}]},
        {"metric": "nullValues", "mustBeLessThan": 5, "mustBeGreaterThan": 1, "unit": "percent"},
    ]
    read = contract({**text("a"), "quality": rules})
    assert [(rule.name, rule.severity) for rule in read.row_rules] == [
        ("same", Severity.WARNING),
        ("same (2)", Severity.WARNING),
        ("by_id", Severity.ERROR),
        ("a.nullValues", Severity.ERROR),
    ]
    assert [(rule.name, rule.scope) for rule in read.aggregate_rules] == [
        ("a.nullValues (2)", Scope.TABLE),
        ("a.nullValues (3)", Scope.BATCH),
        ("a.nullValues (4)", Scope.TABLE),
    ]
    assert read.aggregate_rules[2].comparisons == (
        Comparison("mustBeGreaterThan", (1,)),
        Comparison("mustBeLessThan", (5,)),
    )


def test_metrics_as_odcs_3_0_wrote_them() -> None:
    read = contract(
        {**text("a"), "quality": [{"rule": "validValues", "validValues": ["x"]}]},
        {**text("b"), "quality": [{"type": "library", "rule": "duplicateCount", "mustBeLessThan": 10}]},
        quality=[{"rule": "rowCount", "mustBeBetween": [100, 120]}],
        apiVersion="v3.0.2",
    )
    assert [rule.predicate_sql for rule in read.row_rules] == ["\"a\" IN ('x')"]
    assert [rule.name for rule in read.aggregate_rules] == ["b.duplicateValues", "rowCount"]


@pytest.mark.parametrize(
    ("operator", "operands", "holding", "failing"),
    [
        ("mustBe", (5,), [5, 5.0], [4]),
        ("mustNotBe", (5,), [4], [5]),
        ("mustBeGreaterThan", (5,), [6], [5]),
        ("mustBeGreaterOrEqualTo", (5,), [5], [4]),
        ("mustBeLessThan", (5,), [4], [5]),
        ("mustBeLessOrEqualTo", (5,), [5], [6]),
        ("mustBeBetween", (1, 5), [2, 4.9], [1, 5, 0, 6]),
        ("mustNotBeBetween", (1, 5), [1, 5, 0, 6], [2, 4]),
    ],
)
def test_operators(operator: str, operands: tuple[int, ...], holding: list[float], failing: list[float]) -> None:
    comparison = Comparison(operator, operands)
    assert all(comparison.holds(value) for value in holding)
    assert not any(comparison.holds(value) for value in failing)


# --- nothing but InvalidContractError -------------------------------------------------------------------------------

_VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]), st.just({})),
    st.lists(st.text(max_size=3) | st.integers(), max_size=3),
    st.sampled_from(
        ["string", "object", "array", "timestamp", "decimal(10,2)", "sql", "custom", "text", "percent", "i8", "u64"]
    ),
    st.dictionaries(st.sampled_from(["name", "metric", "type", "minimum", "pattern", "mustBe"]), st.text(max_size=3)),
)
_KEYS = st.sampled_from(
    words(
        "logicalType physicalType logicalTypeOptions quality metric arguments minimum unit type query mustBe items "
        "properties primaryKey physicalName validValues severity pattern"
    )
)


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a document."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        _places(value[key], found)
    return found


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_damaged_documents_never_fail_with_another_error(data: st.DataObject) -> None:
    body = copy.deepcopy(FLIGHTS)
    body["schema"][0]["properties"] = data.draw(st.permutations(body["schema"][0]["properties"]))[:4]
    for _ in range(data.draw(st.integers(1, 4))):
        container, key = data.draw(st.sampled_from(_places(body, [])))
        if isinstance(container, dict) and data.draw(st.booleans()):
            container[data.draw(_KEYS)] = data.draw(_VALUES)
        elif data.draw(st.booleans()):
            container[key] = data.draw(_VALUES)
        elif isinstance(container, dict):
            del container[key]
    with suppress(InvalidContractError):
        parse_contract(yaml.safe_dump(body))


@given(st.text())
def test_arbitrary_text_never_fails_with_another_error(source: str) -> None:
    with suppress(InvalidContractError):
        parse_contract(source)
