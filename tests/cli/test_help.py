"""Every command explains itself, and asking for help is quick."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cordillera.cli.failures import EXIT_CODES
from cordillera.errors import error_classes
from tests.cli.harness import Cli, clean_environment, commands, groups, run_program

HEAVY = {"pyarrow", "pyiceberg", "duckdb", "fastapi", "sqlalchemy", "sqlglot", "pandas", "polars", "psycopg", "boto3"}


@pytest.mark.parametrize("words", commands())
def test_a_command_has_a_help_text_and_an_example(words: str) -> None:
    command = commands()[words]
    assert command.help
    assert command.help.rstrip().endswith(".")
    assert f"cordillera {words}" in command.epilog
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} of {words} has no help text"


@pytest.mark.parametrize("noun", groups())
def test_a_noun_has_a_help_text(noun: str) -> None:
    assert groups()[noun].help


@pytest.mark.parametrize("words", commands())
def test_help_is_shown(words: str, cli: Cli) -> None:
    result = cli(*words.split(), "--help")
    assert result.code == 0
    assert "Usage: cordillera" in result.out
    assert "Example" in result.out
    assert result.err == ""


def test_the_help_lists_every_exit_code(cli: Cli) -> None:
    shown = cli("--help").out
    for code, meaning in EXIT_CODES:
        assert f"{code:>5}  {meaning}" in shown


def test_every_error_has_a_documented_exit_code() -> None:
    assert {kind.exit_code for kind in error_classes().values()} <= {code for code, _ in EXIT_CODES}


def test_examples_are_valid_command_lines() -> None:
    """The options in examples exist."""
    for words, command in commands().items():
        known = {option for parameter in command.params for option in parameter.opts}
        for word in command.epilog.split():
            if word.startswith("--"):
                assert word.removesuffix("[/cyan]") in known, f"{words}: {word}"


def test_help_does_not_import_heavy_libraries() -> None:
    script = (
        "import sys; from cordillera.cli.main import main; code = main(['--help']); "
        f"print('heavy:', sorted({HEAVY} & set(sys.modules))); sys.exit(code)"
    )
    done = _run_python(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_usage_errors_do_not_import_heavy_libraries() -> None:
    script = (
        "import sys; from cordillera.cli.main import main; main(['dataset', 'shw']); "
        f"print('heavy:', sorted({HEAVY} & set(sys.modules)))"
    )
    done = _run_python(script)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def _run_python(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)


def test_a_noun_alone_shows_its_help(cli: Cli) -> None:
    result = cli("dataset")
    assert result.code == 2
    assert "cordillera dataset [OPTIONS] COMMAND" in result.out
    assert result.err == ""


def test_an_unknown_command_lists_the_known_ones(cli: Cli) -> None:
    result = cli("dataset", "shwo")
    assert result.code == 2
    assert "No such command 'shwo'. Did you mean 'show'?" in result.err
    assert "Commands: list, search, show" in result.err


def test_an_unknown_option_value_lists_the_known_ones(cli: Cli) -> None:
    result = cli("dataset", "list", "--output", "xml")
    assert result.code == 2
    assert all(name in result.err for name in ("table", "json", "csv"))


def test_version(cli: Cli) -> None:
    from cordillera import __version__

    assert cli("--version").out == f"cordillera {__version__}\n"


def test_shell_completion_is_offered() -> None:
    # Otherwise it is the shell that has started the tests, which need not be one.
    shown = run_program("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert "_CORDILLERA_COMPLETE" in shown.out
    completed = run_program(
        env={"_CORDILLERA_COMPLETE": "complete_bash", "COMP_WORDS": "cordillera data", "COMP_CWORD": "1"}
    )
    assert completed.out.split() == ["dataset"]
