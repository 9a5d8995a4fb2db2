"""Rows of deputies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import deputies
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import deputies_seen, name_seen
from cordillera.spec.access import Viewer
from cordillera.spec.deputy import Deputy, Duty

DEPUTY = RowMap(Deputy, deputies, securable_name=deputies.c.named_object)
_ACTING = DEPUTY.select().where(
    deputies.c.deputy.in_(sa.bindparam("principals", expanding=True)),
    deputies.c.starts_at <= sa.bindparam("now"),
    deputies.c.ends_at > sa.bindparam("now"),
)


class SqlDeputyRows:
    """See :class:`cordillera.ports.metadata.deputies.DeputyRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, deputy: Deputy) -> None:
        """Add a deputy."""
        values = {**DEPUTY.values(deputy), "named_object": deputy.securable_name}
        self._session.write(sa.insert(deputies), values)

    def get(self, deputy_id: UUID, *, viewer: Viewer | None = None) -> Deputy | None:
        """Return a deputy that a viewer may see."""
        found = self._all(_named_for(viewer).where(deputies.c.id == deputy_id, *deputies_seen(viewer)))
        return found[0] if found else None

    def page(
        self,
        *,
        viewer: Viewer | None = None,
        owner: str = "",
        deputy: str = "",
        after: UUID | None = None,
        limit: int,
    ) -> list[Deputy]:
        """Return deputies that a viewer may see, by id behind ``after``."""
        query = _named_for(viewer).where(*deputies_seen(viewer))
        if owner:
            query = query.where(deputies.c.owner == owner)
        if deputy:
            query = query.where(deputies.c.deputy == deputy)
        if after is not None:
            query = query.where(deputies.c.id > after)
        return self._all(query.order_by(deputies.c.id).limit(limit))

    def end(self, deputy_id: UUID, at: datetime) -> None:
        """Let a deputy's time be over."""
        self._session.write(sa.update(deputies).where(deputies.c.id == deputy_id).values(ends_at=at))

    def lasting(self, owner: str, now: datetime) -> int:
        """Return how many deputies an owner has whose time is not over."""
        mine = (deputies.c.owner == owner, deputies.c.ends_at > now)
        return int(self._session.scalar(sa.select(sa.func.count()).select_from(deputies).where(*mine)) or 0)

    def acting(self, principals: Collection[str], now: datetime) -> list[Deputy]:
        """Return what some principals are deputies in at a time, by id."""
        return sorted(self._all(_ACTING, principals=sorted(principals), now=now), key=lambda one: one.id)

    def _all(self, query: sa.Select[Any], **parameters: object) -> list[Deputy]:
        found = DEPUTY.all(self._session, query, parameters)
        return [replace(one, duties=tuple(map(Duty, one.duties))) for one in found]


def _named_for(viewer: Viewer | None) -> sa.Select[Any]:
    """Return the query for deputies with the names of objects that a viewer may know."""
    known = sa.func.coalesce(name_seen(viewer, deputies.c.securable_id), deputies.c.named_object)
    return sa.select(*(known if column is deputies.c.named_object else column for column in DEPUTY.columns))
