"""What results look like: tables, CSV, and JSON whose shape does not change unnoticed."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cordillera.cli.output import printable
from tests.cli.furniture import Furniture
from tests.cli.harness import Cli

GOLDEN = Path(__file__).parent / "golden" / "shapes.json"
SHOWN = {
    "doctor": "doctor --lake PRISTINE",
    "sql": "sql 'SELECT id, day, total FROM sales.orders'",
    "namespace list": "namespace list",
    "namespace show": "namespace show sales",
    "dataset list": "dataset list sales",
    "dataset search": "dataset search bought",
    "dataset show": "dataset show sales.orders",
    "dataset consumers": "dataset consumers sales.asked_0",
    "view list": "view list sales",
    "view show": "view show sales.totals",
    "dataset read": "dataset read sales.orders --limit 1",
    "dataset changes": "dataset changes sales.orders --limit 1",
    "snapshot list": "snapshot list sales.orders",
    "snapshot show": "snapshot show sales.orders 1",
    "contract show": "contract show sales.orders",
    "contract draft": "contract draft sales.orders",
    "contract check": "contract check CONTRACT",
    "contract diff": "contract diff sales.orders OTHER_CONTRACT",
    "contract proposals": "contract proposals sales.asked_0",
    "contract sla": "contract sla sales.orders",
    "contract history": "contract history sales.orders",
    "contract candidates": "contract candidates sales.refused",
    "contract candidate": "contract candidate sales.refused candidate-2",
    "completion explain": "completion explain sales.orders 2026-01-30",
    "completion list": "completion list sales.orders",
    "completion rule": "completion rule sales.daily",
    "completion show": "completion show sales.orders 2026-01-30",
    "completion wait": "completion wait sales.orders 2026-01-30",
    "target list": "target list",
    "target show": "target show analysts",
    "target check": "target check analysts",
    "subscription list": "subscription list --target analysts --dataset sales.orders",
    "subscription show": "subscription show SUBSCRIPTION",
    "subscription verify": "subscription verify SUBSCRIPTION",
    "job list": "job list",
    "job show": "job show sales.daily",
    "job waiting": "job waiting sales.daily",
    "job explain": "job explain sales.daily --partition 2026-02-28",
    "run list": "run list --job sales.daily",
    "run show": "run show RUN",
    "lineage show": "lineage show sales.orders",
    "lineage impact": "lineage impact sales.orders",
    "event list": "event list --limit 1",
    "audit list": "audit list --limit 1",
    "audit verify": "audit verify",
    "audit export": "audit export",
    "access list": "access list --on namespace:sales",
    "access who": "access who sales.orders",
    "access explain": "access explain user:ana read sales.orders",
    "access requests": "access requests --on sales.orders",
    "access show": "access show REQUEST",
    "approver list": "approver list",
    "deputy list": "deputy list",
    "role show": "role show role:analysts",
    "role list": "role list",
    "policy-tag list": "policy-tag list sales.orders",
    "token list": "token list",
    "destination list": "destination list",
    "destination show": "destination show DESTINATION",
}


@pytest.fixture
def run_shown(furniture: Furniture, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs one of the commands above."""
    import shlex

    monkeypatch.setenv("CORDILLERA_LAKE", str(furniture.folder))
    contract = tmp_path / "contract.yaml"
    contract.write_text(cli("contract", "draft", "sales.orders").out)
    other = tmp_path / "other.yaml"
    other.write_text(contract.read_text() + "tenant: another\n")
    values = {
        "SUBSCRIPTION": furniture.subscription,
        "RUN": furniture.run,
        "REQUEST": furniture.request,
        "DESTINATION": furniture.destination,
        "CONTRACT": str(contract),
        "OTHER_CONTRACT": str(other),
        "PRISTINE": str(furniture.files / "pristine"),
    }

    def run(name: str, output: str) -> Any:
        words = [values.get(word, word) for word in shlex.split(SHOWN[name])]
        return cli(*words, "--output", output)

    return run


def shape(value: Any) -> Any:
    """Return the names and kinds of values, without the values. A list has the shape of its first element."""
    match value:
        case dict():
            return {name: shape(inner) for name, inner in sorted(value.items())}
        case list():
            return [shape(value[0])] if value else []
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "string"


@pytest.mark.parametrize("name", SHOWN)
def test_the_shape_of_json(name: str, run_shown: Any) -> None:
    """The names in JSON are a promise. Where they change on purpose: TEST_UPDATE_GOLDEN=1 writes the file anew."""
    result = run_shown(name, "json")
    assert result.code == 0, result.err
    found = shape(result.json())
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("TEST_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps({**golden, name: found}, indent=1, sort_keys=True) + "\n")
        return
    assert found == golden[name]


@pytest.mark.parametrize("name", sorted(set(SHOWN) - {"contract show", "contract draft"}))
def test_csv_has_as_many_cells_in_every_row(name: str, run_shown: Any) -> None:
    result = run_shown(name, "csv")
    assert result.code == 0, result.err
    rows = list(csv.reader(io.StringIO(result.out)))
    assert len({len(row) for row in rows}) == 1


def test_a_table_in_a_pipe_is_neither_cut_nor_padded(orders: Path, cli: Cli) -> None:
    cli("dataset", "update", "sales.orders", "--description", "long " * 100)
    shown = cli("dataset", "list").out.splitlines()
    assert len(shown) == 2
    assert "long " * 99 in shown[1]
    assert all(line == line.rstrip() for line in shown)


def test_stored_text_cannot_steer_the_terminal(orders: Path, cli: Cli) -> None:
    cli("dataset", "update", "sales.orders", "--description", "[red]x[/red]\x1b[2J\x07")
    shown = cli("dataset", "show", "sales.orders").out
    assert "[red]x[/red]\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}" in shown
    assert "\x1b" not in shown


def test_an_empty_list_is_still_a_document(orders: Path, cli: Cli) -> None:
    nothing = cli("target", "list", "--output", "json")
    assert nothing.json() == []
    assert "There are no targets" in nothing.err
    assert cli("target", "list", "--output", "csv").out == "name,kind,config,owner,created_at\n"
    assert cli("target", "list").out == ""


def test_quiet_leaves_results_and_errors_alone(orders: Path, cli: Cli) -> None:
    made = cli("token", "create", "ci", "--quiet")
    assert made.out.startswith("cdl_")
    assert made.err == ""
    assert cli("token", "create", "", "--quiet").err.startswith("Error: ")


def test_csv_cells_are_exact(orders: Path, cli: Cli) -> None:
    cli("dataset", "update", "sales.orders", "--tags", "b,a")
    (row,) = csv.DictReader(io.StringIO(cli("dataset", "list", "--output", "csv").out))
    assert row["tags"] == '["a", "b"]'
    assert row["created_at"].endswith("Z")
    assert "T" in row["created_at"]


def test_printable() -> None:
    assert printable(1234567) == "1,234,567"
    assert printable(None) == ""
    assert printable(True) == "yes"
    assert printable(("a", 1)) == "a, 1"
    assert printable({"a": None}) == "a="
