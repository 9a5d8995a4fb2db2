"""What a change of a contract means to those who rely on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from cordillera.spec.contract.document import Node


class Compatibility(StrEnum):
    """Whether everybody can go on as before a change."""

    COMPATIBLE = "compatible"
    BREAKING = "breaking"


class Party(StrEnum):
    """Whom a change breaks: those who read under the contract, or those who write under it."""

    CONSUMERS = "consumers"
    PUBLISHERS = "publishers"


@dataclass(frozen=True, slots=True)
class ContractChange:
    """One difference between two contracts.

    Attributes:
        element: What changed, named once in a comparison: ``columns.note.type``, ``rules.note.minimum``, ``key``,
            ``service_level.latency``, or a place in the document that nothing here acts on.
        compatibility: Whether everybody can go on as before.
        breaks: Whom it breaks; nobody where it is compatible.
        message: What changed, as a sentence.
        why: Why it is classified so, as a sentence.
    """

    element: str
    compatibility: Compatibility
    breaks: tuple[Party, ...]
    message: str
    why: str

    @property
    def column(self) -> str | None:
        """The one column it is about; None where it is about all of them, or about none."""
        if not self.element.startswith("columns."):
            return None
        return self.element.removeprefix("columns.").partition(":")[0].partition(".")[0]

    @property
    def breaks_consumers(self) -> bool:
        """Whether what consumers were promised is taken back."""
        return Party.CONSUMERS in self.breaks


LOOSENED = "Consumers rely on what is no longer promised."
TIGHTENED = "What publishers may write today can be refused."
_BOTH = "Consumers may see values that were excluded, and publishers may be refused values that were allowed."


def compatible(element: str, message: str, why: str) -> ContractChange:
    """Return a change with which everybody can go on as before."""
    return ContractChange(element, Compatibility.COMPATIBLE, (), message, why)


def breaking(element: str, message: str, why: str, *parties: Party) -> ContractChange:
    """Return a change that breaks somebody: consumers, where nobody else is named."""
    return ContractChange(element, Compatibility.BREAKING, parties or (Party.CONSUMERS,), message, why)


def loosened(element: str, message: str) -> ContractChange:
    """Return a change that promises less."""
    return breaking(element, message, LOOSENED)


def tightened(element: str, message: str) -> ContractChange:
    """Return a change that asks more of those who write."""
    return breaking(element, message, TIGHTENED, Party.PUBLISHERS)


def replaced(element: str, message: str) -> ContractChange:
    """Return a change of a rule to one that is neither looser nor stricter, as far as can be told."""
    return breaking(element, message, _BOTH, Party.CONSUMERS, Party.PUBLISHERS)


def documented(element: str, message: str) -> ContractChange:
    """Return a change of words that nothing acts on."""
    return compatible(element, message, "It documents; nothing is enforced by it.")


def documentation_changes(before: Node, after: Node, acting: Collection[str], prefix: str) -> Iterator[ContractChange]:
    """Yield a change for each key of two mappings, but those that act, whose values differ."""
    old, new = before.entries(), after.entries()
    for key in dict.fromkeys((*old, *new)):
        if key in acting:
            continue
        was, becomes = (side[key].plain() if key in side else None for side in (old, new))
        if was != becomes:
            what = "is added" if was is None else "is removed" if becomes is None else "changes"
            yield documented(f"{prefix}{key}", f"{prefix}{key} {what}.")
