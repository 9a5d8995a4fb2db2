"""Rows of contracts."""

from __future__ import annotations

from uuid import UUID

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import contracts
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.contracts import ContractDocument

CONTRACT = RowMap(ContractDocument, contracts)

_CURRENT = CONTRACT.lookup(contracts.c.dataset_version_id, order=[contracts.c.revision.desc()])


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
        return _CURRENT(self._session, version_id)

    def page(self, version_id: UUID, before: int | None = None, limit: int = 100) -> list[ContractDocument]:
        """Return a page of the revisions, newest first."""
        mine = CONTRACT.select().where(contracts.c.dataset_version_id == version_id)
        if before is not None:
            mine = mine.where(contracts.c.revision < before)
        return CONTRACT.all(self._session, mine.order_by(contracts.c.revision.desc()).limit(limit))
