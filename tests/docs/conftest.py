"""Running the examples of a page as a reader would: in one folder, with one Python session and one shell."""

from __future__ import annotations

import ast
import io
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from cordillera.cli.main import main
from tests.docs.markdown import Block, blocks, commands, missing_line

_PLAIN = re.compile(r"cordillera [^|<>;&$`*]*")
"""A command line that needs no shell, so that it can run in this process, which saves seconds."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"$`]*\"|\$PWD\b|\\\n")
_INTO_FILE = re.compile(r"(?P<command>.*) > (?P<file>[\w.]+)")
_START_SECONDS = 60
_EXPORT = re.compile(r"export (?P<name>[A-Z0-9_]+)=(?P<value>\S+)")


@dataclass
class Reader:
    """Follows a page.

    Attributes:
        page: The page.
        replaced: What stands for an address on the page → the real one.
    """

    page: Path
    capfd: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    replaced: Mapping[str, str] = field(default_factory=dict)
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    servers: list[subprocess.Popen[str]] = field(default_factory=list)
    printed: str = ""

    def follow(self) -> None:
        for block in blocks(self.page):
            text = block.text
            for shown, real in self.replaced.items():
                text = text.replace(shown, real)
            if block.file and block.run:
                Path(block.file).write_text(text, "utf-8")
            elif block.language == "python" and block.run:
                self._python(block, text)
            elif block.language == "console" and block.run:
                self._console(block, text)
            elif block.language == "text" and block.run and block.follows == "python":
                self._expect(block, text.splitlines(), self.printed)

    def _python(self, block: Block, text: str) -> None:
        code = compile(ast.increment_lineno(ast.parse(text), block.line - 1), str(self.page), "exec")
        with redirect_stdout(io.StringIO()) as printed:
            exec(code, self.namespace)  # the page is ours
        self.printed = printed.getvalue()

    def _console(self, block: Block, text: str) -> None:
        for command, expected in commands(text):
            if exported := _EXPORT.fullmatch(command):
                self.monkeypatch.setenv(exported["name"], exported["value"])
                continue
            code, printed = self._run(command)
            shown = [line for line in expected if not line.startswith("Error: ")]
            failed = len(shown) != len(expected)
            assert bool(code) == failed, f"{self._at(block)}: {command!r} ended with {code}:\n{printed}"
            self._expect(block, expected, printed)

    def _run(self, command: str) -> tuple[int, str]:
        if command.startswith("cordillera serve"):
            return 0, self._serve(command)
        into = _INTO_FILE.fullmatch(command)
        wanted = into["command"] if into else command
        if not _PLAIN.fullmatch(_QUOTED.sub("", wanted)):
            return _in_shell(command)
        code, out, err = self._in_process(wanted)
        if into:
            Path(into["file"]).write_text(out, "utf-8")
            return code, err
        return code, err + out if code else out + err

    def _serve(self, command: str) -> str:
        """Start a server that runs until the page has been read, and return what it says to begin with."""
        log = Path("serve.log")
        with log.open("w") as out:
            program = [sys.executable, "-m", "cordillera.cli.main", *shlex.split(command)[1:]]
            server = subprocess.Popen(
                program, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
            )
        self.servers.append(server)
        deadline = time.monotonic() + _START_SECONDS
        while '"serving"' not in (said := log.read_text("utf-8")):
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{said}")
            time.sleep(0.05)
        return said

    def close(self) -> None:
        """Stop the servers and close the lakes that the page has opened."""
        for value in self.namespace.values():
            if hasattr(value, "backend") and hasattr(value, "close"):
                value.close()
        for server in self.servers:
            server.terminate()
            server.wait(_START_SECONDS)

    def _in_process(self, command: str) -> tuple[int, str, str]:
        self.capfd.readouterr()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), "utf-8"))
        code = main(shlex.split(command.replace("$PWD", str(Path.cwd())).replace("\\\n", ""))[1:])
        return (code, *self.capfd.readouterr())

    def _expect(self, block: Block, expected: list[str], printed: str) -> None:
        missing = missing_line(expected, printed)
        assert missing is None, f"{self._at(block)}: {missing!r} is not in what was printed:\n{printed}"

    def _at(self, block: Block) -> str:
        return f"{self.page}:{block.line}"


def _in_shell(command: str) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Reader]]:
    """Return what makes a reader of a page, in an empty folder and with none of this person's settings."""
    for name in [name for name in os.environ if name.startswith("CORDILLERA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)  # Python looks for modules where it is started
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    made: list[Reader] = []

    def make(page: Path, replaced: Mapping[str, str] | None = None) -> Reader:
        made.append(Reader(page, capfd, monkeypatch, replaced or {}))
        return made[-1]

    yield make
    for one in made:
        one.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
