"""Running the command line: in this process, and as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer.main

from cordillera.cli.main import app

PROGRAM = [sys.executable, "-m", "cordillera.cli.main"]
ORDERS_CSV = """id,day,total,country
1,2026-01-30,10.00,PE
2,2026-01-31,20.50,CL
3,2026-01-31,,PE
"""


@dataclass(frozen=True)
class Result:
    """What a command line came to."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


def run_program(
    *arguments: object, stdin: str | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Result:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**clean_environment(), **(env or {})},
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any of Cordillera's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CORDILLERA_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "100"}


@cache
def commands() -> dict[str, Any]:
    """Return every command by its words, for example ``dataset show``."""
    return dict(_leaves(typer.main.get_command(app), ()))


@cache
def groups() -> dict[str, Any]:
    """Return every noun."""
    root = typer.main.get_command(app)
    return {name: one for name, one in root.commands.items() if hasattr(one, "commands")}


def _leaves(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from _leaves(one, (*words, name))
        else:
            yield " ".join((*words, name)), one
