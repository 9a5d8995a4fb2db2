"""Write the parts of docs/reference that follow from the code: commands, errors, settings, routes.

``--check`` only says which files are not up to date. A test runs it, so that the reference cannot go stale.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from cordillera.api.app import create_api
from cordillera.api.auth import AccessRules
from cordillera.app import create_lake
from cordillera.cli.failures import EXIT_CODES
from cordillera.cli.main import app as command_line
from cordillera.errors import CordilleraError, TransientError, error_code
from cordillera.settings import Settings

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_SHARED = ("lake", "url", "token_file", "output", "quiet", "debug")
_MARKUP = re.compile(r"\[/?[a-z]+\]")


def commands() -> str:
    """Return the commands, each with its arguments, options and examples."""
    root = typer.main.get_command(command_line)
    parts = ["### Shared options", _table("option", (_parameter(p) for p in root.params if p.name in _SHARED))]
    parts += ["### Exit codes", _table("code", ((str(code), meaning) for code, meaning in EXIT_CODES))]
    for name, one in root.commands.items():  # type: ignore[attr-defined]  # the root is a group
        parts.append(f"## {name}")
        if hasattr(one, "commands"):
            parts.append(one.help)
            parts += [part for verb, command in one.commands.items() for part in _command(f"{name} {verb}", command, 3)]
        else:
            parts += list(_command(name, one, 0))
    return "\n\n".join(parts)


def _command(words: str, command: Any, level: int) -> Iterator[str]:
    if level:
        yield f"{'#' * level} {words}"
    yield "\n".join(line.strip() for line in command.help.splitlines())
    own = [_parameter(one) for one in command.params if one.name not in (*_SHARED, "help")]
    if own:
        yield _table("argument or option", own)
    examples = [
        line.removeprefix("  ") for line in _MARKUP.sub("", command.epilog.replace(r"\[", "[")).splitlines()[1:]
    ]
    yield "\n".join(["```sh", *examples, "```"])


def _parameter(one: Any) -> tuple[str, str]:
    if one.param_type_name == "argument":
        return f"`{one.metavar or one.name.upper()}`", one.help or ""
    value = "" if one.is_flag else f" `{one.metavar or _metavar(one.type_descriptor.annotation)}`"
    names = ", ".join(f"`{option}`" for option in one.opts)
    shown = one.default.value if isinstance(one.default, Enum) else one.default
    has_default = shown not in (None, "") and not isinstance(shown, bool)
    default = f" Default: `{shown}`." if has_default else ""
    required = " Required." if one.required else ""
    return f"{names}{value}", f"{one.help or ''}{default}{required}"


def _metavar(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(one.value) for one in kind)
    return "NUMBER" if kind in (int, float) else "TEXT"


def errors() -> str:
    """Return every error with its code, HTTP status and exit code, in the order of the tree."""
    rows = []
    for kind, depth in _tree(CordilleraError, 0):
        retry = "yes" if issubclass(kind, TransientError) else "no"
        name = f"{'&nbsp;&nbsp;' * depth}`{kind.__name__}`"
        meaning = (kind.__doc__ or "").splitlines()[0]
        rows.append((name, f"`{error_code(kind)}`", str(kind.status), str(kind.exit_code), retry, meaning))
    return _table("class", rows, "code", "HTTP", "exit", "retry", "meaning")


def _tree(kind: type[CordilleraError], depth: int) -> Iterator[tuple[type[CordilleraError], int]]:
    yield kind, depth
    for below in kind.__subclasses__():
        yield from _tree(below, depth + 1)


def settings() -> str:
    """Return every setting with its variable, default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        shown = "" if default in ("", None) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        rows.append((f"`{name}`", f"`CORDILLERA_{name.upper()}`", shown, field.description or ""))
    return _table("setting", rows, "variable", "default", "meaning")


def routes() -> str:
    """Return the routes of the HTTP API."""
    with tempfile.TemporaryDirectory() as folder, create_lake(Path(folder) / "lake") as app:
        server = create_api(app, AccessRules(app.access, app.workloads, loopback=True))
        paths = server.openapi()["paths"]
    rows = [
        (f"`{method.upper()}`", f"`{path.removeprefix('/api/v1')}`", str(route["summary"]))
        for path, methods in paths.items()
        for method, route in methods.items()
    ]
    return _table("method", rows, "path under `/api/v1`", "")


def _table(first: str, rows: Any, *further: str) -> str:
    cells = [tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    heads = (first, *further) if further else (first, "meaning")
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *cells))


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "commands": ("cli.md", commands),
    "errors": ("errors.md", errors),
    "settings": ("settings.md", settings),
    "routes": ("http-api.md", routes),
}


def main() -> int:
    """Write the reference, or with ``--check`` tell what is stale; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is not up to date")
    check, stale = parser.parse_args().check, 0
    for name, (file, write) in PARTS.items():
        page = REFERENCE / file
        before = page.read_text("utf-8")
        begin, end = f"<!-- begin generated: {name} -->\n", "<!-- end generated -->"
        head, _, rest = before.partition(begin)
        after = f"{head}{begin}\n{write()}\n\n{end}{rest.partition(end)[2]}"
        if after != before:
            stale += 1
            sys.stdout.write(f"docs/reference/{file}: {'is not up to date' if check else 'written'}\n")
            if not check:
                page.write_text(after, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
