"""Reading a YAML document into nodes that know their path and line, so that every complaint can point at its place.

Plain values are read by YAML 1.2's core schema: ``NO`` is a country, ``06:00`` is text, only ``true`` and ``false`` are
booleans. Anchors, aliases, custom tags and repeated keys are refused: a contract means what it shows.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from cordillera.errors import InvalidContractError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,100}")
_OCTAL = re.compile(r"0o[0-7]{1,100}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MISTYPED = 0.8
"""How alike a key and a known one are, by difflib, if one is the other mistyped; ``acme`` and ``name`` are at 0.75."""

NOT_TEXT = re.compile(
    "|".join(
        f"(?:{form.pattern})$" for form in (_NULL, _TRUE, _FALSE, _INTEGER, _OCTAL, _HEXADECIMAL, _FLOAT, _NOT_FINITE)
    )
)
"""Matches plain YAML that is read as something else than text."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value in the document: a mapping or sequence of nodes, or a scalar, with its place."""

    path: str
    line: int
    value: dict[str, Node] | list[Node] | Scalar

    def problem(self, message: str, hint: str = "") -> InvalidContractError:
        """Return the error that says what is wrong at this place."""
        where = f"{self.path or 'the document'} (line {self.line})"
        return InvalidContractError(
            f"The contract is invalid at {where}: {message}",
            hint=hint,
            details={"path": self.path, "line": self.line},
        )

    def entries(self) -> dict[str, Node]:
        """Return the entries of a mapping."""
        if not isinstance(self.value, dict):
            raise self.problem(f"{self._kind()} stands where a mapping of keys to values is expected.")
        return self.value

    def elements(self) -> list[Node]:
        """Return the elements of a sequence."""
        if not isinstance(self.value, list):
            raise self.problem(f"{self._kind()} stands where a list is expected.")
        return self.value

    def get(self, key: str) -> Node | None:
        """Return the entry ``key`` of a mapping, or None where it is absent or null."""
        node = self.entries().get(key)
        return None if node is None or node.value is None else node

    def list_at(self, key: str) -> list[Node]:
        """Return the elements of the list at ``key``; none where it is absent."""
        node = self.get(key)
        return node.elements() if node else []

    def text(self) -> str:
        """Return a string."""
        if not isinstance(self.value, str):
            raise self.problem(f"{self._kind()} stands where text is expected.", "Put it in quotes.")
        return self.value

    def text_at(self, key: str, default: str = "") -> str:
        """Return the string at ``key``, or ``default``."""
        node = self.get(key)
        return node.text() if node else default

    def required_text(self, key: str) -> str:
        """Return the string at ``key``, which has to be there and not empty."""
        node = self.get(key)
        if node is None:
            raise self.problem(f"{key} is missing.", f"Add {key} to it.")
        if not node.text():
            raise node.problem(f"{key} is empty.", f"Give {key} a value.")
        return node.text()

    def texts_at(self, key: str) -> tuple[str, ...]:
        """Return the list of strings at ``key``; none where it is absent."""
        return tuple(node.text() for node in self.list_at(key))

    def boolean_at(self, key: str) -> bool | None:
        """Return the boolean at ``key``, or None."""
        node = self.get(key)
        if node is not None and not isinstance(node.value, bool):
            raise node.problem(f"{node._kind()} stands where true or false is expected.")
        return node.value if node is not None and isinstance(node.value, bool) else None

    def number(self) -> int | float:
        """Return a finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.problem(f"{self._kind()} stands where a number is expected.", "Write a number without quotes.")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise self.problem(f"{self.value} is not a finite number.")
        return self.value

    def integer(self, minimum: int | None = None) -> int:
        """Return an integer of at least ``minimum``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.problem(f"{self._kind()} stands where an integer is expected.")
        if minimum is not None and self.value < minimum:
            raise self.problem(f"{self.value} is less than {minimum}.")
        return self.value

    def scalar(self) -> Scalar:
        """Return a single value of any kind."""
        if isinstance(self.value, dict | list):
            raise self.problem(f"{self._kind()} stands where a single value is expected.")
        return self.value

    def plain(self) -> Any:
        """Return the value with all that is inside it, without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def check_keys(self, known: Collection[str]) -> None:
        """Refuse keys that are not ``known``: where they could change what is promised, nobody would keep it."""
        for key, node in self.entries().items():
            if key not in known:
                raise node._unknown(key, known)

    def unknown_keys(self, known: Collection[str]) -> list[str]:
        """Return the keys that are not ``known``: they are kept, and nothing acts on them.

        Raises:
            InvalidContractError: If one looks like a known key mistyped, which would be a promise nobody keeps.
        """
        unknown = [key for key in self.entries() if key not in known]
        for key in unknown:
            if difflib.get_close_matches(key, known, 1, _MISTYPED):
                raise self.entries()[key]._unknown(key, known)
        return unknown

    def _unknown(self, key: str, known: Collection[str]) -> InvalidContractError:
        near = difflib.get_close_matches(key, known, 1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        return self.problem(
            f"{shorten(key)!r} is not a key of the standard here.",
            f"{guess}Keys of your own belong under customProperties.",
        )

    def _kind(self) -> str:
        match self.value:
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case None:
                return "null"
            case bool() as value:
                return str(value).lower()
            case str() as value:
                return f"the text {shorten(value)!r}"
            case value:
                return f"the number {shorten(str(value))}"


def shorten(text: str, limit: int = 60) -> str:
    """Return ``text``, cut to ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def read_document(text: str | bytes) -> Node:
    """Read one YAML document.

    Args:
        text: The document; bytes are UTF-8.

    Raises:
        InvalidContractError: If it is over ``MAX_BYTES``, nested deeper than ``MAX_DEPTH``, not one valid YAML
            mapping, or uses a part of YAML that contracts may not use.
    """
    decoded = _decode(text)
    try:
        events = iter(yaml.parse(decoded, Loader=_LOADER))
        root = _root(events)
    except yaml.YAMLError as error:
        raise _not_yaml(error) from error
    if not isinstance(root.value, dict):
        raise root.problem("the document is not a mapping of keys to values.", "Begin with apiVersion, kind and id.")
    return root


def _decode(text: str | bytes) -> str:
    try:
        raw = text if isinstance(text, bytes) else text.encode()
        decoded = raw.decode("utf-8-sig")
    except UnicodeError as error:
        raise InvalidContractError("The contract is not UTF-8 text.", hint="Save it as UTF-8.") from error
    if len(raw) > MAX_BYTES:
        raise InvalidContractError(
            f"The contract has {len(raw):,} bytes; the limit is {MAX_BYTES:,}.",
            hint="Leave generated documentation out of it.",
        )
    return decoded


def _not_yaml(error: yaml.YAMLError) -> InvalidContractError:
    mark: Any = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark else None
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    place = f" at line {line}" if line else ""
    return InvalidContractError(
        f"The contract is not valid YAML{place}: {problem}.",
        hint="Correct the YAML and try again.",
        details={"line": line} if line else {},
    )


def _root(events: Iterator[Any]) -> Node:
    """Build the single document of a stream; the loader yields stream start, document start, nodes, document end …"""
    root: Node | None = None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if root is not None:
                raise Node("", _line(event), None).problem(
                    "a second document begins.", "Give one document only; remove the '---'."
                )
            root = _node(events, next(events), "", 0)
    if root is None:
        raise Node("", 1, None).problem("the document is empty.", "Begin with apiVersion, kind and id.")
    return root


def _node(events: Iterator[Any], event: Any, path: str, depth: int) -> Node:
    place = Node(path, _line(event), None)
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise place.problem("anchors (&) and aliases (*) are not allowed.", "Write the value out.")
    if depth > MAX_DEPTH:
        raise place.problem(f"it is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(event, yaml.ScalarEvent):
        return Node(path, place.line, _scalar(event, place))
    if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        raise place.problem(f"the YAML tag {shorten(event.tag)!r} is not allowed.", "Remove it.")
    if isinstance(event, yaml.SequenceStartEvent):
        return Node(path, place.line, _elements(events, path, depth))
    return Node(path, place.line, _entries(events, path, depth))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _elements(events: Iterator[Any], path: str, depth: int) -> list[Node]:
    elements: list[Node] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        elements.append(_node(events, event, f"{path}[{len(elements)}]", depth + 1))
    return elements


def _entries(events: Iterator[Any], path: str, depth: int) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        place = Node(path, _line(event), None)
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None:
            raise place.problem("a key is not plain text.", "Use text as keys.")
        key = event.value
        if key in entries:
            raise place.problem(f"the key {shorten(key)!r} appears twice.", "Keep one of them.")
        entries[key] = _node(events, next(events), f"{path}.{shorten(key)}" if path else shorten(key), depth + 1)
    return entries


def _scalar(event: Any, place: Node) -> Scalar:
    if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
        raise place.problem(f"the YAML tag {shorten(event.tag)!r} is not allowed.", "Remove it.")
    text: str = event.value
    is_plain = event.implicit[0] and event.tag is None
    return _plain(text) if is_plain else text


def _plain(text: str) -> Scalar:
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
