"""Contract proposals: in a lake in this process, in one behind a server, and of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from cordillera.app import Application
from cordillera.client.backend import LakeBackend
from cordillera.client.connection import Connection, path
from cordillera.codec import Page
from cordillera.spec.access import Privilege
from cordillera.spec.contract_proposal import AwaitedProposal, ContractProposal


class LocalContractProposals:
    """The part of ``LakeBackend`` that is about contract proposals, on the services of an application."""

    app: Application

    def propose_contract(self, name: str, text: str, *, reason: str, days: int | None = None) -> ContractProposal:
        """Ask those whom a document breaks whether it may take effect."""
        return self.app.proposals.propose(
            self.app.catalog.dataset(name, Privilege.ADMINISTER), text, reason=reason, days=days
        )

    def contract_proposals(self, name: str, before: UUID | None = None, limit: int = 100) -> list[ContractProposal]:
        """Return a page of proposals, newest first."""
        return self.app.proposals.page(self.app.catalog.dataset(name, Privilege.DISCOVER), before, limit)

    def awaited_proposals(self, before: UUID | None = None, limit: int = 100) -> list[AwaitedProposal]:
        """Return a page of the proposals that wait for whoever asks, newest first."""
        return self.app.proposals.awaiting(before, limit)

    def acknowledge_proposal(self, name: str, proposal_id: UUID, comment: str = "") -> ContractProposal:
        """Say that a proposal may take effect."""
        target = self.app.catalog.dataset(name, Privilege.DISCOVER)
        return self.app.proposals.acknowledge(target, proposal_id, comment)

    def override_proposal(self, name: str, proposal_id: UUID, reason: str) -> ContractProposal:
        """Put a proposal in force without waiting any longer."""
        return self.app.proposals.override(self.app.catalog.dataset(name, Privilege.DISCOVER), proposal_id, reason)

    def withdraw_proposal(self, name: str, proposal_id: UUID, reason: str = "") -> ContractProposal:
        """Take a proposal back."""
        return self.app.proposals.withdraw(self.app.catalog.dataset(name, Privilege.DISCOVER), proposal_id, reason)


class RemoteContractProposals:
    """The part of ``LakeBackend`` that is about contract proposals, over the HTTP API."""

    _server: Connection

    def propose_contract(self, name: str, text: str, *, reason: str, days: int | None = None) -> ContractProposal:
        """Ask those whom a document breaks whether it may take effect."""
        return self._server.post(ContractProposal, _address(name), {"text": text, "reason": reason, "days": days})

    def contract_proposals(self, name: str, before: UUID | None = None, limit: int = 100) -> list[ContractProposal]:
        """Return a page of proposals, newest first."""
        return self._server.get(Page[ContractProposal], _address(name), before=before, limit=limit).items

    def awaited_proposals(self, before: UUID | None = None, limit: int = 100) -> list[AwaitedProposal]:
        """Return a page of the proposals that wait for whoever asks, newest first."""
        return self._server.get(Page[AwaitedProposal], "contract-proposals", before=before, limit=limit).items

    def acknowledge_proposal(self, name: str, proposal_id: UUID, comment: str = "") -> ContractProposal:
        """Say that a proposal may take effect."""
        return self._decide(name, proposal_id, "acknowledge", comment)

    def override_proposal(self, name: str, proposal_id: UUID, reason: str) -> ContractProposal:
        """Put a proposal in force without waiting any longer."""
        return self._decide(name, proposal_id, "override", reason)

    def withdraw_proposal(self, name: str, proposal_id: UUID, reason: str = "") -> ContractProposal:
        """Take a proposal back."""
        return self._decide(name, proposal_id, "withdraw", reason)

    def _decide(self, name: str, proposal_id: UUID, what: str, reason: str) -> ContractProposal:
        return self._server.post(ContractProposal, f"{_address(name)}/{proposal_id}/{what}", {"reason": reason})


class LakeContractProposals:
    """The part of ``Lake`` that is about contract proposals."""

    backend: LakeBackend

    def awaited_proposals(self) -> Iterator[AwaitedProposal]:
        """Yield the open proposals that wait for you, or for a group or team of yours, newest first."""
        before = None
        while page := self.backend.awaited_proposals(before):
            yield from page
            before = page[-1].proposal.id


class DatasetContractProposals:
    """The part of ``Dataset`` that is about proposals to change its contract."""

    _backend: LakeBackend
    name: str

    def propose_contract(self, text: str, *, reason: str, days: int | None = None) -> ContractProposal:
        """Ask those whom a document breaks whether it may take effect.

        Args:
            text: The ODCS document.
            reason: Why, for those who are asked.
            days: After how many it takes effect, acknowledged or not; by default it waits for everybody.
        """
        return self._backend.propose_contract(self.name, text, reason=reason, days=days)

    def contract_proposals(self, before: UUID | None = None, limit: int = 100) -> list[ContractProposal]:
        """Return a page of proposals to change its contract, newest first."""
        return self._backend.contract_proposals(self.name, before, limit)

    def acknowledge_proposal(self, proposal_id: UUID, comment: str = "") -> ContractProposal:
        """Say, for whomever one speaks, that a proposal may take effect."""
        return self._backend.acknowledge_proposal(self.name, proposal_id, comment)

    def override_proposal(self, proposal_id: UUID, reason: str) -> ContractProposal:
        """Put a proposal in force without waiting any longer; the reason is kept in the audit log."""
        return self._backend.override_proposal(self.name, proposal_id, reason)

    def withdraw_proposal(self, proposal_id: UUID, reason: str = "") -> ContractProposal:
        """Take a proposal back."""
        return self._backend.withdraw_proposal(self.name, proposal_id, reason)


def _address(name: str) -> str:
    return path("datasets", name) + "/contract/proposals"
