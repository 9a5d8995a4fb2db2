"""Where the lake is, and which of several answers to that counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.harness import Cli


def test_a_lake_in_the_folder_or_above_it_is_found(orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORDILLERA_LAKE")
    below = orders / "some" / "where"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert cli("dataset", "show", "sales.orders").code == 0


def test_without_a_lake_the_error_says_where_it_was_looked_for(cli: Cli) -> None:
    result = cli("dataset", "list")
    assert result.code == 3
    assert all(part in result.err for part in (str(Path.cwd()), "CORDILLERA_LAKE", "CORDILLERA_URL", "cordillera init"))


def test_options_may_stand_before_the_noun(orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDILLERA_LAKE", "nowhere")
    monkeypatch.setenv("CORDILLERA_OUTPUT", "csv")
    before = cli("--lake", orders, "--output", "json", "dataset", "list")
    behind = cli("dataset", "list", "--lake", orders, "--output", "json")
    assert before.code == behind.code == 0
    assert before.json() == behind.json()


def test_what_stands_behind_the_verb_goes_first(orders: Path, cli: Cli) -> None:
    result = cli("--output", "csv", "dataset", "list", "--output", "json")
    assert result.json()[0]["name"] == "orders"


def test_a_typed_folder_beats_a_server_in_the_environment(
    orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORDILLERA_URL", "http://127.0.0.1:1")
    both = cli("dataset", "list")
    assert both.code == 2
    assert "Both a lake's folder and a lake's server are named" in both.err
    assert cli("dataset", "list", "--lake", orders).code == 0


def test_a_typed_server_beats_a_folder_in_the_environment(orders: Path, cli: Cli) -> None:
    assert cli("dataset", "list", "--url", "no-url").code == 2  # it was asked for, not the folder


def test_a_folder_and_a_server_cannot_both_be_typed(orders: Path, cli: Cli) -> None:
    assert cli("dataset", "list", "--lake", orders, "--url", "http://127.0.0.1:1").code == 2


def test_a_command_for_folders_refuses_a_server(cli: Cli) -> None:
    result = cli("--url", "http://127.0.0.1:1", "migrate")
    assert result.code == 2
    assert "does not take --url" in result.err


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "not text")])
def test_a_token_file_that_cannot_be_used(content: bytes | None, problem: str, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    result = cli("dataset", "list", "--url", "http://127.0.0.1:1", "--token-file", file)
    assert result.code == 2
    assert problem in result.err


def test_a_token_is_never_an_argument(cli: Cli) -> None:
    assert cli("dataset", "list", "--token", "cdl_x").code == 2


def test_every_option_has_a_variable(orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORDILLERA_DATASET_READ_COLUMNS", "country,id")
    monkeypatch.setenv("CORDILLERA_DATASET_READ_WHERE", "id = 2")
    monkeypatch.setenv("CORDILLERA_OUTPUT", "json")
    assert cli("dataset", "read", "sales.orders").json() == [{"country": "CL", "id": 2}]
    monkeypatch.setenv("CORDILLERA_QUIET", "true")
    assert cli("namespace", "create", "more").err == ""


def test_init_does_not_store_a_password(cli: Cli, tmp_path: Path) -> None:
    result = cli("init", tmp_path / "new", "--metadata-url", "postgresql://me:hush@127.0.0.1/lake")
    assert result.code == 2
    assert "hush" not in result.err
    assert "CORDILLERA_METADATA_URL" in result.err
    assert not (tmp_path / "new").exists()


def test_init_prints_the_next_steps_for_the_place(cli: Cli, tmp_path: Path) -> None:
    shown = cli("init", tmp_path / "new", "--output", "json")
    assert shown.json()["name"] == "lake"
    assert f"cordillera namespace create sales --lake {tmp_path / 'new'}" in shown.err
