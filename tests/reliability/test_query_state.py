"""A query over several datasets sees one state of the lake, whatever is committed while it looks them up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import cordillera
from cordillera.adapters.db.catalog import SqlDatasetRows
from cordillera.client import Lake
from cordillera.spec.as_of import AsOf

NAMES = ("a.left", "a.right")
JOIN = "SELECT l.amount AS left, r.amount AS right FROM a.left l JOIN a.right r USING (id)"


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    """A lake with two datasets that transactions keep equal."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("metadata_url")
    with cordillera.create(tmp_path / "lake", metadata_url=url) as lake:
        lake.create_namespace("a")
        for name in NAMES:
            lake.create_dataset(name, {"id": "int64", "amount": "int64"}, key=["id"])
        write_both(lake, 1)
        yield lake


def write_both(lake: Lake, amount: int, branch: str = "main") -> None:
    with lake.transaction() as tx:
        for name in NAMES:
            tx.write(name, [{"id": 1, "amount": amount}], "upsert", branch=branch)


def after_the_first_look_up(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once the first dataset of a query has been looked up."""
    original = SqlDatasetRows.with_versions

    def with_versions(rows: SqlDatasetRows, *args: Any) -> Any:
        found = original(rows, *args)
        monkeypatch.undo()
        happens()
        return found

    monkeypatch.setattr(SqlDatasetRows, "with_versions", with_versions)


@pytest.mark.parametrize("as_of", [None, "main", datetime.now(UTC) + timedelta(days=1)], ids=["now", "main", "time"])
def test_a_transaction_is_seen_whole_or_not_at_all(pair: Lake, monkeypatch: pytest.MonkeyPatch, as_of: AsOf) -> None:
    after_the_first_look_up(monkeypatch, lambda: write_both(pair, 2))
    seen = pair.sql(JOIN, as_of=dict.fromkeys(NAMES, as_of) if as_of else None).read_all().to_pylist()
    assert seen == [{"left": 1, "right": 1}]
    assert pair.sql(JOIN).read_all().to_pylist() == [{"left": 2, "right": 2}]


def test_of_branches_too(pair: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        pair.dataset(name).create_branch("audit")
    write_both(pair, 5, "audit")
    after_the_first_look_up(monkeypatch, lambda: write_both(pair, 6, "audit"))
    as_of = dict.fromkeys(NAMES, "audit")
    assert pair.sql(JOIN, as_of=as_of).read_all().to_pylist() == [{"left": 5, "right": 5}]
    assert pair.sql(JOIN, as_of=as_of).read_all().to_pylist() == [{"left": 6, "right": 6}]
