"""Rows of contract proposals."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.contract_proposal import AwaitedProposal, ContractProposal


class ContractProposalRows(Protocol):
    """Proposals to change contracts; of a dataset version, one at most is open."""

    def insert(self, proposal: ContractProposal) -> None:
        """Add a proposal."""

    def put(self, proposal: ContractProposal) -> None:
        """Store a proposal as it is by now."""

    def void(self, version_id: UUID, by: str, at: datetime, outcome: str) -> None:
        """End the open proposal of a dataset version, if there is one."""

    def get(self, proposal_id: UUID) -> ContractProposal | None:
        """Return a proposal."""

    def lock(self, proposal_id: UUID) -> ContractProposal | None:
        """Return a proposal, locked."""

    def page(self, version_id: UUID, before: UUID | None, limit: int) -> list[ContractProposal]:
        """Return a page of a dataset version's proposals, newest first, from behind ``before``."""

    def awaiting(self, viewer: Viewer | None, before: UUID | None, limit: int) -> list[AwaitedProposal]:
        """Return a page of the open proposals that wait for somebody, newest first, from behind ``before``.

        Args:
            viewer: Who that is, with groups and roles; None for whoever speaks for everybody. Proposals about what he
                may not discover are left out.
            before: A proposal.
            limit: The most to return.
        """

    def due(self, now: datetime, limit: int) -> list[ContractProposal]:
        """Return open proposals that have to be looked at."""
