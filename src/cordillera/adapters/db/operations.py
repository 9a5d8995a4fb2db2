"""Rows of the lake itself and of the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import audit_entries, lake
from cordillera.adapters.db.session import Session
from cordillera.errors import AlreadyExistsError
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.spec.audit_chain import ChainLink
from cordillera.spec.event import AuditEntry

LAKE = RowMap(LakeInfo, lake)
AUDIT_ENTRY = RowMap(AuditEntry, audit_entries)
_CHAIN_LOCK = 0x41554449  # any number that no other lock has
_CHAIN = (
    sa.update(audit_entries)
    .where(audit_entries.c.number == sa.bindparam("entry"))
    .values(position=sa.bindparam("place"), hash=sa.bindparam("link"))
)

_LAKE = LAKE.lookup()
_NOTED = ("at", "principal", "action", "object_kind", "object_name", "details", "trace_id")
_INSERT_AUDIT_ENTRY = Prepared(sa.insert(audit_entries).inline(), _NOTED)


class SqlLakeRow:
    """See :class:`cordillera.ports.metadata.operations.LakeRow`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self) -> LakeInfo | None:
        """Return the lake."""
        return _LAKE(self._session)

    def put(self, info: LakeInfo) -> None:
        """Describe the lake."""
        if not self._session.insert_new(lake, {**LAKE.values(info), "single": True}):
            raise AlreadyExistsError(
                "The metadata database belongs to a lake already.", hint="Give every lake a database of its own."
            )


class SqlAuditRows:
    """See :class:`cordillera.ports.metadata.operations.AuditRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(
        self,
        *,
        at: datetime,
        principal: str,
        action: str,
        object_kind: str,
        object_name: str,
        details: Mapping[str, Any],
        trace_id: str,
    ) -> None:
        """Add an entry."""
        row = (at, principal, action, object_kind, object_name, details, trace_id)
        self._session.change(_INSERT_AUDIT_ENTRY, dict(zip(_NOTED, row, strict=True)))

    def page(self, *, object_name: str | None = None, before: int | None = None, limit: int) -> list[AuditEntry]:
        """Return entries newest first."""
        query = AUDIT_ENTRY.select()
        if object_name is not None:
            query = query.where(audit_entries.c.object_name == object_name)
        if before is not None:
            query = query.where(audit_entries.c.number < before)
        return AUDIT_ENTRY.all(self._session, query.order_by(audit_entries.c.number.desc()).limit(limit))

    def waiting(self, limit: int) -> list[AuditEntry]:
        """Return entries without a place."""
        waiting = AUDIT_ENTRY.select().where(audit_entries.c.position.is_(None))
        return AUDIT_ENTRY.all(self._session, waiting.order_by(audit_entries.c.number).limit(limit))

    def lock_chain(self) -> AuditEntry | None:
        """Return the chain's last entry, and keep others away from it."""
        if self._session.is_postgres:  # SQLite has one writer anyway
            self._session.write_rows(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
        return self.chain_end()

    def chain(self, links: Sequence[ChainLink]) -> None:
        """Give entries their places."""
        if links:
            self._session.write(
                _CHAIN, [{"entry": one.number, "place": one.position, "link": one.hash} for one in links]
            )

    def chain_end(self) -> AuditEntry | None:
        """Return the chain's last entry."""
        placed = AUDIT_ENTRY.select().where(audit_entries.c.position.is_not(None))
        return AUDIT_ENTRY.one(self._session, placed.order_by(audit_entries.c.position.desc()))

    def chained(self, after: int, limit: int) -> list[AuditEntry]:
        """Return entries by place."""
        behind = AUDIT_ENTRY.select().where(audit_entries.c.position > after)
        return AUDIT_ENTRY.all(self._session, behind.order_by(audit_entries.c.position).limit(limit))
