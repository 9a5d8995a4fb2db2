"""Everything wrong in a document is told at once, with its line; what is unknown is kept and told."""

from __future__ import annotations

import pytest
import yaml

from cordillera.errors import InvalidContractError
from cordillera.spec.contract import Severity, lint_contract, parse_contract
from tests.spec.contract_support import document, integer, text

BROKEN = """apiVersion: v3.1.0
kind: DataContract
id: ''
version: 1.0.0
status: active
slaProperties:
- {property: latency, value: soon, unit: h}
- {property: frequency, value: 1, unit: fortnight}
schema:
- name: orders
  quality:
  - {type: sql, query: 'SELECT count(*) FROM nothing', mustBe: 0}
  - {metric: rowCount, mustBeGreaterThan: 0}
  properties:
  - {name: id, logicalType: integer, requried: true}
  - name: note
    logicalType: text
  - name: total
    logicalType: number
    quality:
    - {metric: nullValues}
    - {metric: nullValues, mustBe: 0}
"""


def test_every_error_is_told_with_its_line() -> None:
    found = lint_contract(BROKEN)
    assert {one.severity for one in found} == {Severity.ERROR}
    assert [one.line for one in found] == [3, 7, 8, 12, 15, 17, 21]
    assert all(one.message.startswith("The contract is invalid at") for one in found)
    assert "Did you mean 'required'" in next(one.hint for one in found if one.line == 15)


def test_repeated_columns_are_told_once_all_can_be_read() -> None:
    [found] = lint_contract(document(integer("id"), integer("ID")))
    assert found.path == "schema[0].properties[1]"


def test_what_is_not_enforced_is_a_warning_with_its_line() -> None:
    lines = document(text("note"), quality=[{"type": "text", "description": "Nice."}]).splitlines()
    [found] = lint_contract("\n".join(lines))
    assert (found.severity, found.path) == (Severity.WARNING, "schema[0].quality[0]")
    assert found.line is not None
    assert "type: text" in lines[found.line - 1]


@pytest.mark.parametrize(
    "broken", ["", "{", "- a list", "kind: DataContract", "schema: 5", "schema: [{name: a, quality: 1}]"]
)
def test_any_document_is_told_something_of(broken: str) -> None:
    assert any(one.severity is Severity.ERROR for one in lint_contract(broken))


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("", "acmeRegion"),
        ("schema/0", "schema[0].acmeRegion"),
        ("schema/0/properties/0", "schema[0].properties[0].acmeRegion"),
        ("slaProperties/0", "slaProperties[0].acmeRegion"),
    ],
)
def test_unknown_keys_are_kept_and_told(place: str, path: str) -> None:
    body = yaml.safe_load(document(integer("id"), slaProperties=[{"property": "latency", "value": 1, "unit": "h"}]))
    node = body
    for key in filter(None, place.split("/")):
        node = node[int(key) if key.isdigit() else key]
    node["acmeRegion"] = {"of": ["ours"]}
    contract = parse_contract(yaml.safe_dump(body, sort_keys=False))
    assert path in [one.path for one in contract.unenforced]
    [found] = [one for one in lint_contract(yaml.safe_dump(body, sort_keys=False)) if one.path == path]
    assert (found.severity, found.line is None) == (Severity.WARNING, False)


@pytest.mark.parametrize("mistyped", ["slaPropertes", "scheme", "tag"])
def test_a_key_that_looks_mistyped_is_refused(mistyped: str) -> None:
    with pytest.raises(InvalidContractError, match="not a key of the standard"):
        parse_contract(f"{mistyped}: 1\n{document(integer('id'))}")
