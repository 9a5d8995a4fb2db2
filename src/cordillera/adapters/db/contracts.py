"""Rows of contracts."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import contracts, dataset_versions, rule_partials
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.contracts import ContractDocument, KeptPartials
from cordillera.spec.table_metadata import IcebergSnapshot

CONTRACT = RowMap(ContractDocument, contracts)
PARTIALS = RowMap(KeptPartials, rule_partials)
_CURRENT = CONTRACT.lookup(contracts.c.dataset_version_id, order=[contracts.c.revision.desc()])
_PARTIALS = PARTIALS.lookup(rule_partials.c.dataset_version_id)


class SqlContractRows:
    """See :class:`cordillera.ports.metadata.contracts.ContractRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, document: ContractDocument) -> None:
        """Add a revision, which is in force from now on: a commit that was not held to it does not come through."""
        if not self._session.insert_new(contracts, CONTRACT.values(document)):
            raise AlreadyExistsError(f"Revision {document.revision} of the contract exists already.")
        mine = dataset_versions.c.id == document.dataset_version_id
        self._session.write(sa.update(dataset_versions).where(mine).values(contract_revision=document.revision))

    def current(self, version_id: UUID) -> ContractDocument | None:
        """Return the contract in force."""
        return _CURRENT(self._session, version_id)

    def page(self, version_id: UUID, before: int | None = None, limit: int = 100) -> list[ContractDocument]:
        """Return a page of the revisions, newest first."""
        mine = CONTRACT.select().where(contracts.c.dataset_version_id == version_id)
        if before is not None:
            mine = mine.where(contracts.c.revision < before)
        return CONTRACT.all(self._session, mine.order_by(contracts.c.revision.desc()).limit(limit))

    def partials(self, version_id: UUID) -> KeptPartials | None:
        """Return what is kept of a dataset version."""
        found = _PARTIALS(self._session, version_id)
        if found is None:
            return None
        return replace(found, numbers={name: n if n is None else int(n) for name, n in found.numbers.items()})

    def keep_partials(self, partials: KeptPartials) -> None:
        """Keep this of a dataset version, and nothing else."""
        numbers = {name: number if number is None else str(number) for name, number in partials.numbers.items()}
        values = {**PARTIALS.values(partials), "numbers": numbers}
        if not self._session.insert_new(rule_partials, values):
            self._session.write(sa.update(rule_partials).where(_is(partials.dataset_version_id)).values(**values))

    def move_partials(self, version_id: UUID, before: int, after: IcebergSnapshot) -> None:
        """Note that another snapshot has the same rows."""
        mine = (_is(version_id), rule_partials.c.snapshot_id == before)
        moved = {"snapshot_id": after.snapshot_id, "sequence_number": after.sequence_number}
        self._session.write(sa.update(rule_partials).where(*mine).values(**moved))


def _is(version_id: UUID) -> sa.ColumnElement[bool]:
    return rule_partials.c.dataset_version_id == version_id
