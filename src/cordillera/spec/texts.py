"""How much people may say about an object: it is indexed for search, kept with events, and shown on pages."""

from __future__ import annotations

from collections.abc import Sequence

from cordillera.errors import InvalidInputError

MOST_TAGS = 50
_LONGEST = {
    "owner": 200,
    "principal": 200,
    "consumer": 200,
    "tag": 100,
    "purpose": 1_000,
    "description": 10_000,
}


def check_texts(kind: str, name: str, **texts: str | None) -> None:
    """Refuse what is too long to be said about an object.

    Args:
        kind: What the object is, for the message.
        name: What it is called.
        texts: What is said, by field: owner, principal, consumer, tag, purpose or description; None says nothing.

    Raises:
        InvalidInputError: Naming the object and the field.
    """
    for field, text in texts.items():
        if text is not None and len(text) > _LONGEST[field]:
            raise InvalidInputError(
                f"The {field} of the {kind} {name[:60]} has {len(text):,} characters.",
                hint=f"Use at most {_LONGEST[field]:,}.",
                details={"field": field},
            )


def check_tags(kind: str, name: str, tags: Sequence[str]) -> None:
    """Refuse too many tags, and tags that are too long.

    Raises:
        InvalidInputError: Naming the object.
    """
    if len(tags) > MOST_TAGS:
        raise InvalidInputError(
            f"The {kind} {name[:60]} would have {len(tags):,} tags.",
            hint=f"Use at most {MOST_TAGS}.",
            details={"field": "tags"},
        )
    for tag in tags:
        check_texts(kind, name, tag=tag)
