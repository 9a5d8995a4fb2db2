"""Rows of contracts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import contracts
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.contracts import ContractDocument

CONTRACT = RowMap(ContractDocument, contracts)


class SqlContractRows:
    """See :class:`cordillera.ports.metadata.contracts.ContractRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, document: ContractDocument) -> None:
        """Add a revision."""
        if not self._session.insert_new(contracts, CONTRACT.values(document)):
            raise AlreadyExistsError(f"Revision {document.revision} of the contract exists already.")

    def current(self, version_id: UUID) -> ContractDocument | None:
        """Return the contract in force."""
        return CONTRACT.one(self._session, _newest_first(version_id))

    def page(self, version_id: UUID) -> list[ContractDocument]:
        """Return all revisions, newest first."""
        return CONTRACT.all(self._session, _newest_first(version_id))


def _newest_first(version_id: UUID) -> sa.Select[Any]:
    mine = contracts.c.dataset_version_id == version_id
    return CONTRACT.select().where(mine).order_by(contracts.c.revision.desc())
