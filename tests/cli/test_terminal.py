"""On a terminal: questions, progress and colours, none of which are anywhere else."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import cordillera
from tests.cli.harness import PROGRAM, Result, clean_environment


def on_terminal(*arguments: object, answer: str = "", env: Mapping[str, str] | None = None) -> Result:
    """Run the program with a terminal as stdin and stderr, and a pipe as stdout."""
    ours, theirs = pty.openpty()
    environment = {**clean_environment(), "TERM": "xterm-256color", **(env or {})}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    err = _read_until_closed(ours, process)
    assert process.stdout is not None
    out = process.stdout.read().decode()
    process.stdout.close()
    return Result(process.wait(60), out, err)


def _read_until_closed(terminal: int, process: subprocess.Popen[bytes]) -> str:
    chunks, deadline = [], time.monotonic() + 100
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        elif process.poll() is not None:
            break
    os.close(terminal)
    return b"".join(chunks).decode()


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 2), ("n\n", 1, 3), ("\n", 1, 3)])
def test_a_question_is_asked(answer: str, code: int, left: int, orders: Path) -> None:
    lake = {"CORDILLERA_LAKE": str(orders)}
    result = on_terminal("dataset", "delete-rows", "sales.orders", "--where", "id = 1", answer=answer, env=lake)
    assert result.code == code
    assert "1 row of sales.orders would be deleted. Go ahead? [y/N]" in result.err
    assert result.out == ""
    with cordillera.open(orders) as opened:
        assert opened.dataset("sales.orders").scan().to_arrow().num_rows == left


def test_progress_is_shown_on_a_terminal_only(orders: Path, tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text("id\n" + "".join(f"{number}\n" for number in range(100, 20_000)))
    arguments = ["dataset", "write", "sales.orders", file]
    lake = {"CORDILLERA_LAKE": str(orders)}
    shown = on_terminal(*arguments, "--operation", "partial_update", env=lake)
    assert shown.code == 0
    assert "Writing sales.orders" in shown.err
    assert "19,900 inserted, snapshot 2." in shown.err
    quiet = on_terminal(*arguments, "--operation", "partial_update", "--quiet", env=lake)
    assert (quiet.code, quiet.err) == (0, "")


def test_no_color_is_respected(orders: Path) -> None:
    env = {"CORDILLERA_LAKE": str(orders)}
    plain = on_terminal("dataset", "write", "sales.orders", "nothing.csv", env=env)
    assert "\x1b[3" not in plain.err
