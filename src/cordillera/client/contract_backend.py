"""What can be asked of a lake about contracts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.contracts.service_levels import ServiceLevelStatus
from cordillera.spec.candidate import Candidate
from cordillera.spec.contract import ContractChange, ContractCheck
from cordillera.spec.contract_proposal import AwaitedProposal, ContractProposal


@dataclass(frozen=True, slots=True)
class ContractDetails:
    """A contract in force: the ODCS document, and what is noteworthy about it.

    Attributes:
        revision: Counts the documents put for the dataset version.
        document_version: The version its authors gave it.
        text: The document, byte for byte.
        problems: Where the dataset has more than the contract describes.
        unenforced: What the document states and Cordillera does not check, with the reason.
        costs: By rule, what checking it grows with: the change that is committed, or the table, and why.
    """

    dataset: str
    revision: int
    document_version: str
    status: str
    owner: str
    text: str
    put_by: str
    put_at: str
    rules: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    unenforced: tuple[str, ...] = ()
    service_level: Mapping[str, str] = field(default_factory=dict)
    support: tuple[str, ...] = ()
    costs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContractRevision:
    """A document that was put for a dataset version.

    Attributes:
        revision: Counts them; the highest is in force.
        document_version: The version its authors gave it.
        changes: What differs from the revision before.
    """

    revision: int
    document_version: str
    put_by: str
    put_at: datetime
    changes: tuple[ContractChange, ...]


class ContractBackend(Protocol):
    """The part of ``LakeBackend`` that is about contracts."""

    def put_contract(self, name: str, text: str) -> ContractDetails: ...
    def contract(self, name: str) -> ContractDetails: ...
    def draft_contract(self, name: str) -> str: ...
    def check_contract(self, text: str) -> ContractCheck: ...
    def diff_contract(self, name: str, text: str) -> list[ContractChange]: ...
    def service_level(self, name: str) -> ServiceLevelStatus: ...
    def propose_contract(self, name: str, text: str, *, reason: str, days: int | None = None) -> ContractProposal: ...
    def contract_proposals(self, name: str, before: UUID | None = None, limit: int = 100) -> list[ContractProposal]: ...
    def awaited_proposals(self, before: UUID | None = None, limit: int = 100) -> list[AwaitedProposal]: ...
    def acknowledge_proposal(self, name: str, proposal_id: UUID, comment: str = "") -> ContractProposal: ...
    def override_proposal(self, name: str, proposal_id: UUID, reason: str) -> ContractProposal: ...
    def withdraw_proposal(self, name: str, proposal_id: UUID, reason: str = "") -> ContractProposal: ...
    def candidates(self, name: str) -> list[Candidate]: ...
    def candidate(self, name: str, branch: str) -> Candidate: ...
    def contract_revisions(self, name: str, before: int | None = None, limit: int = 100) -> list[ContractRevision]: ...
