"""Tag expressions: which datasets a grant is about, by their policy tags.

``sensitivity in (public, internal) and not domain = 'hr'``. A dataset without a tag fulfils nothing that is said about
the tag's value, not even ``<>`` or ``not in``; only ``is null``, and whatever is denied by a ``not`` in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cordillera.errors import InvalidExpressionError
from cordillera.spec.names import check_name

MOST_CHARACTERS = 400
LONGEST_VALUE = 100
_MOST_DEPTH = 20
_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z_][A-Za-z0-9_-]*)|(?P<text>'(?:[^']|'')*')|(?P<sign><>|!=|=|\(|\)|,))")
_HINT = "For example: sensitivity in (public, internal) and not domain = 'hr'."
_WORDS = frozenset({"and", "or", "not", "in", "is", "null"})


@dataclass(frozen=True, slots=True)
class Among:
    """The tag has one of some values; with ``wanted`` false, it has another."""

    name: str
    values: tuple[str, ...]
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such tag; with ``wanted`` false, there is one."""

    name: str
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not fulfilled."""

    part: TagExpression


@dataclass(frozen=True, slots=True)
class All:
    """Every part is fulfilled."""

    parts: tuple[TagExpression, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """Some part is fulfilled."""

    parts: tuple[TagExpression, ...]


TagExpression: TypeAlias = Among | Missing | Not | All | Any


def parse_tag_expression(text: str) -> TagExpression:
    """Read a tag expression.

    Raises:
        InvalidExpressionError: If it cannot be read.
        InvalidNameError: If a tag in it cannot be called so.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidExpressionError(
            f"The tag expression has {len(text):,} characters.", hint=f"Use at most {MOST_CHARACTERS:,}."
        )
    return _Reader(text).whole()


def inherited(levels: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the tags that count for something: its own, and those of what it is within that no nearer one overrides.

    Args:
        levels: Its own tags, and those of what it is within, the nearest first.
    """
    return {name: value for tags in reversed(levels) for name, value in tags.items()}


def fulfils(tags: Mapping[str, str], expression: TagExpression) -> bool:
    """Tell whether something with certain tags is what an expression is about."""
    match expression:
        case Among(name, values, wanted):
            return name in tags and (tags[name] in values) is wanted
        case Missing(name, wanted):
            return (name not in tags) is wanted
        case Not(part):
            return not fulfils(tags, part)
        case All(parts):
            return all(fulfils(tags, part) for part in parts)
        case Any(parts):
            return any(fulfils(tags, part) for part in parts)


def describe(expression: TagExpression) -> str:
    """Return an expression as text, in one form for all that say the same in the same order."""
    match expression:
        case Among(name, (value,), wanted):
            return f"{name} {'=' if wanted else '<>'} {_quoted(value)}"
        case Among(name, values, wanted):
            return f"{name} {'in' if wanted else 'not in'} ({', '.join(map(_quoted, values))})"
        case Missing(name, wanted):
            return f"{name} is {'null' if wanted else 'not null'}"
        case Not(part):
            return f"not {_inner(part)}"
        case All(parts):
            return " and ".join(map(_inner, parts))
        case Any(parts):
            return " or ".join(map(_inner, parts))


def names_in(expression: TagExpression) -> frozenset[str]:
    """Return the tags that an expression is about."""
    match expression:
        case Among(name) | Missing(name):
            return frozenset({name})
        case Not(part):
            return names_in(part)
        case All(parts) | Any(parts):
            return frozenset().union(*map(names_in, parts))


def check_tag(name: str, value: str) -> None:
    """Refuse a policy tag that no expression could name.

    Raises:
        InvalidNameError: If the name breaks the naming rules.
        InvalidExpressionError: If the value is empty, too long, or has control characters.
    """
    check_name(name, "policy tag")
    if name in _WORDS:
        raise InvalidExpressionError(f"A policy tag cannot be called {name!r}.", hint="Choose another name.")
    if not 0 < len(value) <= LONGEST_VALUE or not value.isprintable():
        raise InvalidExpressionError(
            f"The policy tag {name} cannot have the value {value[:60]!r}.",
            hint=f"Use 1 to {LONGEST_VALUE} characters that can be printed.",
        )


def _inner(expression: TagExpression) -> str:
    text = describe(expression)
    return f"({text})" if isinstance(expression, All | Any) else text


def _quoted(value: str) -> str:
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


class _Reader:
    """Reads one expression, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._cut(text)
        self._at = self._depth = 0

    def whole(self) -> TagExpression:
        """Return what the whole text says."""
        found = self._any()
        if self._at < len(self._tokens):
            raise self._error(f"nothing can follow before {self._tokens[self._at]!r}")
        return found

    def _cut(self, text: str) -> list[str]:
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._error(f"{text[at:].strip()[:20]!r} means nothing there")
            tokens.append(found.group().strip())
            at = found.end()
        return tokens

    def _any(self) -> TagExpression:
        parts = [self._all()]
        while self._took("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _all(self) -> TagExpression:
        parts = [self._one()]
        while self._took("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> TagExpression:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise self._error("it is nested too deeply")
        try:
            if self._took("not"):
                return Not(self._one())
            if self._took("("):
                found = self._any()
                self._expect(")")
                return found
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> TagExpression:
        name = self._next("the name of a policy tag")
        if name.lower() in _WORDS or not name[0].isalpha():
            raise self._error(f"{name!r} is no name of a policy tag")
        check_name(name, "policy tag")
        if self._took("is"):
            wanted = not self._took("not")
            self._expect("null")
            return Missing(name, wanted)
        if self._took("="):
            return Among(name, (self._value(),))
        if self._took("<>") or self._took("!="):
            return Among(name, (self._value(),), wanted=False)
        wanted = not self._took("not")
        self._expect("in")
        self._expect("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._expect(")")
        return Among(name, tuple(sorted(set(values))), wanted)

    def _value(self) -> str:
        token = self._next("a value")
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token.lower() in _WORDS or not (token[0].isalpha() or token[0] == "_"):
            raise self._error(f"{token!r} is no value; write it in quotes")
        return token

    def _next(self, wanted: str) -> str:
        if self._at == len(self._tokens):
            raise self._error(f"{wanted} is missing at its end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, token: str) -> bool:
        here = self._at < len(self._tokens) and self._tokens[self._at].lower() == token
        self._at += here
        return here

    def _expect(self, token: str) -> None:
        if not self._took(token):
            raise self._error(f"{token!r} is missing")

    def _error(self, problem: str) -> InvalidExpressionError:
        return InvalidExpressionError(f"The tag expression {self._text[:200]!r} cannot be read: {problem}.", hint=_HINT)
