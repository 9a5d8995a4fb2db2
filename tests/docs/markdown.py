"""Reading the blocks of a documentation page.

How pages mark what the tests do with them; everything is a comment that readers do not see:

    ```python                 runs, in one namespace a page
    ```console                its ``$ `` lines run; the other lines have to appear in what they print, in that order
    ```text                   right behind a Python block: what that block prints, in the same way
    <!-- file: NAME -->       in front of a block: it is written to that file
    <!-- not run: REASON -->  in front of a block: nothing is done with it

In expected lines ``…`` stands for anything, and any run of spaces for any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(?P<language>[a-z]*)$")
_MARK = re.compile(r"^<!-- (?P<kind>file|not run): (?P<value>.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, what it is, and its lines."""

    line: int
    language: str
    text: str
    file: str = ""
    run: bool = True
    follows: str = ""
    """The language of the block before it, if nothing but blank lines lies between."""


def pages() -> list[Path]:
    """Return every page that has something to run."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if any(is_runnable(block) for block in blocks(page))]


def is_runnable(block: Block) -> bool:
    return block.run and block.language in ("python", "console")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    lines = page.read_text("utf-8").splitlines()
    mark: re.Match[str] | None = None
    before, number = "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        fence = _FENCE.match(line)
        if fence is None:
            if line.strip():
                mark, before = _MARK.match(line), ""
            continue
        end = lines.index("```", number)
        kind, value = (mark["kind"], mark["value"]) if mark else ("", "")
        text = "\n".join(lines[number:end]) + "\n"
        file = value if kind == "file" else ""
        yield Block(number + 1, fence["language"], text, file, kind != "not run", before)
        mark, before, number = None, fence["language"], end + 1


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a console block with the lines they are expected to print."""
    command, expected = "", list[str]()
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            expected.append(line)
            continue
        if command:
            yield command, expected
        command, expected = line.removeprefix("$ "), []
        while command.endswith("\\"):
            command += "\n" + next(lines)
    if command:
        yield command, expected


def missing_line(expected: list[str], printed: str) -> str | None:
    """Return the first expected line that what was printed lacks, reading on from the one before."""
    remaining = iter(_normal(line) for line in printed.splitlines())
    for line in filter(str.strip, expected):
        pattern = re.compile(".*".join(map(re.escape, re.split(" ?… ?", _normal(line)))))
        if not any(pattern.fullmatch(candidate) for candidate in remaining):
            return line
    return None


def _normal(line: str) -> str:
    return " ".join(line.split())
