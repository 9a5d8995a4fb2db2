"""How much people may say about an object: it is indexed for search, kept with events, and shown on pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cordillera.errors import InvalidInputError

MOST_TAGS = 50
MOST_PROPERTIES = 100
_LONGEST = {
    "owner": 200,
    "principal": 200,
    "consumer": 200,
    "tag": 100,
    "property": 4_000,
    "property name": 255,
    "cost owner": 200,
    "purpose": 1_000,
    "reason": 1_000,
    "description": 10_000,
}
_FIELDS = {"owner": "owner", "description": "description", "comment": "description"}
"""Names of properties that other catalogs keep what is a field here under."""


def check_texts(kind: str, name: str, **texts: str | None) -> None:
    """Refuse what is too long to be said about an object.

    Args:
        kind: What the object is, for the message.
        name: What it is called.
        texts: What is said, by field: owner, principal, consumer, cost_owner, tag, purpose, reason or description;
            None says nothing.

    Raises:
        InvalidInputError: Naming the object and the field.
    """
    for field, text in texts.items():
        _check_length(kind, name, field.replace("_", " "), text)


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


def changed_properties(
    kind: str, name: str, properties: Mapping[str, str], changes: Mapping[str, str | None]
) -> dict[str, str]:
    """Return an object's properties as they are after changes.

    Args:
        kind: What the object is, for the message.
        name: What it is called.
        properties: What it has now.
        changes: What to set, by name; None removes.

    Raises:
        InvalidInputError: If there would be too many, or one is too long, is named like one of the object's own
            fields, or has no name.
    """
    for key, value in changes.items():
        if key in _FIELDS or not key:
            raise InvalidInputError(
                f"The {kind} {name[:60]} cannot have a property {key!r}.",
                hint=f"Change its {_FIELDS[key]} instead." if key else "Give it a name.",
                details={"field": "properties"},
            )
        _check_length(kind, name, "property name", key)
        _check_length(kind, name, "property", value)
    after = {key: value for key, value in {**properties, **changes}.items() if value is not None}
    if len(after) > MOST_PROPERTIES:
        raise InvalidInputError(
            f"The {kind} {name[:60]} would have {len(after):,} properties.",
            hint=f"Use at most {MOST_PROPERTIES}.",
            details={"field": "properties"},
        )
    return after


def _check_length(kind: str, name: str, field: str, text: str | None) -> None:
    if text is not None and len(text) > _LONGEST[field]:
        raise InvalidInputError(
            f"The {field} of the {kind} {name[:60]} has {len(text):,} characters.",
            hint=f"Use at most {_LONGEST[field]:,}.",
            details={"field": field},
        )
