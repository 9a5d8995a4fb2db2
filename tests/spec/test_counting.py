"""Counts in sentences."""

from __future__ import annotations

import pytest

from cordillera.spec.counting import counted


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (1_024, ("row",), "1,024 rows"),
        (1, ("delivery", "deliveries"), "1 delivery"),
        (2, ("delivery", "deliveries"), "2 deliveries"),
        (1, ("event waits", "events wait"), "1 event waits"),
        (0, ("event waits", "events wait"), "0 events wait"),
    ],
)
def test_nouns_and_verbs_agree_with_their_count(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text
