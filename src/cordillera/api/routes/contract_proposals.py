"""Proposals to change contracts."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Limit, Name, Text
from cordillera.codec import Page, page
from cordillera.spec.contract_proposal import MOST_DAYS, AwaitedProposal, ContractProposal

router = APIRouter(prefix="/datasets/{name}/contract/proposals", tags=["contracts"])
awaited = APIRouter(prefix="/contract-proposals", tags=["contracts"])


class ProposedContract(BaseModel):
    """A document that takes back what consumers rely on."""

    text: str = Field(description="An ODCS 3.1 document.", max_length=1024 * 1024)
    reason: Text = Field(description="Why, for those who are asked.", examples=["The column was never filled."])
    days: int | None = Field(
        None, ge=1, le=MOST_DAYS, description="After how many it takes effect, acknowledged or not; null to wait."
    )


class Decision(BaseModel):
    """Why something is decided."""

    reason: Text = ""


@router.post("", status_code=201, summary="Propose a contract")
def propose_contract(backend: Backend, name: Name, proposed: ProposedContract) -> ContractProposal:
    """Ask those whom a document breaks. An open proposal is void then, with what was acknowledged of it."""
    return backend.propose_contract(name, proposed.text, reason=proposed.reason, days=proposed.days)


@router.get("", summary="List proposals")
def list_contract_proposals(
    backend: Backend,
    name: Name,
    before: Annotated[UUID | None, Query(description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[ContractProposal]:
    """Proposals to change the contract, newest first. Who is asked is shown to those who administer the dataset."""
    return page(backend.contract_proposals(name, before, limit), limit, lambda proposal: proposal.id)


@awaited.get("", summary="List the proposals that wait for you")
def list_awaited_proposals(
    backend: Backend,
    before: Annotated[UUID | None, Query(description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[AwaitedProposal]:
    """Open proposals that wait for whomever you speak for, newest first."""
    return page(backend.awaited_proposals(before, limit), limit, lambda one: one.proposal.id)


@router.post("/{proposal_id}/acknowledge", summary="Acknowledge a proposal")
def acknowledge_proposal(backend: Backend, name: Name, proposal_id: UUID, decision: Decision) -> ContractProposal:
    """Say, for whomever one speaks, that it may take effect. With the last of them it does."""
    return backend.acknowledge_proposal(name, proposal_id, decision.reason)


@router.post("/{proposal_id}/override", summary="Override consumers")
def override_proposal(backend: Backend, name: Name, proposal_id: UUID, decision: Decision) -> ContractProposal:
    """Put a proposal in force without waiting any longer, for a reason that the audit log keeps."""
    return backend.override_proposal(name, proposal_id, decision.reason)


@router.post("/{proposal_id}/withdraw", summary="Withdraw a proposal")
def withdraw_proposal(backend: Backend, name: Name, proposal_id: UUID, decision: Decision) -> ContractProposal:
    """Take a proposal back."""
    return backend.withdraw_proposal(name, proposal_id, decision.reason)
