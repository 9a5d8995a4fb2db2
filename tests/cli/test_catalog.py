"""``catalog verify`` on the command line: its steps, and the exit code that says whether one fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.app import create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from tests.cli.harness import Cli
from tests.tokens import administrators_token

TABLE = "sales.orders"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served")
    with create_lake(folder / "lake") as app, Lake(LocalBackend(app)) as lake:
        lake.create_namespace("sales")
        lake.create_dataset(TABLE, pa.schema([("id", pa.int64())]))
        (folder / "token").write_text(administrators_token(app))
        with running_server(create_server(app)) as url:
            yield f"{url}/iceberg", folder / "token"


def test_steps_that_are_well(cli: Cli, served: tuple[str, Path]) -> None:
    uri, token = served
    result = cli("catalog", "verify", uri, TABLE, "--token-file", str(token), "--write", "--output", "json")
    steps = json.loads(result.out)
    assert result.code == 0
    assert [one["check"] for one in steps] == ["reach", "auth", "warehouse", "grant", "load", "vend", "read", "write"]
    assert {one["verdict"] for one in steps} == {"ok"}


def test_the_step_that_fails_is_the_last(cli: Cli, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDILLERA_TOKEN", "cdl_another")
    result = cli("catalog", "verify", served[0], TABLE, "--output", "json")
    assert result.code == 9
    assert [(one["check"], one["verdict"]) for one in json.loads(result.out)] == [("reach", "ok"), ("auth", "error")]


def test_a_table_without_a_namespace_is_none(cli: Cli, served: tuple[str, Path]) -> None:
    result = cli("catalog", "verify", served[0], "orders")
    assert result.code == 2
    assert "'orders' is no name of a table" in result.err
