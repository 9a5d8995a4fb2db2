"""Every example of the documentation does what the page says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.conftest import Reader
from tests.docs.markdown import ROOT, pages

_WITH_SERVERS = {"docs/how-to/subscribe-postgresql.md", "docs/how-to/serve-a-lake.md", "docs/reference/http-api.md"}
_ALONE = [page for page in pages() if page.relative_to(ROOT).as_posix() not in _WITH_SERVERS]


@pytest.mark.parametrize("page", _ALONE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_do_what_the_page_says(page: Path, reader: Callable[..., Reader]) -> None:
    reader(page).follow()
