"""Rows of contract proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import awaited_consumers, contract_proposals, dataset_versions, datasets
from cordillera.adapters.db.session import Row, Session
from cordillera.adapters.db.visibility import proposals_waiting, version_names, versions_seen
from cordillera.spec.access import Viewer
from cordillera.spec.contract_proposal import AskedConsumer, AwaitedProposal, ContractProposal, ProposalState

PROPOSAL = RowMap(ContractProposal, contract_proposals)
_OPEN = sa.text("contract_proposals.state = 'open'")  # spelled like the conditions of the partial indexes
_DUE = sa.text("contract_proposals.due_at IS NOT NULL")


class SqlContractProposalRows:
    """See :class:`cordillera.ports.metadata.contract_proposals.ContractProposalRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, proposal: ContractProposal) -> None:
        """Add a proposal."""
        self._session.write(sa.insert(contract_proposals), _values(proposal))
        self._note_awaited(proposal)

    def put(self, proposal: ContractProposal) -> None:
        """Store a proposal as it is by now."""
        mine = contract_proposals.c.id == proposal.id
        self._session.write(sa.update(contract_proposals).where(mine).values(**_values(proposal)))
        self._session.write(sa.delete(awaited_consumers).where(awaited_consumers.c.proposal_id == proposal.id))
        self._note_awaited(proposal)

    def void(self, version_id: UUID, by: str, at: datetime, outcome: str) -> None:
        """End the open proposal of a dataset version, if there is one."""
        row = contract_proposals.c
        mine = (row.dataset_version_id == version_id, _OPEN)
        awaited = awaited_consumers.c.proposal_id.in_(sa.select(row.id).where(*mine))
        self._session.write(sa.delete(awaited_consumers).where(awaited))
        void = {"state": ProposalState.VOID, "due_at": None, "ended_by": by, "ended_at": at, "outcome": outcome}
        self._session.write(sa.update(contract_proposals).where(*mine).values(**void))

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
        query = PROPOSAL.select().where(contract_proposals.c.dataset_version_id == version_id)
        return [_load(one) for one in self._newest(query, before, limit)]

    def awaiting(self, viewer: Viewer | None, before: UUID | None, limit: int) -> list[AwaitedProposal]:
        """Return a page of the open proposals that wait for somebody, newest first."""
        row = contract_proposals.c
        query = (
            version_names()
            .join(contract_proposals, row.dataset_version_id == dataset_versions.c.id)
            .where(proposals_waiting(viewer), datasets.c.deleted_at.is_(None), *versions_seen(viewer))
            .add_columns(*PROPOSAL.columns)
        )
        return [AwaitedProposal(str(one[0]), _load(one[1:])) for one in self._newest(query, before, limit)]

    def due(self, now: datetime, limit: int) -> list[ContractProposal]:
        """Return open proposals that have to be looked at."""
        due_at = contract_proposals.c.due_at
        query = PROPOSAL.select().where(_DUE, due_at <= now).order_by(due_at).limit(limit)
        return [_load(one) for one in self._session.read(query)]

    def _newest(self, query: sa.Select[Any], before: UUID | None, limit: int) -> Sequence[Row]:
        row = contract_proposals.c
        if before is not None:
            mark = self._session.read(sa.select(row.proposed_at, row.id).where(row.id == before))
            if not mark:
                return []
            query = query.where(sa.tuple_(row.proposed_at, row.id) < mark[0])
        return self._session.read(query.order_by(row.proposed_at.desc(), row.id.desc()).limit(limit))

    def _note_awaited(self, proposal: ContractProposal) -> None:
        waiting = proposal.waiting_for if proposal.state is ProposalState.OPEN else ()
        if waiting:
            rows = [{"proposal_id": proposal.id, "consumer": consumer} for consumer in waiting]
            self._session.write(sa.insert(awaited_consumers), rows)


def _values(proposal: ContractProposal) -> dict[str, Any]:
    consumers = [
        {**asdict(one), "acknowledged_at": one.acknowledged_at.isoformat() if one.acknowledged_at else None}
        for one in proposal.consumers
    ]
    return {**PROPOSAL.values(proposal), "consumers": consumers}


def _load(row: Sequence[Any]) -> ContractProposal:
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
