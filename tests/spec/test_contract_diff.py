"""What changed between two contracts: told once each, and classified."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cordillera.errors import InvalidContractError
from cordillera.spec.contract import Compatibility, ContractChange, Party, contract_changes
from tests.spec.contract_support import document, integer, text

NOBODY: tuple[Party, ...] = ()
CONSUMERS, PUBLISHERS = (Party.CONSUMERS,), (Party.PUBLISHERS,)
BOTH = (Party.CONSUMERS, Party.PUBLISHERS)

SLA = {"property": "latency", "value": 2, "unit": "h"}
AVAILABLE = {"property": "timeOfAvailability", "value": "06:00 America/New_York", "valueExt": 1, "unit": "d"}
RULE = {"id": "few", "type": "library", "metric": "rowCount", "mustBeLessThan": 100}
NULLS = {"type": "library", "metric": "nullValues", "mustBe": 0}

BASE: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "orders-contract",
    "version": "1.0.0",
    "status": "active",
    "price": {"priceAmount": 9.95},
    "slaProperties": [SLA, AVAILABLE, {"property": "generalAvailability", "value": "2022-05-12"}],
    "schema": [
        {
            "name": "orders",
            "quality": [RULE],
            "properties": [
                {**integer("id"), "required": True, "primaryKey": True},
                {**integer("amount", minimum=0, maximum=10), "physicalType": "int", "quality": [NULLS]},
                {**text("note", maxLength=5, pattern="^a"), "id": "c-note", "classification": "internal"},
                {
                    "name": "home",
                    "logicalType": "object",
                    "properties": [{**text("city"), "required": True}, text("type")],
                },
                {"name": "tags", "logicalType": "array", "items": {**text("tag", maxLength=3), "name": "tag"}},
            ],
        }
    ],
}


def at(path: str, value: Any, base: dict[str, Any] = BASE) -> dict[str, Any]:
    """Return a document with one value set; None removes it."""
    changed: Any = yaml.safe_load(yaml.safe_dump(base))
    place, keys = changed, [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in keys[:-1]:
        place = place[key] if isinstance(place, list) else place.setdefault(key, {})
    if isinstance(place, list) and keys[-1] == len(place):
        place.append(value)
    elif value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return changed


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[ContractChange]:
    return contract_changes(yaml.safe_dump(old, sort_keys=False), yaml.safe_dump(new, sort_keys=False))


P = "schema/0/properties"
ONE_CHANGE: list[tuple[str, Any, str, tuple[Party, ...]]] = [
    (f"{P}/2", None, "columns.note", CONSUMERS),
    (f"{P}/5", text("more"), "columns.more", NOBODY),
    (f"{P}/5", {**text("more"), "required": True}, "columns.more", PUBLISHERS),
    (f"{P}/2/name", "remark", "columns.note:name", CONSUMERS),
    (f"{P}/1/physicalType", "bigint", "columns.amount:type", NOBODY),
    (f"{P}/1/physicalType", "int4", "columns.amount:type", NOBODY),
    (f"{P}/0/physicalType", "int", "columns.id:type", BOTH),
    (f"{P}/1/required", True, "columns.amount:required", PUBLISHERS),
    (f"{P}/0/required", False, "columns.id:required", CONSUMERS),
    (f"{P}/1/unique", True, "columns.amount:unique", PUBLISHERS),
    (f"{P}/0/primaryKey", False, "key", CONSUMERS),
    (f"{P}/1/primaryKey", True, "key", CONSUMERS),
    (f"{P}/1/partitioned", True, "partitioning", NOBODY),
    (f"{P}/1/logicalTypeOptions/minimum", 1, "columns.amount:minimum", PUBLISHERS),
    (f"{P}/1/logicalTypeOptions/minimum", -1, "columns.amount:minimum", CONSUMERS),
    (f"{P}/1/logicalTypeOptions/maximum", 11, "columns.amount:maximum", CONSUMERS),
    (f"{P}/1/logicalTypeOptions/maximum", None, "columns.amount:maximum", CONSUMERS),
    (f"{P}/1/logicalTypeOptions/multipleOf", 2, "columns.amount:multipleOf", PUBLISHERS),
    (f"{P}/2/logicalTypeOptions/maxLength", 4, "columns.note:maxLength", PUBLISHERS),
    (f"{P}/2/logicalTypeOptions/pattern", "^b", "columns.note:pattern", BOTH),
    (f"{P}/2/logicalTypeOptions/format", "email", "columns.note:format", PUBLISHERS),
    (f"{P}/2/classification", "restricted", "columns.note:classification", CONSUMERS),
    (f"{P}/2/classification", "public", "columns.note:classification", NOBODY),
    (f"{P}/2/classification", "blue", "columns.note:classification", CONSUMERS),
    (f"{P}/2/description", "What they said.", "columns.note:description", NOBODY),
    (f"{P}/2/customProperties", [{"property": "x", "value": 1}], "columns.note:customProperties", NOBODY),
    (f"{P}/3/properties/0", None, "columns.home.city", CONSUMERS),
    (f"{P}/3/properties/0/required", False, "columns.home.city:required", CONSUMERS),
    (f"{P}/3/properties/1/logicalTypeOptions/maxLength", 9, "columns.home.type:maxLength", PUBLISHERS),
    (f"{P}/4/items/logicalTypeOptions/maxLength", 4, "columns.tags.element:maxLength", CONSUMERS),
    (f"{P}/4/items/description", "One.", "columns.tags.element:description", NOBODY),
    ("schema/0/quality/1", {**RULE, "id": "other"}, "rules.other", PUBLISHERS),
    ("schema/0/quality/1", {**RULE, "id": "other", "severity": "warning"}, "rules.other", NOBODY),
    ("schema/0/quality/1", {"type": "text", "id": "said", "description": "Nice rows."}, "rules.said", NOBODY),
    ("schema/0/quality/0", None, "rules.few", CONSUMERS),
    ("schema/0/quality/0/severity", "warning", "rules.few", CONSUMERS),
    ("schema/0/quality/0/mustBeLessThan", 200, "rules.few", CONSUMERS),
    ("schema/0/quality/0/mustBeLessThan", 50, "rules.few", PUBLISHERS),
    ("schema/0/quality/0/mustBeGreaterThan", 5, "rules.few", BOTH),
    ("schema/0/quality/0/businessImpact", "Much.", "rules.few", NOBODY),
    (f"{P}/1/quality", None, "rules.amount.nullValues", CONSUMERS),
    ("slaProperties/0/value", 3, "service_level.latency", CONSUMERS),
    ("slaProperties/0/value", 1, "service_level.latency", NOBODY),
    ("slaProperties/0/unit", "d", "service_level.latency", CONSUMERS),
    ("slaProperties/0", None, "service_level.latency", CONSUMERS),
    ("slaProperties/0/description", "From event to row.", "slaProperties.latency", NOBODY),
    ("slaProperties/1/value", "07:00 America/New_York", "service_level.availability", CONSUMERS),
    ("slaProperties/1/value", "09:00 Europe/Berlin", "service_level.availability", NOBODY),
    ("slaProperties/1/valueExt", 2, "service_level.availability", CONSUMERS),
    ("slaProperties/2/value", "2023-05-12", "slaProperties.generalAvailability", NOBODY),
    ("slaProperties/3", {"property": "frequency", "value": 1, "unit": "d"}, "service_level.frequency", NOBODY),
    ("slaProperties/3", {"property": "endOfSupport", "value": "2030-01-01"}, "service_level.end", CONSUMERS),
    ("status", "retired", "status", CONSUMERS),
    ("status", "deprecated", "status", NOBODY),
    ("version", "1.1.0", "version", NOBODY),
    ("price/priceAmount", 10, "price", NOBODY),
    ("customProperties", [{"property": "x", "value": {"y": [1]}}], "customProperties", NOBODY),
    ("schema/0/dataGranularityDescription", "One row an order.", "schema.dataGranularityDescription", NOBODY),
]


@pytest.mark.parametrize(("path", "value", "element", "breaks"), ONE_CHANGE)
def test_each_change_is_told_once_and_classified(
    path: str, value: Any, element: str, breaks: tuple[Party, ...]
) -> None:
    [change] = changes(BASE, at(path, value))
    assert (change.element, change.breaks) == (element, breaks)
    assert change.compatibility is (Compatibility.BREAKING if breaks else Compatibility.COMPATIBLE)
    assert change.message.endswith(".")
    assert change.why.endswith(".")


@given(st.permutations(range(5)))
def test_the_order_of_columns_is_one_change(order: list[int]) -> None:
    columns = BASE["schema"][0]["properties"]
    found = changes(BASE, at(P, [columns[index] for index in order]))
    assert [change.element for change in found] == (["columns"] if order != sorted(order) else [])


def test_a_renamed_column_keeps_its_key_place_and_rules() -> None:
    old = at(f"{P}/2/quality", [NULLS], at(f"{P}/2/primaryKey", True))
    [change] = changes(old, at(f"{P}/2/name", "remark", old))
    assert change.message == "The column note is renamed to remark."


def test_a_rename_without_an_id_is_a_drop_and_an_addition() -> None:
    found = changes(BASE, at(f"{P}/1/name", "total"))
    assert [(change.element, change.breaks) for change in found] == [
        ("columns.amount", CONSUMERS),
        ("columns.total", NOBODY),
    ]


def test_a_rename_that_takes_a_dropped_columns_id_twice_guesses_nothing() -> None:
    old = at(f"{P}/1/id", "c-note")
    new = at(f"{P}/1/name", "remark", at(f"{P}/1", None, old))
    assert [change.element for change in changes(old, new)] == ["columns.amount", "columns.note", "columns.remark"]


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, Any, str]]:
    """Some changes of different elements, those behind in a list first, so that each finds its place."""
    chosen = draw(st.lists(st.sampled_from(ONE_CHANGE), max_size=6, unique_by=lambda one: one[0].split("/")[:4][-1]))
    tops: dict[str, tuple[str, Any, str]] = {}
    for path, value, element, _ in chosen:
        tops.setdefault(element.partition(":")[0], (path, value, element))
    removals = [one for one in tops.values() if one[1] is None]
    return [one for one in tops.values() if one[1] is not None] + removals[:1]


@settings(deadline=None, max_examples=150)
@given(edits())
def test_every_change_is_told_exactly_once(chosen: list[tuple[str, Any, str]]) -> None:
    new = BASE
    for path, value, _ in chosen:
        new = at(path, value, new)
    found = Counter(change.element for change in changes(BASE, new))
    assert set(found.values()) <= {1}
    assert not changes(new, new)
    backwards = {change.element for change in changes(new, BASE)}
    if not any("name" in path for path, _, _ in chosen):
        assert set(found) == backwards, "what differs one way differs the other way"


def test_what_is_written_otherwise_is_no_change() -> None:
    plain = document(integer("id"), text("note"))
    spelled = document({**integer("id"), "required": False}, {**text("note"), "physicalName": None})
    assert contract_changes(plain, f"# a comment\n{spelled}") == []


def test_a_document_that_is_no_contract_is_refused() -> None:
    with pytest.raises(InvalidContractError):
        contract_changes(document(integer("id")), "kind: DataContract")
