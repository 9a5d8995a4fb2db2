"""Rows of views."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.contents import first_seen, views_in
from cordillera.adapters.db.grants import forget_securable
from cordillera.adapters.db.names import free_name, hold_namespace, take_name
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import views
from cordillera.adapters.db.session import Session
from cordillera.spec.access import Viewer
from cordillera.spec.catalog import View

VIEW = RowMap(View, views)
_BY_NAME = VIEW.lookup(views.c.full_name)
_BY_ID = VIEW.lookup(views.c.id)


class SqlViewRows:
    """See :class:`cordillera.ports.metadata.catalog.ViewRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, view: View) -> None:
        """Add a view."""
        hold_namespace(self._session, view.namespace)
        take_name(self._session, view.full_name, view.id)
        self._session.write(sa.insert(views).values({**VIEW.values(view), "full_name": view.full_name}))

    def get(self, namespace: str, name: str, *, lock: bool = False) -> View | None:
        """Return a view by name."""
        full_name = f"{namespace}.{name}"
        if not lock:
            return _BY_NAME(self._session, full_name)
        mine = VIEW.select().where(views.c.full_name == full_name)
        row = self._session.lock(mine.with_for_update(key_share=True))
        return None if row is None else VIEW.load(row)

    def get_by_id(self, view_id: UUID) -> View | None:
        """Return a view by id."""
        return _BY_ID(self._session, view_id)

    def page(self, namespace: str | None, after: str, limit: int, *, viewer: Viewer | None = None) -> list[View]:
        """Return views by full name behind ``after``, those that a viewer may discover."""
        name = views.c.full_name
        return first_seen(self._session, VIEW, views_in(namespace, viewer), (name > after,), (name,), limit)

    def swap(self, view: View, *, expected_location: str) -> bool:
        """Store a view's metadata location anew if it is still the expected one."""
        mine = sa.update(views).where(views.c.id == view.id, views.c.metadata_location == expected_location)
        changed = {"metadata_location": view.metadata_location, "updated_at": view.updated_at}
        return self._session.write(mine.values(changed)) == 1

    def rename(self, view: View) -> None:
        """Store a view's names anew."""
        hold_namespace(self._session, view.namespace)
        take_name(self._session, view.full_name, view.id)
        names = {"namespace": view.namespace, "name": view.name, "full_name": view.full_name}
        mine = sa.update(views).where(views.c.id == view.id)
        self._session.write(mine.values({**names, "updated_at": view.updated_at}))

    def delete(self, view_id: UUID) -> None:
        """Remove a view."""
        free_name(self._session, view_id)
        forget_securable(self._session, view_id)
        self._session.write(sa.delete(views).where(views.c.id == view_id))
