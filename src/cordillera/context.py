"""Who is acting, and under which trace, for the request or task at hand.

The context travels with the thread (a ``ContextVar``), so that audit rows, events and logs carry the same principal and
trace id from the API through a commit to the delivery it causes.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to act on a task: valid while the task row still carries this fencing token."""

    task_id: UUID
    fencing_token: int


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The principal and trace of the work in progress, the lease it runs under, and its turn to commit, if any.

    Attributes:
        operator: Whether it is the work of whoever runs the lake, who can open its database anyway: everything is
            allowed. Else it is the principal's, and what he may do is what he was granted.
        read_only: Whether it must change nothing, whatever the principal may do.
        deputy_of: The owners in whose place the principal decides, who could not do it by himself.
    """

    principal: str
    trace_id: str
    lease: Lease | None = None
    turn: UUID | None = None
    operator: bool = False
    read_only: bool = False
    deputy_of: tuple[str, ...] = ()

    @property
    def authority(self) -> str:
        """On whose behalf work is done later that is asked for now: the principal's; empty for the operator's."""
        return "" if self.operator else self.principal


_current: ContextVar[RequestContext | None] = ContextVar("cordillera_context", default=None)


@cache
def local_principal() -> str:
    """Return the operating-system user as a principal name, used by embedded lakes and the command line."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return "user:unknown"


def new_trace_id() -> str:
    """Return a fresh W3C trace id (32 hex digits)."""
    return uuid4().hex


def active() -> RequestContext | None:
    """Return the context of the running request, or None outside one."""
    return _current.get()


def current() -> RequestContext:
    """Return the context of the running request; outside one, the local user as the operator, under a fresh trace."""
    return active() or RequestContext(principal=local_principal(), trace_id=new_trace_id(), operator=True)


@contextmanager
def acting(
    principal: str | None = None,
    trace_id: str | None = None,
    lease: Lease | None = None,
    turn: UUID | None = None,
    *,
    operator: bool | None = None,
    read_only: bool = False,
    deputy_of: tuple[str, ...] = (),
) -> Iterator[RequestContext]:
    """Run the block as ``principal`` under ``trace_id``, ``lease`` and ``turn``; what is not given stays as outside.

    A principal that is given is not the operator, unless ``operator`` says so, and nobody's deputy, unless
    ``deputy_of`` does.
    """
    outer = current()
    if operator is None:
        operator = outer.operator and principal is None
    inner = replace(
        outer,
        principal=principal or outer.principal,
        trace_id=trace_id or outer.trace_id,
        lease=lease or outer.lease,
        turn=turn or outer.turn,
        operator=operator,
        read_only=outer.read_only or read_only,
        deputy_of=deputy_of or (outer.deputy_of if principal is None else ()),
    )
    reset = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(reset)
