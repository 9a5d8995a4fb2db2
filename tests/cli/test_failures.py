"""What a person sees when something goes wrong that nobody foresaw, and at the edges of a process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.harness import Cli, run_program


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("cordillera.client.local.LocalBackend.namespaces", broken)


def test_an_unforeseen_error_is_one_line_and_the_rest_is_in_the_log(
    orders: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break(monkeypatch, ValueError("postgresql://me:hush@db/lake is odd\nand more"))
    result = cli("namespace", "list")
    assert result.code == 1
    assert result.err.splitlines()[0] == (
        "Error: Something unexpected went wrong: ValueError: postgresql://me:…@db/lake is odd"
    )
    log = tmp_path / "state" / "cordillera" / "errors.log"
    assert str(log) in result.err
    assert "Traceback" in log.read_text()
    assert "hush" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_debug_shows_the_traceback(orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, ValueError("odd"))
    assert "Traceback (most recent call last)" in cli("namespace", "list", "--debug").err
    assert "Traceback (most recent call last)" in cli("dataset", "show", "sales.nothing", "--debug").err
    assert "Traceback" not in cli("dataset", "show", "sales.nothing").err


def test_a_log_that_cannot_be_written_is_no_further_error(
    orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    _break(monkeypatch, ValueError("odd"))
    result = cli("namespace", "list")
    assert result.code == 1
    assert "Run it again with --debug" in result.err


def test_an_unforeseen_error_as_json(orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, ValueError("odd"))
    assert json.loads(cli("namespace", "list", "-o", "json").err)["error"]["code"] == "cordillera"


def test_an_interruption(orders: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cordillera.client.local.LocalBackend.namespaces", interrupted)
    result = cli("namespace", "list")
    assert result.code == 130
    assert "Traceback" not in result.err


def test_usage_errors_as_json_even_before_the_options_are_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["dataset", "show", "--output=json"], ["-o", "json", "datset"]):
        result = cli(*arguments)
        assert result.code == 2
        assert json.loads(result.err)["error"]["code"] == "invalid_input"
    monkeypatch.setenv("CORDILLERA_OUTPUT", "json")
    assert json.loads(cli("dataset", "show").err)["error"]["hint"] == "See: cordillera dataset show --help."


def test_exit_codes_and_streams_of_the_program(orders: Path) -> None:
    env = {"CORDILLERA_LAKE": str(orders)}
    fine = run_program("dataset", "list", "-o", "json", env=env)
    assert (fine.code, fine.err) == (0, "")
    assert json.loads(fine.out)[0]["name"] == "orders"
    wrong = run_program("dataset", "show", "sales.nothing", env=env)
    assert (wrong.code, wrong.out) == (3, "")
    assert "Hint: Datasets in sales: sales.orders." in wrong.err


def test_a_reader_that_goes_away_causes_no_noise(orders: Path) -> None:
    import subprocess

    from tests.cli.harness import PROGRAM, clean_environment

    for output in ("csv", "json"):
        query = "SELECT * FROM generate_series(1, 2000000)"
        command = [*PROGRAM, "sql", query, "--output", output, "--lake", str(orders)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
        process.stderr.close()
