"""Rows of grants, memberships of groups and roles, and policy tags."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.access_requests import forget_requested
from cordillera.adapters.db.prepared import Prepared
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import (
    dataset_versions,
    datasets,
    deputies,
    grants,
    memberships,
    namespaces,
    policy_tags,
    targets,
    views,
)
from cordillera.adapters.db.session import Session
from cordillera.adapters.db.tag_sets import change_tags, retag
from cordillera.adapters.db.visibility import grants_seen, name_seen, version_names
from cordillera.spec.access import Grant, Membership, PolicyTag, Privilege, SecurableKind, Viewer
from cordillera.spec.access_tags import inherited
from cordillera.spec.masks import Mask
from cordillera.spec.row_access import EffectiveTags

_NAME = sa.func.coalesce(
    sa.select(namespaces.c.name).where(namespaces.c.id == grants.c.securable_id).scalar_subquery(),
    sa.select(datasets.c.full_name).where(datasets.c.id == grants.c.securable_id).scalar_subquery(),
    version_names().where(dataset_versions.c.id == grants.c.securable_id).scalar_subquery(),
    sa.select(views.c.full_name).where(views.c.id == grants.c.securable_id).scalar_subquery(),
    sa.select(targets.c.name).where(targets.c.id == grants.c.securable_id).scalar_subquery(),
    grants.c.granted_name,  # the lake has none; a subscription's is its id
)
_TAGGED = sa.func.coalesce(
    sa.select(namespaces.c.name).where(namespaces.c.id == policy_tags.c.securable_id).scalar_subquery(),
    sa.select(datasets.c.full_name).where(datasets.c.id == policy_tags.c.securable_id).scalar_subquery(),
    "",
)
GRANT = RowMap(Grant, grants, securable_name=_NAME)
MEMBERSHIP = RowMap(Membership, memberships)
POLICY_TAG = RowMap(PolicyTag, policy_tags, securable_name=_TAGGED, column=policy_tags.c.column_name)

_SAME = ("principal", "privilege", "kind", "securable_id", "tag_expression")
# Spelled like the condition of the partial index, or SQLite does not use it.
_WIDE = sa.text("(grants.kind = 'lake' OR grants.tag_expression <> '')")


class _Tag(NamedTuple):
    """What counts of a policy tag."""

    securable_id: UUID
    column_name: str
    name: str
    value: str
    mask: str


def _lasting(now: sa.BindParameter[datetime]) -> sa.ColumnElement[bool]:
    return sa.or_(memberships.c.expires_at.is_(None), memberships.c.expires_at > now)


def _above(principal: sa.BindParameter[str], now: sa.BindParameter[datetime]) -> sa.CTE:
    """Return a principal with all groups and roles that it is in, also if one should be in itself."""
    found = sa.select(sa.cast(principal, memberships.c.container.type).label("principal")).cte("above", recursive=True)
    mine = sa.and_(memberships.c.member == found.c.principal, _lasting(now))
    return found.union(sa.select(memberships.c.container).join(found, mine))


class SqlGrantRows:
    """See :class:`cordillera.ports.metadata.grants.GrantRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, grant: Grant) -> None:
        """Add a grant, or renew the one that is there."""
        insert = self._session.insert(grants)
        how = ("row_filter", "masks", "tag_masks", "deputy_of")
        renewed = ("grant_option", "granted_by", "granted_at", "expires_at", "reason", "granted_name", *how)
        put = insert.on_conflict_do_update(index_elements=_SAME, set_={name: insert.excluded[name] for name in renewed})
        self._session.write(put, {**GRANT.values(grant), "granted_name": grant.securable_name})

    def find(
        self, principal: str, privilege: Privilege, kind: SecurableKind, securable_id: UUID, tag_expression: str
    ) -> Grant | None:
        """Return the grant of a principal, a privilege, an object and a tag expression."""
        same = zip(_SAME, (principal, privilege, kind, securable_id, tag_expression), strict=True)
        return GRANT.one(self._session, GRANT.select().where(*(grants.c[name] == value for name, value in same)))

    def delete(self, grant_id: UUID) -> bool:
        """Remove a grant; False if there was none."""
        return self._session.write(sa.delete(grants).where(grants.c.id == grant_id)) == 1

    def viewer(self, principal: str, now: datetime) -> Viewer:
        """Return somebody with the groups and roles that he is in, and what he holds on the lake or by tags."""
        rows = self._session.rows(_VIEWER, {"principal": principal, "now": now})
        wide = [GRANT.load(row[1:]) for row in rows if row[1] is not None]
        on_lake = [one for one in wide if one.kind is SecurableKind.LAKE and not one.tag_expression]
        return Viewer(
            frozenset(row[0] for row in rows),
            now,
            frozenset().union(*(one.privileges for one in on_lake)),
            tuple(one for one in wide if one.tag_expression),
            tuple(one for one in on_lake if one.privilege is Privilege.READ),
        )

    def held(self, viewer: Viewer, securable_ids: Sequence[UUID]) -> list[Grant]:
        """Return the grants without tag expression that a viewer holds on objects."""
        wanted = {"objects": securable_ids, "principals": sorted(viewer.principals), "now": viewer.now}
        return GRANT.every(self._session, _HELD, wanted)

    def page(
        self,
        *,
        viewer: Viewer | None = None,
        principals: Collection[str] = (),
        securable_ids: Collection[UUID] = (),
        administered_ids: Collection[UUID] = (),
        after: UUID | None = None,
        limit: int,
    ) -> list[Grant]:
        """Return grants by id behind ``after``."""
        query = _named_for(viewer).where(*grants_seen(viewer))
        if principals:
            query = query.where(grants.c.principal.in_(sorted(principals)))
        if securable_ids:
            administering = grants.c.privilege == Privilege.ADMINISTER
            wide = sa.and_(administering, grants.c.securable_id.in_(sorted(administered_ids)))
            query = query.where(sa.or_(grants.c.securable_id.in_(sorted(securable_ids)), wide))
        if after is not None:
            query = query.where(grants.c.id > after)
        return GRANT.all(self._session, query.order_by(grants.c.id).limit(limit))


class SqlMembershipRows:
    """See :class:`cordillera.ports.metadata.grants.MembershipRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, membership: Membership) -> bool:
        """Add a member, in the place of what has ended; False if it is one already."""
        insert = self._session.insert(memberships)
        put = insert.on_conflict_do_update(
            index_elements=["container", "member"],
            set_={name: insert.excluded[name] for name in ("added_by", "added_at", "expires_at")},
            where=memberships.c.expires_at <= insert.excluded.added_at,
        )
        return self._session.write(put, MEMBERSHIP.values(membership)) == 1

    def delete(self, container: str, member: str) -> bool:
        """Remove a member; False if it was none."""
        mine = sa.and_(memberships.c.container == container, memberships.c.member == member)
        return self._session.write(sa.delete(memberships).where(mine)) == 1

    def delete_from(self, member: str, added_by: str) -> None:
        """Take somebody out of everything that one has put him into."""
        mine = sa.and_(memberships.c.member == member, memberships.c.added_by == added_by)
        self._session.write(sa.delete(memberships).where(mine))

    def above(self, principal: str, now: datetime) -> list[Membership]:
        """Return the memberships that make a principal what it is."""
        return MEMBERSHIP.every(self._session, _MEMBERSHIPS_ABOVE, {"principal": principal, "now": now})

    def members(self, container: str, after: str, limit: int) -> list[Membership]:
        """Return a container's own members by name behind ``after``."""
        query = MEMBERSHIP.select().where(memberships.c.container == container, memberships.c.member > after)
        return MEMBERSHIP.all(self._session, query.order_by(memberships.c.member).limit(limit))

    def containers(self, after: str, limit: int) -> list[str]:
        """Return the groups and roles that have members, by name behind ``after``."""
        query = sa.select(memberships.c.container).where(memberships.c.container > after).distinct()
        return [row.container for row in self._session.read(query.order_by(memberships.c.container).limit(limit))]


class SqlPolicyTagRows:
    """See :class:`cordillera.ports.metadata.grants.PolicyTagRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, tag: PolicyTag) -> None:
        """Set a tag, in the place of what was there."""
        change_tags(self._session)
        insert = self._session.insert(policy_tags)
        row = {**POLICY_TAG.values(tag), "column_name": tag.column}
        put = insert.on_conflict_do_update(
            index_elements=["securable_id", "column_name", "name"],
            set_={name: insert.excluded[name] for name in ("value", "set_by", "set_at", "mask")},
        )
        self._session.write(put, row)
        if not tag.column:
            retag(self._session, tag.kind, tag.securable_id)

    def delete(self, kind: SecurableKind, securable_id: UUID, column: str, name: str) -> bool:
        """Remove a tag; False if there was none."""
        change_tags(self._session)
        mine = (policy_tags.c.securable_id == securable_id, policy_tags.c.column_name == column)
        if self._session.write(sa.delete(policy_tags).where(*mine, policy_tags.c.name == name)) == 0:
            return False
        if not column:
            retag(self._session, kind, securable_id)
        return True

    def of(self, kind: SecurableKind, securable_id: UUID) -> list[PolicyTag]:
        """Return an object's own tags, those of its columns too, by column and name."""
        query = POLICY_TAG.select().where(policy_tags.c.securable_id == securable_id, policy_tags.c.kind == kind)
        return POLICY_TAG.all(self._session, query.order_by(policy_tags.c.column_name, policy_tags.c.name))

    def inherited(self, securable_ids: Sequence[UUID]) -> Mapping[str, str]:
        """Return the tags that count for an object as a whole."""
        levels: dict[UUID, dict[str, str]] = {one: {} for one in securable_ids}
        for securable_id, name, value in self._session.rows(_WHOLE_TAGS, {"objects": securable_ids}):
            levels[securable_id][name] = value
        return inherited(list(levels.values()))

    def any_named(self, name: str, dataset_id: UUID, namespaces: Sequence[str]) -> bool:
        """Tell whether a dataset, a column of it or one of some namespaces has a tag of a name."""
        return bool(self._session.rows(_NAMED, {"name": name, "dataset": dataset_id, "around": namespaces}))

    def effective(self, securable_ids: Sequence[UUID]) -> EffectiveTags:
        """Return the tags that count for an object and its columns."""
        rows = [_Tag(*row) for row in self._session.rows(_TAGS, {"objects": securable_ids})]
        levels: dict[UUID, dict[str, str]] = {one: {} for one in securable_ids}
        columns: dict[str, dict[str, str]] = {}
        masks: dict[str, tuple[Mask, ...]] = {}
        for row in rows:
            if row.column_name:
                columns.setdefault(row.column_name, {})[row.name] = row.value
                more = (Mask(row.mask),) if row.mask else ()
                masks[row.column_name] = (*masks.get(row.column_name, ()), *more)
            else:
                levels[row.securable_id][row.name] = row.value
        return EffectiveTags(inherited(list(levels.values())), columns, masks)


def _named_for(viewer: Viewer | None) -> sa.Select[Any]:
    """Return the query for grants with the names of objects that a viewer may know: what he can no longer discover is
    called what it was when it was granted.
    """
    if viewer is None:
        return GRANT.select()
    known = sa.func.coalesce(name_seen(viewer, grants.c.securable_id), grants.c.granted_name)
    return sa.select(*(known if column is _NAME else column for column in GRANT.columns))


def forget_securable(session: Session, securable_id: Any) -> None:
    """Remove the grants, policy tags and deputies of an object that goes for good, and have requests for it looked at.

    Args:
        session: The transaction.
        securable_id: Its id, or a query for it.
    """
    session.write(sa.delete(grants).where(grants.c.securable_id == securable_id))
    session.write(sa.delete(policy_tags).where(policy_tags.c.securable_id == securable_id))
    session.write(sa.delete(deputies).where(deputies.c.securable_id == securable_id))
    forget_requested(session, securable_id)


def _viewer_query() -> sa.Select[Any]:
    now = sa.bindparam("now", type_=grants.c.granted_at.type)
    above = _above(sa.bindparam("principal", type_=sa.Text), now)
    mine = sa.and_(
        grants.c.principal == above.c.principal,
        _WIDE,
        sa.or_(grants.c.expires_at.is_(None), grants.c.expires_at > now),
    )
    return sa.select(above.c.principal, *GRANT.columns).select_from(above.outerjoin(grants, mine))


_VIEWER = Prepared(_viewer_query())
_NOW = sa.bindparam("now", type_=memberships.c.added_at.type)
_HELD = Prepared(
    GRANT.select().where(
        grants.c.securable_id.in_(sa.bindparam("objects", expanding=True)),
        grants.c.principal.in_(sa.bindparam("principals", expanding=True)),
        grants.c.tag_expression == "",
        sa.or_(grants.c.expires_at.is_(None), grants.c.expires_at > sa.bindparam("now")),
    )
)
_TAGS = Prepared(
    sa.select(*(policy_tags.c[name] for name in _Tag._fields)).where(
        policy_tags.c.securable_id.in_(sa.bindparam("objects", expanding=True))
    )
)
_OF_DATASET = sa.select(sa.bindparam("dataset", type_=policy_tags.c.securable_id.type).label("id"))
_OF_AROUND = sa.select(namespaces.c.id).where(namespaces.c.name.in_(sa.bindparam("around", expanding=True)))
_NAMED = Prepared(
    sa.select(policy_tags.c.name)
    .where(
        policy_tags.c.securable_id.in_(sa.union_all(_OF_DATASET, _OF_AROUND)),
        policy_tags.c.name == sa.bindparam("name"),
    )
    .limit(1)
)
_WHOLE_TAGS = Prepared(
    sa.select(policy_tags.c.securable_id, policy_tags.c.name, policy_tags.c.value).where(
        policy_tags.c.securable_id.in_(sa.bindparam("objects", expanding=True)), policy_tags.c.column_name == ""
    )
)
_ABOVE = _above(sa.bindparam("principal", type_=sa.Text), _NOW)
_MEMBERSHIPS_ABOVE = Prepared(
    MEMBERSHIP.select()
    .join(_ABOVE, sa.and_(memberships.c.member == _ABOVE.c.principal, _lasting(_NOW)))
    .order_by(*memberships.primary_key)
)
