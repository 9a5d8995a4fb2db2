"""The check of the pages finds what is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT


def _check(folder: Path) -> tuple[int, str]:
    command = [sys.executable, ROOT / "scripts" / "check_docs.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Index\n\n[a page](page.md#a-heading-with-code)\n")
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n## A heading, with `code`\n\n```text\n[no](link.md)\n```\n")
    return tmp_path


def test_pages_without_mistakes_pass(repository: Path) -> None:
    assert _check(repository) == (0, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[gone](gone.md)", "page.md:1: gone.md leads nowhere"),
        ("![picture](images/gone.png)", "page.md:1: images/gone.png leads nowhere"),
        ("[here](index.md#elsewhere)", "page.md:1: index.md has no heading or anchor #elsewhere"),
        ("Look into /home/ana/lake.", "page.md:1: a path of one machine"),
        ("pip install --index-url somewhere", "page.md:1: a package registry's address"),
    ],
)
def test_a_mistake_is_found(repository: Path, text: str, problem: str) -> None:
    page = repository / "docs" / "page.md"
    page.write_text(f"{text}\n\n## A heading, with `code`\n")
    code, printed = _check(repository)
    assert code == 1
    assert printed.startswith(f"docs/{problem}")
    assert len(printed.splitlines()) == 1


def test_a_page_that_nothing_leads_to_is_found(repository: Path) -> None:
    (repository / "docs" / "lost.md").write_text("# Lost\n")
    assert _check(repository) == (1, "docs/lost.md:1: docs/index.md does not lead here\n")
