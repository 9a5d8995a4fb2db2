"""Check the Markdown pages: links and anchors lead somewhere, every page is reachable, none tells of one machine.

Each problem is one line, ``file:line: what is wrong``; the exit code is 1 if there is any. Docstrings of public names
are checked by ruff (rules D1).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<to>[^)\s]+)\)")
_HEADING = re.compile(r"#{1,6} (?P<text>.+)")
_ANCHOR = re.compile(r'<a id="(?P<id>[^"]+)">')
_EXTERNAL = re.compile(r"(https?|mailto):")
_FORBIDDEN = (
    (re.compile(r"(?<![\w.}/-])/(work|home|root|tmp|Users)/\w+"), "a path of one machine"),
    (re.compile(r"--(extra-)?index-url|--registry\b"), "a package registry's address"),
    (re.compile(r"(pypi|files\.pythonhosted|registry\.npmjs|proxy\.golang|test\.pypi)\.org"), "a registry's host"),
    (re.compile(r"\b(TODO|FIXME|XXX:|TBD)\b"), "a note to the author"),
)


@dataclass(frozen=True)
class Line:
    """A line of a page, and whether it is in a block of code, where links are none."""

    number: int
    text: str
    code: bool


def lines(page: Path) -> Iterator[Line]:
    """Yield the lines of a page."""
    fenced = False
    for number, text in enumerate(page.read_text("utf-8").splitlines(), 1):
        if text.lstrip().startswith("```"):
            fenced = not fenced
            yield Line(number, text, True)
        else:
            yield Line(number, text, fenced)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the links of a page with their line."""
    for line in lines(page):
        if not line.code:
            text = re.sub(r"`[^`]*`", "", line.text)
            yield from ((line.number, found["to"]) for found in _LINK.finditer(text))


def anchors(page: Path) -> set[str]:
    """Return what a link may name after ``#``: headings as GitHub names them, and explicit anchors."""
    found: set[str] = set()
    for line in lines(page):
        heading = None if line.code else _HEADING.fullmatch(line.text)
        if heading:
            words = re.sub(r"[^\w\- ]", "", heading["text"].strip().lower()).replace(" ", "-")
            again = sum(1 for one in found if re.fullmatch(re.escape(words) + r"(-\d+)?", one))
            found.add(f"{words}-{again}" if again else words)
        found.update(one["id"] for one in _ANCHOR.finditer(line.text))
    return found


def problems(root: Path) -> Iterator[str]:
    """Yield everything that is wrong with the pages of a repository."""
    pages = [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]
    leads: dict[Path, set[Path]] = {page: set() for page in pages}
    for page in pages:
        where = page.relative_to(root)
        for line in lines(page):
            for pattern, what in _FORBIDDEN:
                if pattern.search(line.text):
                    yield f"{where}:{line.number}: {what}: {line.text.strip()[:80]}"
        for number, link in links(page):
            if _EXTERNAL.match(link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                yield f"{where}:{number}: {link} leads nowhere"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                yield f"{where}:{number}: {target.name} has no heading or anchor #{anchor}"
            leads[page].add(target)
    yield from (f"{page.relative_to(root)}:1: docs/index.md does not lead here" for page in _lost(root, leads))


def _lost(root: Path, leads: dict[Path, set[Path]]) -> list[Path]:
    """Return the pages under docs/ that cannot be reached from the index."""
    reached, pending = set[Path](), [root / "docs" / "index.md"]
    while pending:
        page = pending.pop()
        if page not in reached:
            reached.add(page)
            pending += leads.get(page, set())
    return [page for page in leads if page.is_relative_to(root / "docs") and page not in reached]


def main() -> int:
    """Check the pages of this repository, or of the folder given, and return the exit code."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    found = list(problems(root))
    sys.stdout.writelines(f"{problem}\n" for problem in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
