"""The chain of the audit log: each entry's hash covers the entry and the hash before it, so that no past can be changed
without all that followed changing too."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, timedelta

from cordillera.errors import InvalidInputError
from cordillera.spec.event import AuditEntry

_BEGINNING = "0" * 64
_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_LATE = timedelta(hours=1)
"""How long after an entry was written it may at most be chained behind one written later."""

AUDIT_DATASET = "system.audit"
"""Where the audit log is exported to unless told otherwise."""


@dataclass(frozen=True, slots=True)
class ChainLink:
    """Where an entry stands in the chain.

    Attributes:
        number: The entry's.
        position: Its place; places are counted from 1, without gaps.
        hash: Of the entry and the hash before it, in hexadecimal digits.
    """

    number: int
    position: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditVerification:
    """What a look at the audit log's chain has found.

    Attributes:
        holds: Whether every entry looked at is as it was when it was chained, and none is missing.
        entries: How many were looked at.
        head: ``POSITION:HASH`` of the last good one. Kept elsewhere, it proves later that nothing up to it was changed.
        problem: What is wrong first.
        number: The entry that this is about; None if it is gone.
    """

    holds: bool
    entries: int
    head: str
    problem: str = ""
    number: int | None = None


def chained(entries: Iterable[AuditEntry], previous: AuditEntry | None) -> list[ChainLink]:
    """Return the places of entries that are to follow one, the first of all if that is None."""
    position, last = place_of(previous), previous.hash if previous else _BEGINNING
    links = []
    for entry in entries:
        position, last = position + 1, _hash(last, position + 1, entry)
        links.append(ChainLink(entry.number, position, last))
    return links


def place_of(entry: AuditEntry | None) -> int:
    """Return a chained entry's place; 0 for what is before the first."""
    return (entry.position or 0) if entry is not None else 0


def head_of(entry: AuditEntry | None) -> str:
    """Return what stands for the chain up to an entry; empty for no entry."""
    return f"{entry.position}:{entry.hash}" if entry is not None else ""


def parse_head(text: str) -> tuple[int, str]:
    """Return the position and the hash of what ``head_of`` gave.

    Raises:
        InvalidInputError: If the text has another form.
    """
    found = _HEAD.fullmatch(text)
    if found is None:
        raise InvalidInputError(
            f"{text[:100]!r} stands for no entry of the audit log's chain.",
            hint="Give POSITION:HASH, as audit verify printed it.",
        )
    return int(found[1]), found[2]


def problem_of(entry: AuditEntry, previous: AuditEntry | None) -> str:
    """Return what is wrong with a chained entry, given the good one at the place before it; empty for nothing."""
    (expected,) = chained([entry], previous)
    behind = f"behind entry {previous.number}" if previous else "at the beginning"
    if entry.position != expected.position:
        return f"The entry at place {expected.position}, {behind}, was removed."
    if entry.hash != expected.hash:
        return f"Entry {entry.number}, at place {entry.position}, was changed after it was chained."
    if previous is not None and entry.at < previous.at - _LATE:
        return f"Entry {entry.number}, at place {entry.position}, was put in afterwards: it claims to be of {entry.at}."
    return ""


def _hash(previous: str, position: int, entry: AuditEntry) -> str:
    """Return an entry's hash. What it covers is written in one way only: sorted names, no spaces, UTF-8."""
    covered = [
        previous,
        position,
        entry.number,
        entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.principal,
        entry.action,
        entry.object_kind,
        entry.object_name,
        entry.details,
        entry.trace_id,
    ]
    text = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
