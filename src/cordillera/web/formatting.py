"""How values are written on pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from markupsafe import Markup, escape

_STEPS = (
    (timedelta(minutes=1), timedelta(seconds=1), "s"),
    (timedelta(hours=1), timedelta(minutes=1), "min"),
    (timedelta(days=2), timedelta(hours=1), "h"),
    (timedelta(days=60), timedelta(days=1), "days"),
    (timedelta(days=730), timedelta(days=30), "months"),
)
_YEAR = timedelta(days=365)
_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")
_WORD = re.compile(r"[^\W_]+")
_BREAKS = re.compile(r"(?<=[._:/])(?=[^._:/])")


def host(url: str) -> str:
    """Return where a URL leads: its host, and its port if it has one."""
    return urlsplit(url).netloc


def duration(length: timedelta) -> str:
    """Return a length of time in its largest sensible unit, rounded down: ``4 min``, ``3 days``."""
    length = abs(length)
    if length < timedelta(seconds=1):
        return f"{length // timedelta(milliseconds=1)} ms"
    for limit, unit, name in _STEPS:
        if length < limit:
            return f"{length // unit} {name}"
    return f"{length // _YEAR} years"


def relative(moment: datetime, now: datetime) -> str:
    """Return how far a moment is from now: ``4 min ago``, ``in 2 days``."""
    if abs(now - moment) < timedelta(seconds=10):
        return "just now"
    return f"{duration(now - moment)} ago" if moment <= now else f"in {duration(moment - now)}"


def utc(moment: datetime) -> str:
    """Return the instant in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: int | float) -> str:
    """Return a number with thousands separators."""
    return f"{value:,}"


def size(count: int) -> str:
    """Return a number of bytes in decimal units: ``1.5 MB``."""
    value, unit = float(count), 0
    while round(value, 1) >= 1000 and unit < len(_BYTES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:,.1f} {_BYTES[unit]}" if unit else f"{count} B"


def shortened(text: str, most: int = 60) -> str:
    """Return the text, cut to ``most`` characters with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def breakable(name: str) -> Markup:
    """Return a name that may go on in the next line behind its dots, underscores, colons and slashes."""
    return Markup("<wbr>").join(escape(part) for part in _BREAKS.split(name))


def plain(value: object) -> str:
    """Return a value of an event or audit entry: lists as their items, the rest as it is written."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def highlighted(text: str, query: str) -> list[tuple[str, bool]]:
    """Cut a text into pieces, each with whether it is the beginning of a word that the query names."""
    wanted = [word.casefold() for word in _WORD.findall(query)]
    pieces: list[tuple[str, bool]] = []
    end = 0
    for found in _WORD.finditer(text):
        word = found.group()
        length = max((len(w) for w in wanted if word.casefold().startswith(w)), default=0)
        length = min(length, len(word))  # "ß" folds to "ss"
        if length:
            pieces += [(text[end : found.start()], False), (word[:length], True)]
            end = found.start() + length
    pieces.append((text[end:], False))
    return [piece for piece in pieces if piece[0]]
