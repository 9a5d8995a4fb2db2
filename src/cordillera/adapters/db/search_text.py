"""Text as search sees it: words without case and accents, cut at everything that is neither letter nor digit.

Both databases get words made here, and so find the same; and nothing that a user types is ever read as a query.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cordillera.spec.catalog import Column, Dataset

_WORD = re.compile(r"[^\W_]+")
_LONGEST_WORD = 100
_MOST_WORDS = 20
"""Words of a query that count."""
_MOST_BYTES = 500_000
"""Bytes of words kept of a dataset; PostgreSQL holds twice that."""
_SNIPPET = 120


def words(text: str) -> list[str]:
    """Return the words of a text in order."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in decomposed if not unicodedata.category(char).startswith("M"))
    return [word[:_LONGEST_WORD] for word in _WORD.findall(plain)]


def query_words(text: str) -> list[str]:
    """Return the words to look for; the last one is a beginning."""
    return words(text)[:_MOST_WORDS]


def name_parts(wanted: Sequence[str]) -> list[str]:
    """Return what a name holds, with underscores for its dots and around it, if it has all the words."""
    return [f"_{word}_" for word in wanted[:-1]] + [f"_{word}" for word in wanted[-1:]]


def in_name(full_name: str, wanted: Sequence[str]) -> bool:
    """Tell whether the words looked for are all in a dataset's full name; the last one is a beginning."""
    name = f"_{full_name.replace('.', '_')}_"
    return all(part in name for part in name_parts(wanted))


def document_words(dataset: Dataset, columns: Sequence[Column]) -> list[str]:
    """Return every word to find a dataset by, once; the less telling ones go where there are too many."""
    texts = [dataset.namespace, dataset.name, *dataset.tags, dataset.description]
    texts += [column.name for column in columns] + [column.doc for column in columns]
    found: dict[str, None] = {}
    left = _MOST_BYTES
    for word in (word for text in texts for word in words(text)):
        if word not in found:
            left -= len(word.encode()) + 1
            if left < 0:
                break
            found[word] = None
    return list(found)


@dataclass(frozen=True, slots=True)
class Place:
    """A text that may have matched, what to call it, and a name of its own that may have matched too."""

    label: str
    text: str
    name: str = ""

    def found(self, wanted: Sequence[str]) -> set[int]:
        """Return which of the wanted words are in the text, by position; the last is a beginning."""
        mine = set(words(f"{self.name} {self.text}"))
        last = len(wanted) - 1
        return {
            place
            for place, word in enumerate(wanted)
            if word in mine or (place == last and any(other.startswith(word) for other in mine))
        }

    def show(self, wanted: Sequence[str]) -> str:
        """Return the label and the part of the text around the first word found."""
        text = " ".join(self.text.split())
        return f"{self.label}: {_excerpt(text, wanted)}" if text else self.label


def dataset_places(dataset: Dataset) -> list[Place]:
    """Return what can match in a dataset itself."""
    return [
        Place("name", dataset.full_name),
        *(Place("tag", tag) for tag in dataset.tags),
        Place("description", dataset.description),
    ]


def column_places(columns: Iterable[tuple[str, str]]) -> list[Place]:
    """Return what can match in columns, given as name and documentation."""
    return [Place(f"column {name}", doc, name) for name, doc in columns]


def uncovered(places: Iterable[Place], wanted: Sequence[str]) -> bool:
    """Tell whether some of the wanted words are in none of the places."""
    return len(set().union(*(place.found(wanted) for place in places))) < len(wanted)


def snippet(places: Sequence[Place], wanted: Sequence[str]) -> str:
    """Return where words were found: in the place with most of them, and where the most of the others are."""
    shown: list[str] = []
    missing = set(range(len(wanted)))
    found = [(place, place.found(wanted)) for place in places]
    while missing and found and len(shown) < 2:
        place, here = max(found, key=lambda pair: len(pair[1] & missing))
        if not here & missing:
            break
        shown.append(place.show(wanted))
        missing -= here
    return "; ".join(shown)


def _excerpt(text: str, wanted: Sequence[str]) -> str:
    if len(text) <= _SNIPPET:
        return text
    starts = (
        match.start()
        for match in _WORD.finditer(text)
        if any(word in wanted or word.startswith(wanted[-1]) for word in words(match.group()))
    )
    begin = max(0, next(starts, 0) - _SNIPPET // 4)
    cut = text[begin : begin + _SNIPPET].strip()
    return ("…" if begin else "") + cut + ("…" if begin + _SNIPPET < len(text) else "")
