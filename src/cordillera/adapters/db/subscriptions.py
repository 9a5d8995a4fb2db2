"""Rows of targets and subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.grants import forget_securable
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import datasets, memberships, subscriptions, targets
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import datasets_within, subscriptions_seen, targets_seen
from cordillera.errors import AlreadyExistsError, DatasetNotFoundError, NotEmptyError, TargetNotFoundError
from cordillera.spec.access import USER, SecurableKind, Viewer
from cordillera.spec.subscription import Equality, Subscription, SubscriptionState, Target

TARGET = RowMap(Target, targets)
SUBSCRIPTION = RowMap(Subscription, subscriptions, dataset=datasets.c.full_name)

_STAY_PUT = (SubscriptionState.PAUSED, SubscriptionState.REVOKED)
_ENTRUSTED = sa.text("subscriptions.on_behalf_of <> ''")
_NOT_REVOKED = sa.text("subscriptions.state <> 'revoked'")  # spelled like the condition of the partial index


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
        return TARGET.one(self._session, TARGET.select().where(targets.c.name == name))

    def page(self, after: str, limit: int, *, viewer: Viewer | None = None) -> list[Target]:
        """Return targets by name behind ``after``, those that a viewer may discover."""
        query = TARGET.select().where(targets.c.name > after, *targets_seen(viewer))
        return TARGET.all(self._session, query.order_by(targets.c.name).limit(limit))

    def delete(self, name: str) -> None:
        """Remove a target that no subscription uses."""
        mine = targets.c.name == name
        self._session.lock(sa.select(targets.c.id).where(mine).with_for_update())  # nobody subscribes it meanwhile
        using = sa.select(subscriptions.c.id).where(subscriptions.c.target == name, _NOT_REVOKED).limit(1)
        if self._session.read(using):
            raise NotEmptyError(f"Subscriptions still use the target {name}.", hint="Revoke them first.")
        forget_securable(self._session, sa.select(targets.c.id).where(mine).scalar_subquery())
        self._session.write(sa.delete(targets).where(mine))


class SqlSubscriptionRows:
    """See :class:`cordillera.ports.metadata.subscriptions.SubscriptionRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, subscription: Subscription) -> None:
        """Add a subscription.

        Raises:
            TargetNotFoundError, DatasetNotFoundError: If it names one that does not exist.
        """
        self._lock(targets, targets.c.name == subscription.target, TargetNotFoundError, subscription.target)
        self._lock(datasets, datasets.c.id == subscription.dataset_id, DatasetNotFoundError, subscription.dataset)
        row = {**SUBSCRIPTION.values(subscription), "updated_at": subscription.created_at}
        if not self._session.insert_new(subscriptions, row):
            raise AlreadyExistsError(
                f"Another subscription keeps the table {subscription.target_table!r} of target {subscription.target}.",
                hint="Choose another table, or revoke that subscription.",
            )

    def get(self, subscription_id: UUID, *, viewer: Viewer | None = None) -> Subscription | None:
        """Return a subscription by id, if a viewer may see it."""
        query = _select().where(subscriptions.c.id == subscription_id, *subscriptions_seen(viewer))
        return SUBSCRIPTION.one(self._session, query)

    def page(
        self,
        *,
        dataset_id: UUID | None = None,
        target: str | None = None,
        state: SubscriptionState | None = None,
        after: UUID | None = None,
        limit: int,
        viewer: Viewer | None = None,
    ) -> list[Subscription]:
        """Return subscriptions by id behind ``after``, those that a viewer may see."""
        query = _select().where(*subscriptions_seen(viewer))
        if dataset_id is not None:
            query = query.where(subscriptions.c.dataset_id == dataset_id)
        if target is not None:
            query = query.where(subscriptions.c.target == target)
        if state is not None:
            query = query.where(subscriptions.c.state == state)
        if after is not None:
            query = query.where(subscriptions.c.id > after)
        return SUBSCRIPTION.all(self._session, query.order_by(subscriptions.c.id).limit(limit))

    def entrusted(
        self,
        *,
        principal: str = "",
        inside: tuple[SecurableKind, UUID] | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> list[Subscription]:
        """Return subscriptions that are delivered on somebody's behalf, by id behind ``after``."""
        query = _select().where(_ENTRUSTED)
        if principal:
            query = query.where(subscriptions.c.on_behalf_of.in_(_members(principal)))
        if inside is not None:
            query = query.where(datasets_within(*inside))
        if after is not None:
            query = query.where(subscriptions.c.id > after)
        return SUBSCRIPTION.all(self._session, query.order_by(subscriptions.c.id).limit(limit))

    def set_state(
        self, subscription_id: UUID, state: SubscriptionState, error: str, now: datetime, *, error_code: str = ""
    ) -> None:
        """Change the state and the last error, with its kind; one that is revoked stays so."""
        changed = (
            sa.update(subscriptions)
            .where(subscriptions.c.id == subscription_id, _NOT_REVOKED)
            .values(state=state, last_error=error, error_code=error_code, updated_at=now)
        )
        self._session.write(changed)

    def entrust(self, subscription_id: UUID, on_behalf_of: str) -> None:
        """Change whose privileges deliveries need."""
        mine = subscriptions.c.id == subscription_id
        self._session.write(sa.update(subscriptions).where(mine).values(on_behalf_of=on_behalf_of))

    def note_error(self, subscription_id: UUID, error: str, now: datetime, *, error_code: str = "") -> None:
        """Change the last error only."""
        mine = sa.update(subscriptions).where(subscriptions.c.id == subscription_id, _NOT_REVOKED)
        self._session.write(mine.values(last_error=error, error_code=error_code, updated_at=now))

    def shown(self, subscription_id: UUID) -> str:
        """Return what was shown of the rows that a target holds."""
        query = sa.select(subscriptions.c.shown).where(subscriptions.c.id == subscription_id)
        return str(self._session.scalar(query) or "")

    def advance(
        self, subscription_id: UUID, *, sequence_number: int, schema_id: int, rows: int, now: datetime, shown: str = ""
    ) -> None:
        """Note a delivery.

        One that was paused or revoked while the delivery was under way stays so; where the target stands is noted all
        the same.
        """
        mine = subscriptions.c
        state = sa.case(
            (mine.state.in_(_STAY_PUT), mine.state), else_=sa.literal(SubscriptionState.LIVE, mine.state.type)
        )
        changed = (
            sa.update(subscriptions)
            .where(
                mine.id == subscription_id,
                sa.or_(mine.cursor_sequence.is_(None), mine.cursor_sequence <= sequence_number),
            )
            .values(
                cursor_sequence=sequence_number,
                cursor_schema_id=schema_id,
                rows_delivered=mine.rows_delivered + rows,
                delivered_at=now,
                state=state,
                last_error="",
                error_code="",
                updated_at=now,
                shown=shown,
            )
        )
        self._session.write(changed)

    def set_verification_interval(self, subscription_id: UUID, seconds: int | None) -> None:
        """Change how often a target is verified."""
        mine = subscriptions.c.id == subscription_id
        self._session.write(sa.update(subscriptions).where(mine).values(verify_every_seconds=seconds))

    def note_verification(
        self, subscription_id: UUID, equality: Equality, *, sequence_number: int, drift: str, now: datetime
    ) -> bool:
        """Note what a comparison found; of several at a time, one is told that it is news."""
        mine = sa.update(subscriptions).where(subscriptions.c.id == subscription_id)
        changed = self._session.write(mine.where(subscriptions.c.equality != equality).values(equality=equality)) == 1
        self._session.write(mine.values(verified_at=now, verified_sequence=sequence_number, drift=drift))
        return changed

    def _lock(
        self,
        table: sa.Table,
        condition: sa.ColumnElement[bool],
        missing: type[TargetNotFoundError | DatasetNotFoundError],
        name: str,
    ) -> None:
        """Make sure that a row exists, and goes on to until the transaction ends."""
        query = sa.select(table.c.id).where(condition).with_for_update(read=True, key_share=True)
        if not self._session.lock(query):
            raise missing(f"There is no {'target' if table is targets else 'dataset'} {name}.")


def _members(principal: str) -> sa.CompoundSelect[Any]:
    """Return a principal and whoever is, or was, in it: users by their names without the kind, too."""
    first = sa.select(sa.cast(sa.literal(principal), memberships.c.member.type).label("principal"))
    found = first.cte("below", recursive=True)
    joined = sa.select(memberships.c.member).join(found, memberships.c.container == found.c.principal)
    every = found.union(joined)
    bare = sa.select(sa.func.substr(every.c.principal, len(USER) + 1)).where(every.c.principal.startswith(USER))
    return sa.union_all(sa.select(every.c.principal), bare)


def _select() -> sa.Select[Any]:
    return SUBSCRIPTION.select().join(datasets, datasets.c.id == subscriptions.c.dataset_id)
