"""Rows of the outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cordillera.adapters.db.dataset_versions import lock_version
from cordillera.adapters.db.given import each, given
from cordillera.adapters.db.newest import Key, Newest
from cordillera.adapters.db.prepared import Prepared, Values
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import dataset_versions, datasets, events
from cordillera.adapters.db.seen import Listed, few_versions_and_names
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.visibility import events_seen, versions_seen
from cordillera.spec.access import Viewer
from cordillera.spec.event import Circumstances, Event, Topic
from cordillera.spec.event_filter import EventFilter

EVENT = RowMap(Event, events)

_WAITING = events.c.handled_at.is_(None)
_LOOKED_AT = 10
"""The first events of dataset versions are looked for among so many times as many as are wanted."""
_POSITION_LOCK = 0x45564E54  # any number that no other lock has
_LAST = Prepared(sa.select(sa.func.max(events.c.position)))
_OLDEST = Prepared(EVENT.select().where(_WAITING).order_by(events.c.number).limit(sa.bindparam("most")))
_ANY = Prepared(sa.select(events.c.number).where(_WAITING).limit(1))
_BEHIND = Prepared(
    EVENT.select()
    .where(
        _WAITING,
        sa.or_(
            events.c.number == sa.any_(sa.bindparam("numbers", type_=postgresql.ARRAY(sa.BigInteger))),
            events.c.dataset_version_id == sa.any_(sa.bindparam("versions", type_=postgresql.ARRAY(sa.Uuid))),
        ),
    )
    .order_by(events.c.number)
    .limit(sa.bindparam("most"))
)
"""Locked events and those that follow them in their dataset versions, oldest first."""
OF_VERSIONS = Newest((events.c.dataset_version_id,), (events.c.number,), (0,), events.c.dataset_version_id.is_not(None))
_OF_NAMES = Newest((events.c.dataset,), (events.c.number,), (0,), events.c.dataset_version_id.is_(None))
_OF_NAMED_VERSIONS = Newest(
    (events.c.dataset, events.c.dataset_version_id), (events.c.number,), (0,), events.c.dataset_version_id.is_not(None)
)
_BEHIND_ALL = 2**63 - 1
_SHARED = tuple(field.name for field in fields(Circumstances))
_TOLD = (*_SHARED, "payload")
_INSERT = Prepared(sa.insert(events).returning(events.c.number), _TOLD)


def _versions_named() -> Prepared:
    """Return a query for the dataset versions of which events were told under a name, by stepping to the next."""
    one = events.alias("one").c
    mine, version = one.dataset == sa.bindparam("name"), one.dataset_version_id
    first = sa.select(version).where(mine, version.is_not(None)).order_by(version).limit(1)
    steps = sa.select(first.scalar_subquery().label("id")).cte("steps", recursive=True)
    following = sa.select(version).where(mine, version > steps.c.id).order_by(version).limit(1)
    found = steps.union_all(sa.select(following.scalar_subquery()).where(steps.c.id.is_not(None)))
    return Prepared(sa.select(found.c.id).where(found.c.id.is_not(None)))


_VERSIONS_NAMED = _versions_named()


class SqlEventRows:
    """See :class:`cordillera.ports.metadata.operations.EventRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, told: Circumstances, payload: Mapping[str, Any]) -> int:
        """Add an event and return its number.

        It locks the dataset version, as ``swap`` does, so that the events of a dataset version are numbered in the
        order of their commits.
        """
        self._session.check_writable()
        return int(self._session.rows(_INSERT, {**self._locked(told), "payload": payload})[0][0])

    def append_all(self, told: Circumstances, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Add events that differ by what they tell; see ``append``."""
        self._session.change(_insert_all(self._session.is_postgres), {**self._locked(told), "payloads": payloads})

    def _locked(self, told: Circumstances) -> dict[str, Any]:
        """Return what events share as a row has it, once the dataset version is locked."""
        if told.dataset_version_id is not None:
            lock_version(self._session, told.dataset_version_id)
        return {name: getattr(told, name) for name in _SHARED}

    def unhandled(self, limit: int) -> list[Event]:
        """Return the oldest events that are not handled, locked for this transaction."""
        self._session.check_writable()
        if not self._session.is_postgres:  # the transaction is the only one that writes
            return EVENT.every(self._session, _OLDEST, {"most": limit})
        heads = self._lock_heads(limit)
        if not heads:
            return []
        numbers, versions = zip(*heads, strict=True)
        mine = {"numbers": list(numbers), "versions": [one for one in versions if one is not None], "most": limit}
        return EVENT.every(self._session, _BEHIND, mine)

    def seen(self, numbers: Sequence[int], viewer: Viewer | None) -> list[Event]:
        """Return those of some events that are about what a viewer may discover, by number."""
        query = EVENT.select().where(events.c.number.in_(numbers), *events_seen(viewer))
        return EVENT.all(self._session, query.order_by(events.c.number))

    def mark_handled(self, numbers: Sequence[int], now: datetime) -> None:
        """Note that events have been handled, and give them their places.

        A transaction that does so at the same time waits until this one has ended: so places become visible in their
        order. Numbers do not: a transaction that took one can commit long after others that took later ones.
        """
        if not numbers:
            return
        if self._session.is_postgres:  # SQLite has one writer anyway
            self._session.write_rows(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSITION_LOCK})
        first = self.last_position() + 1
        places = [(number, first + place) for place, number in enumerate(numbers)]
        self._session.change(_mark(self._session.is_postgres), {"places": places, "now": now})

    def last_position(self) -> int:
        """Return the position of the last event that was handled; 0 if none was."""
        return int(self._session.rows(_LAST, {})[0][0] or 0)

    def follow(
        self, wanted: EventFilter, after: int, upto: int, limit: int, viewer: Viewer | None = None
    ) -> list[Event]:
        """Return handled events by position."""
        query = EVENT.select().where(events.c.position > after, events.c.position <= upto, *events_seen(viewer))
        if wanted.topics:
            query = query.where(events.c.topic.in_([Topic(topic) for topic in wanted.topics]))
        if wanted.within:
            inside = (events.c.dataset.startswith(f"{name}.", autoescape=True) for name in wanted.within)
            query = query.where(sa.or_(events.c.dataset.in_(wanted.within), *inside))
        return EVENT.all(self._session, query.order_by(events.c.position).limit(limit))

    def page(
        self, *, dataset: str | None = None, before: int | None = None, limit: int, viewer: Viewer | None = None
    ) -> list[Event]:
        """Return events newest first, those about datasets that a viewer may discover."""
        if dataset is not None:
            return self._of_dataset(dataset, _BEHIND_ALL if before is None else before, limit, viewer)
        query, seen = EVENT.select(), events_seen(viewer)
        if viewer is not None and seen:
            listed = Listed(EVENT, query, seen, (events.c.number,), limit, descending=True)
            return listed.first(self._session, None if before is None else (before,), partial(self._of_few, viewer))
        if before is not None:
            query = query.where(events.c.number < before)
        return EVENT.all(self._session, query.order_by(events.c.number.desc()).limit(limit))

    def _of_dataset(self, name: str, before: int, limit: int, viewer: Viewer | None) -> list[Event]:
        """Return events of what has a name, or had it: the newest of those dataset versions that a viewer may discover.

        So it takes what there are dataset versions of that name, and not what is told of those that are hidden.
        """
        versions = [one for (one,) in self._session.rows(_VERSIONS_NAMED, {"name": name})]
        seen = versions_seen(viewer)
        if versions and seen:
            joined = sa.select(dataset_versions.c.id).join(datasets, datasets.c.id == dataset_versions.c.dataset_id)
            versions = [row.id for row in self._session.read(joined.where(dataset_versions.c.id.in_(versions), *seen))]
        objects = [[name, one.hex] for one in versions]
        numbers = _OF_NAMED_VERSIONS.rows(self._session, objects, (before,), limit)
        of_name = _OF_NAMES.rows(self._session, [[name]], (before,), limit)
        if self.seen(of_name[:1], viewer):  # as it is with one, so it is with all
            numbers += of_name
        query = EVENT.select().where(events.c.number.in_(sorted(numbers)[-limit:]), *events_seen(viewer))
        return EVENT.all(self._session, query.order_by(events.c.number.desc()))

    def _of_few(self, viewer: Viewer, before: Key, limit: int, most: int) -> sa.Select[Any] | None:
        """Return a query for the first events of what a viewer may discover; None if that is much."""
        few = few_versions_and_names(self._session, viewer, most)
        if few is None:
            return None
        versions, names = few
        numbers = OF_VERSIONS.rows(self._session, [[one.hex] for one in versions], before, limit)
        numbers += _OF_NAMES.rows(self._session, [[name] for name in names], before, limit)
        return EVENT.select().where(events.c.number.in_(sorted(numbers)[-limit:]))

    def unhandled_count(self) -> int:
        """Return how many events wait."""
        return int(self._session.scalar(sa.select(sa.func.count()).select_from(events).where(_WAITING)))

    def any_unhandled(self) -> bool:
        """Tell whether events wait."""
        return bool(self._session.rows(_ANY, {}))

    def _lock_heads(self, limit: int) -> Sequence[Values]:
        """Lock the first waiting event of each dataset version, passing over those that others have locked.

        Whoever has the first has the dataset version: nobody takes a later event before the first is handled. They are
        looked for among the oldest events, and only if others have all of those, in every dataset version that waits.
        """
        of_oldest, of_all = _locking(limit)
        return self._session.rows(of_oldest, {}) or self._session.rows(of_all, {})


@lru_cache
def _insert_all(is_postgres: bool) -> Prepared:
    """Return what adds an event for each of some payloads."""
    shared = [sa.bindparam(name, type_=events.c[name].type).label(name) for name in _SHARED]
    query = sa.select(*shared, each("payloads", is_postgres=is_postgres))
    return Prepared(sa.insert(events).from_select(_TOLD, query))


@lru_cache
def _mark(is_postgres: bool) -> Prepared:
    """Return what notes that events have been handled, and their places."""
    handled = given("places", (sa.BigInteger(), sa.BigInteger()), is_postgres=is_postgres).c
    noted = sa.update(events).where(events.c.number == handled.one, _WAITING)
    return Prepared(noted.values(handled_at=sa.bindparam("now", type_=events.c.handled_at.type), position=handled.two))


@lru_cache
def _locking(limit: int) -> tuple[Prepared, Prepared]:
    """Return what locks the first events of dataset versions: those among the oldest that wait, and those of all."""

    def locking(heads: sa.ColumnElement[bool]) -> Prepared:
        query = sa.select(events.c.number, events.c.dataset_version_id).where(_WAITING, heads)
        query = query.order_by(events.c.number).limit(limit)
        return Prepared(query.with_for_update(of=events, skip_locked=True))

    return locking(_heads_of_oldest(limit)), locking(_heads_of_all(limit))


def _heads_of_oldest(limit: int) -> sa.ColumnElement[bool]:
    """Return the condition that an event is the first of its dataset version, and among the oldest that wait."""
    oldest = sa.select(events.c.number, events.c.dataset_version_id).where(_WAITING).order_by(events.c.number)
    one = oldest.limit(_LOOKED_AT * limit).subquery().c
    of_none = sa.case((one.dataset_version_id.is_(None), one.number))  # those of no dataset version are all first ones
    return events.c.number.in_(sa.select(sa.func.min(one.number)).group_by(one.dataset_version_id, of_none))


def _heads_of_all(limit: int) -> sa.ColumnElement[bool]:
    """Return the condition that an event is the first of its dataset version, by stepping from one to the next.

    It costs as much as there are dataset versions with waiting events, and not as there are events.
    """
    one = events.alias("one")
    version, waits = one.c.dataset_version_id, one.c.handled_at.is_(None)
    lowest = sa.select(version).where(waits, version.is_not(None)).order_by(version).limit(1)
    versions = sa.select(lowest.scalar_subquery().label("id")).cte("versions", recursive=True)
    following = sa.select(version).where(waits, version > versions.c.id).order_by(version).limit(1)
    versions = versions.union_all(sa.select(following.scalar_subquery()).where(versions.c.id.is_not(None)))
    head = sa.select(one.c.number).where(waits, version == versions.c.id).order_by(one.c.number).limit(1)
    heads = sa.select(head.scalar_subquery()).where(versions.c.id.is_not(None))
    others = sa.select(one.c.number).where(waits, version.is_(None)).order_by(one.c.number).limit(limit).subquery()
    return events.c.number.in_(sa.union_all(heads, sa.select(others.c.number)))
