"""Rows of subscriptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import accumulate, chain
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cordillera.adapters.db.catalog import DATASET
from cordillera.adapters.db.dataset_versions import VERSION
from cordillera.adapters.db.given import given
from cordillera.adapters.db.holdings import datasets_within
from cordillera.adapters.db.newest import Key
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import Lookup, RowMap
from cordillera.adapters.db.schema import (
    dataset_versions,
    datasets,
    deliveries,
    delivery_costs,
    lake,
    memberships,
    skips,
    subscription_changes,
    subscriptions,
    targets,
)
from cordillera.adapters.db.schema.subscriptions import TAKES_DELIVERIES
from cordillera.adapters.db.seen import Listed, few_subscriptions
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.targets import NOT_ENDED, TARGET
from cordillera.adapters.db.visibility import subscriptions_seen
from cordillera.errors import AlreadyExistsError, DatasetNotFoundError, TargetNotFoundError
from cordillera.ports.metadata.subscriptions import ANEW, Standing
from cordillera.spec.access import USER, Privilege, SecurableKind, Viewer, grantable_on, implied_by
from cordillera.spec.delivery_cost import CostQuery, CostsBy, DeliveryCost, month_of, read_place
from cordillera.spec.delivery_record import MOST_KEPT, DeliveryRecord
from cordillera.spec.skip import AHEAD, Skip, SkipState
from cordillera.spec.subscription import Equality, Subscription, SubscriptionChange, SubscriptionState

SUBSCRIPTION = RowMap(Subscription, subscriptions, dataset=datasets.c.full_name)
DELIVERY = RowMap(DeliveryRecord, deliveries)
CHANGE = RowMap(SubscriptionChange, subscription_changes)
SKIP = RowMap(Skip, skips)

_ENTRUSTED = sa.text("subscriptions.on_behalf_of <> ''")
_ASKED = sa.text("subscriptions.request_id IS NOT NULL")


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

    def get(self, subscription_id: UUID) -> Subscription | None:
        """Return a subscription by id."""
        return _BY_ID(self._session, subscription_id)

    def lock(self, subscription_id: UUID) -> Subscription | None:
        """Return the same, locked."""
        self._session.check_writable()
        return _LOCKED(self._session, subscription_id)

    def standing(self, subscription_id: UUID) -> Standing | None:
        """Return where a subscription stands."""
        found = self._session.rows(_STANDING, {"of": subscription_id})
        if not found:
            return None
        own, dataset, version, target, (shown, leaves_out, lake_name) = (found[0][part] for part in _PARTS)
        return Standing(
            SUBSCRIPTION.load(own),
            shown,
            leaves_out,
            DATASET.load(dataset),
            VERSION.load(version),
            None if target[0] is None else TARGET.load(target),
            lake_name or "",
        )

    def held(self, viewer: Viewer | None, subscription_ids: Collection[UUID]) -> Mapping[UUID, frozenset[Privilege]]:
        """Return, by id, the privileges that a viewer holds on subscriptions that he may discover."""
        if not subscription_ids:
            return {}
        more = [one for one in grantable_on(SecurableKind.SUBSCRIPTION) if one is not Privilege.DISCOVER]
        holds = [sa.and_(sa.true(), *subscriptions_seen(viewer, one)).label(one.value) for one in more]
        query = sa.select(subscriptions.c.id, *holds).join(datasets, datasets.c.id == subscriptions.c.dataset_id)
        query = query.where(subscriptions.c.id.in_(sorted(subscription_ids)), *subscriptions_seen(viewer))
        return {
            row.id: frozenset().union(
                {Privilege.DISCOVER}, *(implied_by(one) for one in more if row._mapping[one.value])
            )
            for row in self._session.read(query)
        }

    def asked_by(self, request_id: UUID) -> list[Subscription]:
        """Return, locked, the subscriptions that an access request was made for."""
        query = (
            select_subscriptions().where(subscriptions.c.request_id == request_id, _ASKED).order_by(subscriptions.c.id)
        )
        rows = self._session.write_rows(query.with_for_update(of=subscriptions))
        return [SUBSCRIPTION.load(row) for row in rows]

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
        query, seen = select_subscriptions(), subscriptions_seen(viewer)
        if dataset_id is not None:
            query = query.where(subscriptions.c.dataset_id == dataset_id)
        if target is not None:
            query = query.where(subscriptions.c.target == target)
        if state is not None:
            query = query.where(subscriptions.c.state == state)
        if viewer is not None and seen:
            mine = sa.select(datasets.c.id).where(datasets.c.id == subscriptions.c.dataset_id, *seen)
            # The offset keeps PostgreSQL from going through all datasets for the subscriptions of a page.
            known = mine.correlate(subscriptions).offset(0).exists()
            listed = Listed(SUBSCRIPTION, query, (known,), (subscriptions.c.id,), limit)
            return listed.first(
                self._session, None if after is None else (after,), partial(self._among_few, viewer, query)
            )
        if after is not None:
            query = query.where(subscriptions.c.id > after)
        return SUBSCRIPTION.all(self._session, query.order_by(subscriptions.c.id).limit(limit))

    def _among_few(
        self, viewer: Viewer, query: sa.Select[Any], _after: Key, _limit: int, most: int
    ) -> sa.Select[Any] | None:
        """Return a query for subscriptions, of those that a viewer's are among; None if those are many."""
        few = few_subscriptions(self._session, viewer, most)
        return None if few is None else query.where(subscriptions.c.id.in_(few))

    def followed(self, version_ids: Sequence[UUID], trigger: str) -> set[UUID]:
        """Return those of some dataset versions that subscriptions follow and wait for a trigger of."""
        asked = {"versions": [[one.hex] for one in version_ids], "trigger": trigger}
        return {version_id for (version_id,) in self._session.rows(_followed(self._session.is_postgres), asked)}

    def following(self, version_id: UUID, trigger: str, *, after: UUID | None = None, limit: int) -> list[Subscription]:
        """Return subscriptions that follow a dataset version, take deliveries, and wait for a trigger, by id."""
        given = {"version": version_id, "trigger": trigger, "after": after or _BEFORE_ALL, "most": limit}
        return SUBSCRIPTION.every(self._session, _FOLLOWING, given)

    def entrusted(
        self,
        *,
        principal: str = "",
        inside: tuple[SecurableKind, UUID] | None = None,
        after: UUID | None = None,
        limit: int,
    ) -> list[Subscription]:
        """Return subscriptions that are delivered on somebody's behalf, by id behind ``after``."""
        query = select_subscriptions().where(_ENTRUSTED)
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
        """Change the state and the last error, with its kind; one that has ended stays so."""
        changed = (
            sa.update(subscriptions)
            .where(subscriptions.c.id == subscription_id, NOT_ENDED)
            .values(state=state, last_error=error, error_code=error_code, updated_at=now)
        )
        self._session.write(changed)

    def change_wishes(self, subscription: Subscription, *, anew: bool) -> None:
        """Store what is wished for."""
        wishes = ("mode", "trigger", "columns", "row_filter", "cost_owner")
        values: dict[str, Any] = {name: getattr(subscription, name) for name in wishes}
        if anew:
            values |= {"shown": ANEW, "equality": Equality.UNPROVEN, "drift": ""}
        self._session.write(sa.update(subscriptions).where(subscriptions.c.id == subscription.id).values(values))

    def set_expiry(self, subscription_id: UUID, expires_at: datetime | None) -> None:
        """Change when it ends by itself."""
        mine = subscriptions.c.id == subscription_id
        self._session.write(sa.update(subscriptions).where(mine).values(expires_at=expires_at))

    def note_change(self, subscription_id: UUID, state: SubscriptionState, by: str, at: datetime, reason: str) -> None:
        """Add a step to its history."""
        step = {"subscription_id": subscription_id, "state": state, "by": by, "at": at, "reason": reason}
        self._session.write(sa.insert(subscription_changes).values(step).inline())

    def history(self, subscription_id: UUID, *, before: int | None = None, limit: int) -> list[SubscriptionChange]:
        """Return its steps, newest first."""
        query = CHANGE.select().where(subscription_changes.c.subscription_id == subscription_id)
        if before is not None:
            query = query.where(subscription_changes.c.number < before)
        return CHANGE.all(self._session, query.order_by(subscription_changes.c.number.desc()).limit(limit))

    def note_delivery(self, record: DeliveryRecord) -> None:
        """Add a delivery's figures, and forget those of deliveries long ago."""
        values = DELIVERY.values(record)
        self._session.change(_INSERT_DELIVERY, {name: values[name] for name in _NOTED})
        self._session.change(_FORGET_DELIVERIES, {"of": record.subscription_id})
        taken = (1, record.rows_upserted + record.rows_deleted, record.bytes, record.seconds)
        of = (month_of(record.at), record.cost_owner, record.subscription_id)
        cost = dict(zip((*_COST_OF, *_TAKEN), (*of, *taken), strict=True))
        self._session.change(_add_cost(self._session.is_postgres), cost)

    def costs(
        self, asked: CostQuery, *, after: str = "", limit: int, viewer: Viewer | None = None
    ) -> list[DeliveryCost]:
        """Return costs by month, cost owner and subscription, behind the place ``after``."""
        cost, whose = delivery_costs.c, subscriptions.c
        singly = asked.by is CostsBy.SUBSCRIPTION
        figures = [cost.deliveries, cost.rows, cost.bytes, cost.seconds]
        sums = figures if singly else [sa.func.sum(figure) for figure in figures]
        group: list[sa.ColumnElement[Any]] = [cost.month, cost.cost_owner, *([cost.subscription_id] if singly else [])]
        named = [cost.subscription_id, datasets.c.full_name, whose.target] if singly else []
        query = sa.select(cost.month, cost.cost_owner, *sums, *named).select_from(delivery_costs)
        query = query.join(subscriptions, whose.id == cost.subscription_id)
        query = query.join(datasets, datasets.c.id == whose.dataset_id).where(cost.month >= asked.since)
        query = query.where(*subscriptions_seen(viewer, Privilege.READ))
        if asked.until:
            query = query.where(cost.month <= asked.until)
        if asked.cost_owner:
            query = query.where(cost.cost_owner == asked.cost_owner)
        if asked.subscription_id is not None:
            query = query.where(cost.subscription_id == asked.subscription_id)
        if after:
            month, owner, subscription_id = read_place(after)
            place = (month, owner, *([subscription_id or _BEFORE_ALL] if singly else []))
            query = query.where(sa.tuple_(*group) > place)
        if not singly:
            query = query.group_by(*group)
        query = query.order_by(*group).limit(limit)
        return [
            DeliveryCost(row[0], row[1], int(row[2]), int(row[3]), int(row[4]), float(row[5]), *row[6:])
            for row in self._session.read(query)
        ]

    def deliveries(self, subscription_id: UUID, *, before: int | None = None, limit: int) -> list[DeliveryRecord]:
        """Return the figures of its deliveries, newest first."""
        query = DELIVERY.select().where(deliveries.c.subscription_id == subscription_id)
        if before is not None:
            query = query.where(deliveries.c.number < before)
        return DELIVERY.all(self._session, query.order_by(deliveries.c.number.desc()).limit(limit))

    def add_skip(self, skip: Skip) -> None:
        """Add snapshots that deliveries leave out."""
        values = SKIP.values(skip)
        del values["number"]
        self._session.write(sa.insert(skips).values(values).inline())

    def skips(self, subscription_id: UUID, *states: SkipState) -> list[Skip]:
        """Return what deliveries leave out, oldest first."""
        return SKIP.every(self._session, _SKIPS, {"of": subscription_id, "states": states or tuple(SkipState)})

    def settle_skips(
        self, subscription_id: UUID, before: Collection[SkipState], after: SkipState, *, upto: int
    ) -> None:
        """Change the state of skips that end no later than a snapshot."""
        self._session.change(_settle(tuple(before)), {"of": subscription_id, "upto": upto, "state": after})

    def remove_skip(self, number: int) -> bool:
        """Remove a skip that is waiting."""
        gone = sa.delete(skips).where(skips.c.number == number, skips.c.state == SkipState.WAITING)
        return self._session.write(gone) > 0

    def entrust(self, subscription_id: UUID, on_behalf_of: str) -> None:
        """Change whose privileges deliveries need."""
        mine = subscriptions.c.id == subscription_id
        self._session.write(sa.update(subscriptions).where(mine).values(on_behalf_of=on_behalf_of))

    def note_error(self, subscription_id: UUID, error: str, now: datetime, *, error_code: str = "") -> None:
        """Change the last error only."""
        mine = sa.update(subscriptions).where(subscriptions.c.id == subscription_id, NOT_ENDED)
        self._session.write(mine.values(last_error=error, error_code=error_code, updated_at=now))

    def shown(self, subscription_id: UUID) -> str:
        """Return what was shown of the rows that a target holds."""
        found = self._session.rows(_SHOWN, {"of": subscription_id})
        return str(found[0][0]) if found else ""

    def advance(
        self, subscription_id: UUID, *, sequence_number: int, schema_id: int, rows: int, now: datetime, shown: str = ""
    ) -> None:
        """Note a delivery; where the target stands is noted in any state."""
        reached = {"sequence": sequence_number, "schema_id": schema_id, "rows": rows, "now": now, "shown_by_now": shown}
        self._session.change(_ADVANCE, {"advanced": subscription_id, **reached})

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


def select_subscriptions() -> sa.Select[Any]:
    """Return the query of subscriptions, which have their dataset's name."""
    return SUBSCRIPTION.select().join(datasets, datasets.c.id == subscriptions.c.dataset_id)


_BEFORE_ALL = UUID(int=0)
_ONE = select_subscriptions().where(subscriptions.c.id == sa.bindparam("given_0"))
_BY_ID, _LOCKED = Lookup(SUBSCRIPTION, _ONE), Lookup(SUBSCRIPTION, _ONE.with_for_update(of=subscriptions))
_AHEAD = sa.or_(*(skips.c.state == one for one in AHEAD))
_LEAVES_OUT = sa.exists(sa.literal(1)).where(skips.c.subscription_id == subscriptions.c.id, _AHEAD)
_LAKE = sa.select(lake.c.name).where(lake.c.single == sa.literal(True)).scalar_subquery()
_ALONE = [subscriptions.c.shown, _LEAVES_OUT, _LAKE]
_STANDING_COLUMNS = (SUBSCRIPTION.columns, DATASET.columns, VERSION.columns, TARGET.columns, _ALONE)
_ENDS = list(accumulate(map(len, _STANDING_COLUMNS)))
_PARTS = [slice(end - len(columns), end) for end, columns in zip(_ENDS, _STANDING_COLUMNS, strict=True)]
_STANDING = Prepared(
    sa.select(*chain(*_STANDING_COLUMNS))
    .select_from(subscriptions)
    .join(datasets, datasets.c.id == subscriptions.c.dataset_id)
    .join(dataset_versions, dataset_versions.c.id == subscriptions.c.dataset_version_id)
    .outerjoin(targets, targets.c.name == subscriptions.c.target)
    .where(subscriptions.c.id == sa.bindparam("of"))
)
_SHOWN = Prepared(sa.select(subscriptions.c.shown).where(subscriptions.c.id == sa.bindparam("of")))
_FOLLOWING = Prepared(
    select_subscriptions()
    .where(
        subscriptions.c.dataset_version_id == sa.bindparam("version"),
        subscriptions.c.trigger == sa.bindparam("trigger"),
        subscriptions.c.id > sa.bindparam("after"),
        sa.text(f"subscriptions.{TAKES_DELIVERIES}"),
    )
    .order_by(subscriptions.c.id)
    .limit(sa.bindparam("most"))
)


@lru_cache
def _followed(is_postgres: bool) -> Prepared:
    """Return a query for the dataset versions that are followed, of those in ``versions``."""
    one, asked = subscriptions.c, given("versions", (subscriptions.c.dataset_version_id.type,), is_postgres=is_postgres)
    follows = sa.exists(sa.literal(1)).where(
        one.dataset_version_id == asked.c.one,
        one.trigger == sa.bindparam("trigger"),
        sa.text(f"subscriptions.{TAKES_DELIVERIES}"),
    )
    return Prepared(sa.select(asked.c.one).where(follows))


_REACHED: sa.BindParameter[int] = sa.bindparam("sequence", type_=subscriptions.c.cursor_sequence.type)
_NOW: sa.BindParameter[datetime] = sa.bindparam("now", type_=subscriptions.c.updated_at.type)
_ADVANCE = Prepared(
    sa.update(subscriptions)
    .where(
        subscriptions.c.id == sa.bindparam("advanced"),
        sa.or_(subscriptions.c.cursor_sequence.is_(None), subscriptions.c.cursor_sequence <= _REACHED),
    )
    .values(
        cursor_sequence=_REACHED,
        cursor_schema_id=sa.bindparam("schema_id"),
        rows_delivered=subscriptions.c.rows_delivered + sa.bindparam("rows"),
        delivered_at=_NOW,
        last_error="",
        error_code="",
        updated_at=_NOW,
        shown=sa.bindparam("shown_by_now"),
    )
)
_SKIPS = Prepared(
    SKIP.select()
    .where(skips.c.subscription_id == sa.bindparam("of"), skips.c.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(skips.c.number)
)
_NOTED = [name for name in DELIVERY.stored if name != "number"]
_INSERT_DELIVERY = Prepared(sa.insert(deliveries).inline(), _NOTED)
_OF_ONE = deliveries.c.subscription_id == sa.bindparam("of")
_LAST_KEPT = sa.select(deliveries.c.number).where(_OF_ONE).order_by(deliveries.c.number.desc()).offset(MOST_KEPT)
_FORGET_DELIVERIES = Prepared(
    sa.delete(deliveries).where(_OF_ONE, deliveries.c.number <= _LAST_KEPT.limit(1).scalar_subquery())
)
_COST_OF, _TAKEN = ("month", "cost_owner", "subscription_id"), ("deliveries", "rows", "bytes", "seconds")


@lru_cache
def _add_cost(is_postgres: bool) -> Prepared:
    insert = postgresql.insert(delivery_costs) if is_postgres else sqlite.insert(delivery_costs)
    sums = {name: delivery_costs.c[name] + insert.excluded[name] for name in _TAKEN}
    return Prepared(insert.on_conflict_do_update(index_elements=_COST_OF, set_=sums), [*_COST_OF, *_TAKEN])


@lru_cache
def _settle(before: tuple[SkipState, ...]) -> Prepared:
    passed = (skips.c.subscription_id == sa.bindparam("of"), skips.c.last_sequence <= sa.bindparam("upto"))
    of_these = sa.or_(*(skips.c.state == one for one in before))
    return Prepared(sa.update(skips).where(*passed, of_these), ["state"])
