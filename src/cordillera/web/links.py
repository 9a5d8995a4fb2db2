"""Links within the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

Value = str | int | Sequence[str] | None


def link(path: str, fragment: str = "", /, **query: Value) -> str:
    """Return a link to a page, leaving out parameters that are empty."""
    given = {name: value for name, value in query.items() if value not in (None, "", 0, [], ())}
    address = quote(path, safe="/")
    if given:
        address += f"?{urlencode(given, doseq=True)}"
    return f"{address}#{fragment}" if fragment else address


def with_query(path: str, query: Mapping[str, str], **changes: Value) -> str:
    """Return a link to a page with its present parameters, some of them changed; empty ones go."""
    return link(path, **{**query, **changes})


def local_path(text: str) -> str:
    """Return a path of this server that a login may lead to; anything else becomes the home page.

    ``//host`` and ``/\\host`` would lead to another server.
    """
    leads_astray = not text.startswith("/") or text[1:2] in {"/", "\\"} or any(char < " " for char in text)
    return "/" if leads_astray else text
