"""The reference says what the code does."""

from __future__ import annotations

import importlib
import re
import sys

import pyarrow as pa
import pytest

from cordillera.cli.schema_text import parse_type
from cordillera.client import Dataset, Lake, View
from cordillera.spec.arrow_types import FieldIds, from_arrow_type
from cordillera.spec.merge import Operation
from tests.docs.markdown import ROOT, blocks

REFERENCE = ROOT / "docs" / "reference"


def test_generated_parts_are_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = importlib.import_module("scripts.write_reference")
    monkeypatch.setattr(sys, "argv", ["write_reference.py", "--check"])
    assert script.main() == 0, f"{capsys.readouterr().out}Run: python scripts/write_reference.py"


@pytest.mark.parametrize("kind", [Lake, Dataset, View])
def test_the_python_reference_names_every_method(kind: type) -> None:
    page = (REFERENCE / "python-api.md").read_text("utf-8")
    missing = [name for name in dir(kind) if not name.startswith("_") and f"`{name}" not in page]
    assert missing == []


def test_the_operations_page_names_every_operation() -> None:
    page = (REFERENCE / "operations.md").read_text("utf-8")
    assert [operation for operation in Operation if f"| `{operation}` |" not in page] == []


def test_types_are_stored_as_the_page_says() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", (REFERENCE / "types.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 12
    for iceberg, arrow in rows:
        wanted = parse_type(iceberg, "example")
        assert str(wanted) == arrow, iceberg
        assert parse_type(
            str(from_arrow_type(wanted, FieldIds(), "example")), "example"
        ) == wanted or pa.types.is_nested(wanted)


def test_the_example_of_the_readme_is_as_short_as_it_says() -> None:
    example = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    assert len(example.text.splitlines()) <= 20
