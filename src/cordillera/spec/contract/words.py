"""Vocabularies written as running text: one page of names reads better than a hundred lines of them."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(text.split())
