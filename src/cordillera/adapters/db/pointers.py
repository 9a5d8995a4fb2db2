"""Rows of pointers."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import pointers, subscriptions
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.subscriptions import SUBSCRIPTION, select_subscriptions
from cordillera.spec.held_file import HeldFile
from cordillera.spec.subscription import Subscription

HELD = RowMap(HeldFile, pointers)


class SqlPointerRows:
    """See :class:`cordillera.ports.metadata.pointers.PointerRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def hold(self, file: HeldFile) -> None:
        """Note that a target is about to point at a file."""
        self._session.insert_new(pointers, HELD.values(file))

    def of(self, subscription_id: UUID) -> list[HeldFile]:
        """Return the files that a subscription holds, oldest first."""
        query = HELD.select().where(pointers.c.subscription_id == subscription_id)
        return HELD.all(self._session, query.order_by(pointers.c.held_at, pointers.c.metadata_location))

    def held(self, version_id: UUID) -> list[HeldFile]:
        """Return the files of a dataset version that are held."""
        return HELD.all(self._session, HELD.select().where(pointers.c.dataset_version_id == version_id))

    def release(self, subscription_id: UUID, locations: Collection[str]) -> None:
        """Forget that a subscription holds files."""
        mine = pointers.c.subscription_id == subscription_id
        self._session.write(sa.delete(pointers).where(mine, pointers.c.metadata_location.in_(locations)))

    def subscriptions(self, dataset_id: UUID) -> list[Subscription]:
        """Return the subscriptions whose targets point at a dataset's files."""
        pointing = sa.exists().where(pointers.c.subscription_id == subscriptions.c.id)
        query = select_subscriptions().where(subscriptions.c.dataset_id == dataset_id, pointing)
        return SUBSCRIPTION.all(self._session, query.order_by(subscriptions.c.id))
