"""Rows of targets."""

from __future__ import annotations

import sqlalchemy as sa

from cordillera.adapters.db.grants import forget_securable
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import subscriptions, targets
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import targets_seen
from cordillera.errors import AlreadyExistsError, NotEmptyError
from cordillera.spec.access import Viewer
from cordillera.spec.subscription import Target

TARGET = RowMap(Target, targets)
NOT_ENDED = sa.text(" AND ".join(f"subscriptions.state <> '{state}'" for state in ("revoked", "expired", "refused")))
"""Spelled like the condition of the partial index."""
_BY_NAME = TARGET.lookup(targets.c.name)


class SqlTargetRows:
    """See :class:`cordillera.ports.metadata.subscriptions.TargetRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, target: Target) -> None:
        """Add a target."""
        if not self._session.insert_new(targets, TARGET.values(target)):
            raise AlreadyExistsError(
                f"The target {target.name} exists already.",
                hint="Use it, choose another name, or delete it first: cordillera target delete.",
            )

    def get(self, name: str) -> Target | None:
        """Return a target by name."""
        return _BY_NAME(self._session, name)

    def page(self, after: str, limit: int, *, viewer: Viewer | None = None) -> list[Target]:
        """Return targets by name behind ``after``, those that a viewer may discover."""
        query = TARGET.select().where(targets.c.name > after, *targets_seen(viewer))
        return TARGET.all(self._session, query.order_by(targets.c.name).limit(limit))

    def delete(self, name: str) -> None:
        """Remove a target that no subscription uses."""
        mine = targets.c.name == name
        self._session.lock(sa.select(targets.c.id).where(mine).with_for_update())  # nobody subscribes it meanwhile
        using = sa.select(subscriptions.c.id).where(subscriptions.c.target == name, NOT_ENDED).limit(1)
        if self._session.read(using):
            raise NotEmptyError(f"Subscriptions still use the target {name}.", hint="Revoke them first.")
        forget_securable(self._session, sa.select(targets.c.id).where(mine).scalar_subquery())
        self._session.write(sa.delete(targets).where(mine))
