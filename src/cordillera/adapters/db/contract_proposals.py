"""Rows of contract proposals."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import contract_proposals
from cordillera.adapters.db.session import Row, Session
from cordillera.spec.contract_proposal import AskedConsumer, ContractProposal, ProposalState

PROPOSAL = RowMap(ContractProposal, contract_proposals)
_DUE = sa.text("contract_proposals.due_at IS NOT NULL")  # spelled like the condition of the partial index


class SqlContractProposalRows:
    """See :class:`cordillera.ports.metadata.contract_proposals.ContractProposalRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, proposal: ContractProposal) -> None:
        """Add a proposal."""
        self._session.write(sa.insert(contract_proposals), _values(proposal))

    def put(self, proposal: ContractProposal) -> None:
        """Store a proposal as it is by now."""
        mine = contract_proposals.c.id == proposal.id
        self._session.write(sa.update(contract_proposals).where(mine).values(**_values(proposal)))

    def void(self, version_id: UUID, by: str, at: datetime, outcome: str) -> None:
        """End the open proposal of a dataset version, if there is one."""
        row = contract_proposals.c
        mine = sa.update(contract_proposals).where(row.dataset_version_id == version_id, row.state == "open")
        self._session.write(
            mine.values(state=ProposalState.VOID, due_at=None, ended_by=by, ended_at=at, outcome=outcome)
        )

    def get(self, proposal_id: UUID) -> ContractProposal | None:
        """Return a proposal."""
        found = self._session.read(PROPOSAL.select().where(contract_proposals.c.id == proposal_id))
        return _load(found[0]) if found else None

    def lock(self, proposal_id: UUID) -> ContractProposal | None:
        """Return a proposal, locked."""
        mine = PROPOSAL.select().where(contract_proposals.c.id == proposal_id)
        found = self._session.lock(mine.with_for_update())
        return None if found is None else _load(found)

    def page(self, version_id: UUID, before: UUID | None, limit: int) -> list[ContractProposal]:
        """Return a page of a dataset version's proposals, newest first."""
        row = contract_proposals.c
        query = PROPOSAL.select().where(row.dataset_version_id == version_id)
        if before is not None:
            mark = self._session.read(sa.select(row.proposed_at, row.id).where(row.id == before))
            if not mark:
                return []
            query = query.where(sa.tuple_(row.proposed_at, row.id) < mark[0])
        query = query.order_by(row.proposed_at.desc(), row.id.desc()).limit(limit)
        return [_load(one) for one in self._session.read(query)]

    def due(self, now: datetime, limit: int) -> list[ContractProposal]:
        """Return open proposals that have to be looked at."""
        due_at = contract_proposals.c.due_at
        query = PROPOSAL.select().where(_DUE, due_at <= now).order_by(due_at).limit(limit)
        return [_load(one) for one in self._session.read(query)]


def _values(proposal: ContractProposal) -> dict[str, Any]:
    consumers = [
        {**asdict(one), "acknowledged_at": one.acknowledged_at.isoformat() if one.acknowledged_at else None}
        for one in proposal.consumers
    ]
    return {**PROPOSAL.values(proposal), "consumers": consumers}


def _load(row: Row) -> ContractProposal:
    found = PROPOSAL.load(row)
    return replace(
        found,
        state=ProposalState(found.state),
        consumers=tuple(_consumer(one) for one in cast("list[dict[str, Any]]", found.consumers)),
    )


def _consumer(kept: dict[str, Any]) -> AskedConsumer:
    at = kept["acknowledged_at"]
    values = {**kept, "uses": tuple(kept["uses"]), "acknowledged_at": datetime.fromisoformat(at) if at else None}
    return AskedConsumer(**values)
