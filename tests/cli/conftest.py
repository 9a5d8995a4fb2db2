"""A command line that runs in this process, and real lakes for it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

import cordillera
from cordillera.cli.main import main
from tests.cli.furniture import Furniture, furnish
from tests.cli.harness import ORDERS_CSV, Cli, Result


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Leave nothing of the person's environment to the commands, and nothing of theirs to the next test."""
    import os

    for name in [name for name in os.environ if name.startswith("CORDILLERA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return what runs a command line in this process."""

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        capfd.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new lake with sales.orders in it, and make it the commands' lake."""
    folder = tmp_path / "lake"
    with cordillera.create(folder) as lake:
        lake.create_namespace("sales", owner="team-sales")
    (tmp_path / "orders.csv").write_text(ORDERS_CSV)
    monkeypatch.setenv("CORDILLERA_LAKE", str(folder))
    code = main(
        [
            *("dataset", "create", "sales.orders", "--quiet", "--key", "id", "--completion-unit", "day"),
            *("--schema", "id:long,day:date,total:decimal(10,2),country:string"),
        ]
    )
    assert code == 0
    assert main(["dataset", "write", "sales.orders", str(tmp_path / "orders.csv"), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Furniture:
    """Return a lake with something of everything in it, the test module's own."""
    return furnish(tmp_path_factory.mktemp("furnished"))
