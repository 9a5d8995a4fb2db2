"""Rows of access requests, and of the rules that say who has to approve them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cordillera.adapters.db.holdings import datasets_inside
from cordillera.adapters.db.rows import RowMap
from cordillera.adapters.db.schema import access_approvers, access_requests, approval_rules, datasets, subscriptions
from cordillera.adapters.db.session import Row, Session
from cordillera.adapters.db.visibility import (
    name_seen,
    requests_seen,
    requests_waiting,
)
from cordillera.errors import AlreadyExistsError
from cordillera.spec.access import Privilege, SecurableKind, Viewer
from cordillera.spec.access_request import AccessRequest, ApprovalRule, RequestState, RequestStep

APPROVAL_RULE = RowMap(ApprovalRule, approval_rules)
_NOW_DUE = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = [column for column in access_requests.c if column.name != "asked_name"]
_OPEN = sa.text("access_requests.state = 'requested'")  # spelled like the condition of the partial index
_DUE = sa.text("access_requests.due_at IS NOT NULL")


class SqlAccessRequestRows:
    """See :class:`cordillera.ports.metadata.access_requests.AccessRequestRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def insert(self, request: AccessRequest) -> None:
        """Add a request."""
        row = {**_values(request), "asked_name": request.securable_name}
        if not self._session.insert_new(access_requests, row):
            raise AlreadyExistsError(
                f"{request.requester} has asked for {request.on} already, and waits for an answer.",
                hint="See: cordillera access requests. Withdraw that one to ask otherwise.",
            )
        self._note_approvers(request)

    def put(self, request: AccessRequest) -> None:
        """Store a request as it is by now."""
        self._session.write(
            sa.update(access_requests).where(access_requests.c.id == request.id).values(**_values(request))
        )
        self._session.write(sa.delete(access_approvers).where(access_approvers.c.request_id == request.id))
        self._note_approvers(request)

    def lock(self, request_id: UUID, *, viewer: Viewer | None = None) -> AccessRequest | None:
        """Return a request that a viewer may see, locked."""
        mine = access_requests.c.id == request_id
        self._session.lock(sa.select(access_requests.c.id).where(mine).with_for_update())
        return self.get(request_id, viewer=viewer)

    def object_name(self, request: AccessRequest) -> str | None:
        """Return what a request's object is called now; None if it is gone for good."""
        if request.kind is SecurableKind.LAKE:
            return ""
        if request.kind is SecurableKind.SUBSCRIPTION:  # its name is its id
            there = self._session.read(sa.select(subscriptions.c.id).where(subscriptions.c.id == request.securable_id))
            return str(request.securable_id) if there else None
        mine = access_requests.c.id == request.id
        found = self._session.scalar(sa.select(name_seen(None, access_requests.c.securable_id)).where(mine))
        return None if found is None else str(found)

    def get(self, request_id: UUID, *, viewer: Viewer | None = None) -> AccessRequest | None:
        """Return a request that a viewer may see."""
        query = _select(viewer).where(access_requests.c.id == request_id, *requests_seen(viewer))
        found = self._session.read(query)
        return _load(found[0]) if found else None

    def page(
        self,
        *,
        now: datetime,
        viewer: Viewer | None = None,
        requester: str = "",
        securable_id: UUID | None = None,
        state: RequestState | None = None,
        waiting: bool = False,
        before: UUID | None = None,
        limit: int,
    ) -> list[AccessRequest]:
        """Return requests that a viewer may see, newest first."""
        row = access_requests.c
        query = _select(viewer).where(*requests_seen(viewer))
        if requester:
            query = query.where(row.requester == requester)
        if securable_id is not None:
            query = query.where(row.securable_id == securable_id)
        if waiting:
            query = query.where(_OPEN, *requests_waiting(viewer))
        if state is not None:
            query = query.where(*_standing(state, now))
        if before is not None:
            mark = self._session.read(sa.select(row.requested_at, row.id).where(row.id == before))
            if not mark:
                return []
            query = query.where(sa.tuple_(row.requested_at, row.id) < mark[0])
        query = query.order_by(row.requested_at.desc(), row.id.desc()).limit(limit)
        return [_load(one) for one in self._session.read(query)]

    def approved(self, requester: str, securable_id: UUID, now: datetime) -> list[AccessRequest]:
        """Return, locked, somebody's approved requests on an object that have not expired."""
        row = access_requests.c
        mine = (row.requester == requester, row.securable_id == securable_id)
        query = _select(None).where(*mine, *_standing(RequestState.APPROVED, now))
        return [_load(one) for one in self._session.write_rows(query.with_for_update(of=access_requests))]

    def due(self, now: datetime, limit: int) -> list[UUID]:
        """Return the requests that have to be looked at."""
        query = sa.select(access_requests.c.id).where(_DUE, access_requests.c.due_at <= now)
        return [row.id for row in self._session.read(query.order_by(access_requests.c.due_at).limit(limit))]

    def _note_approvers(self, request: AccessRequest) -> None:
        rows = [
            {"request_id": request.id, "approver": one, "waiting": one in request.waiting_for}
            for one in request.approvers
        ]
        if rows:
            self._session.write(sa.insert(access_approvers), rows)


class SqlApprovalRuleRows:
    """See :class:`cordillera.ports.metadata.access_requests.ApprovalRuleRows`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, rule: ApprovalRule) -> bool:
        """Add a rule; False if there is the same."""
        return self._session.insert_new(approval_rules, APPROVAL_RULE.values(rule))

    def delete(self, tag_expression: str, approver: str) -> bool:
        """Remove a rule; False if there was none."""
        mine = (approval_rules.c.tag_expression == tag_expression, approval_rules.c.approver == approver)
        return self._session.write(sa.delete(approval_rules).where(*mine)) == 1

    def all(self) -> list[ApprovalRule]:
        """Return the rules."""
        return APPROVAL_RULE.all(self._session, APPROVAL_RULE.select().order_by(*approval_rules.primary_key))

    def needed(self, kind: SecurableKind, securable_id: UUID) -> set[str]:
        """Return the approvers of the rules that a live dataset in an object fulfils."""
        return {rule.approver for rule in self.all() if self._concerns(rule.tag_expression, kind, securable_id)}

    def _concerns(self, tag_expression: str, kind: SecurableKind, securable_id: UUID) -> bool:
        inside = datasets_inside(kind, securable_id, tag_expression)
        query = sa.select(datasets.c.id).where(inside, datasets.c.deleted_at.is_(None)).limit(1)
        return bool(self._session.read(query))


def forget_requested(session: Session, securable_id: Any) -> None:
    """Have the requests on an object that goes for good looked at: what is open is refused, what was given is over.

    Args:
        session: The transaction.
        securable_id: Its id, or a query for it.
    """
    unfinished = access_requests.c.state.in_([RequestState.REQUESTED, RequestState.APPROVED])
    mine = (access_requests.c.securable_id == securable_id, unfinished)
    session.write(sa.update(access_requests).where(*mine).values(due_at=_NOW_DUE))


def _select(viewer: Viewer | None) -> sa.Select[Any]:
    name = name_seen(viewer, access_requests.c.securable_id)
    return sa.select(*_KEPT, sa.func.coalesce(name, access_requests.c.asked_name).label("securable_name"))


def _standing(state: RequestState, now: datetime) -> list[sa.ColumnElement[bool]]:
    """Return the condition on requests that stand somewhere by now, whether it is recorded or not."""
    row = access_requests.c
    match state:
        case RequestState.APPROVED:
            return [row.state == state, row.expires_at > now]
        case RequestState.EXPIRED:
            return [sa.or_(row.state == state, sa.and_(row.state == RequestState.APPROVED, row.expires_at <= now))]
        case _:
            return [row.state == state]


def _values(request: AccessRequest) -> dict[str, Any]:
    values = {column.name: getattr(request, column.name) for column in _KEPT}
    return {**values, "steps": [_plain(step) for step in request.steps]}


def _plain(step: RequestStep) -> dict[str, Any]:
    return {**asdict(step), "at": step.at.isoformat()}


def _step(plain: Mapping[str, Any]) -> RequestStep:
    state, at = RequestState(plain["state"]), datetime.fromisoformat(plain["at"])
    lists = {name: tuple(plain.get(name, ())) for name in ("approves", "deputy_of")}
    return RequestStep(**{**plain, "state": state, "at": at, **lists})


def _load(row: Row) -> AccessRequest:
    found = AccessRequest(**row._mapping)
    return replace(
        found,
        privileges=tuple(map(Privilege, found.privileges)),
        granted=tuple(map(Privilege, found.granted)),
        steps=tuple(_step(one) for one in row.steps),
    )
