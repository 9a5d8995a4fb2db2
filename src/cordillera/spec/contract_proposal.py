"""Proposals: breaking changes of a contract that consumers are asked about before they take effect.

A proposal is in force once everybody concerned has acknowledged it, at its deadline if it has one, or when an owner
overrides, with a reason. A revised proposal is another one: what was acknowledged before does not count for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import NotAllowedError

MOST_DAYS = 366


class ProposalState(StrEnum):
    """Where a proposal stands."""

    OPEN = "open"
    IN_FORCE = "in force"
    WITHDRAWN = "withdrawn"
    VOID = "void"
    """It was revised, the contract has changed otherwise, or the document does not fit the dataset any more."""


@dataclass(frozen=True, slots=True)
class AskedConsumer:
    """Somebody whom a proposal concerns.

    Attributes:
        consumer: A principal, group or team.
        uses: What of his it concerns, for example ``subscription of bi:orders`` or ``job:sales.daily``.
        acknowledged_by, acknowledged_at: Who has said for him that it may come, and when; empty and None until then.
        deputy_of: The owner for whom that one stood in; empty if he said it by himself.
    """

    consumer: str
    uses: tuple[str, ...]
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    comment: str = ""
    deputy_of: str = ""


@dataclass(frozen=True, slots=True)
class ContractProposal:
    """A document that is to replace the contract in force.

    Attributes:
        base_revision: The contract it was compared with.
        deadline: When it takes effect, acknowledged or not; None if it waits for everybody.
        due_at: When it has to be looked at without anybody asking.
        consumers: Those who are asked.
        outcome: How it ended, as a sentence.
    """

    id: UUID
    dataset_version_id: UUID
    base_revision: int
    text: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    deadline: datetime | None
    due_at: datetime | None
    state: ProposalState
    consumers: tuple[AskedConsumer, ...]
    ended_by: str = ""
    ended_at: datetime | None = None
    outcome: str = ""

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Those who have not acknowledged it."""
        return tuple(one.consumer for one in self.consumers if one.acknowledged_at is None)


@dataclass(frozen=True, slots=True)
class AwaitedProposal:
    """A proposal that waits for somebody, with the name of the dataset version that it is about."""

    dataset: str
    proposal: ContractProposal


def check_open(proposal: ContractProposal) -> None:
    """Refuse to change a proposal that has ended.

    Raises:
        NotAllowedError: Saying how it did.
    """
    if proposal.state is not ProposalState.OPEN:
        raise NotAllowedError(f"The proposal {proposal.id} is {proposal.state}. {proposal.outcome}".rstrip())


def of_consumers(proposal: ContractProposal, shown: Callable[[str], bool]) -> ContractProposal:
    """Return a proposal with those of its consumers alone that may be shown."""
    return replace(proposal, consumers=tuple(one for one in proposal.consumers if shown(one.consumer)))


def acknowledged(
    proposal: ContractProposal, spoken_for: Mapping[str, str], by: str, at: datetime, comment: str
) -> ContractProposal:
    """Return a proposal that somebody has acknowledged; where nobody is left, it is due.

    Args:
        proposal: The proposal.
        spoken_for: The consumers that he speaks for, each with the owner for whom he stands in; empty if for none.
        by: Who that is.
        at: When.
        comment: What he says of it.
    """
    told = tuple(
        replace(one, acknowledged_by=by, acknowledged_at=at, comment=comment, deputy_of=spoken_for[one.consumer])
        if one.consumer in spoken_for and one.acknowledged_at is None
        else one
        for one in proposal.consumers
    )
    after = replace(proposal, consumers=told)
    return after if after.waiting_for else replace(after, due_at=at)


def asking(proposal: ContractProposal, concerned: Mapping[str, Iterable[str]]) -> ContractProposal:
    """Return a proposal that also asks those who have come to be concerned since it was made."""
    asked = {one.consumer for one in proposal.consumers}
    new = tuple(AskedConsumer(name, tuple(uses)) for name, uses in sorted(concerned.items()) if name not in asked)
    return replace(proposal, consumers=(*proposal.consumers, *new), due_at=proposal.deadline) if new else proposal


def ended(proposal: ContractProposal, state: ProposalState, by: str, at: datetime, outcome: str) -> ContractProposal:
    """Return a proposal that has ended."""
    return replace(proposal, state=state, due_at=None, ended_by=by, ended_at=at, outcome=outcome)
