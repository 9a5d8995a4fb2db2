"""What has to happen because access has changed: whoever works on somebody's behalf looks again what he may do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import Transaction
from cordillera.spec.access import SecurableKind

WAKE = "follow_access"
"""The kind of the tasks. Their payload says whose access has changed, or to what."""


def wake_principal(tx: Transaction, principal: str, clock: Clock, until: datetime | None = None) -> None:
    """Have looked at what is done for somebody, or for the members of a group or role: now, and when something ends.

    Args:
        tx: The transaction of the change.
        principal: Whose access has changed.
        clock: Time and ids.
        until: When what he was given ends.
    """
    _enqueue(tx, principal, {"principal": principal}, clock)
    if until is not None:
        _enqueue(tx, f"{principal} {until.isoformat()}", {"principal": principal}, clock, until)


def wake_inside(tx: Transaction, kind: SecurableKind, securable_id: UUID, clock: Clock) -> None:
    """Have looked at what is done with the datasets inside an object: it has other tags, another owner or place."""
    payload = {"kind": kind.value, "securable_id": str(securable_id)}
    _enqueue(tx, f"{kind.value} {securable_id}", payload, clock)


def _enqueue(
    tx: Transaction, key: str, payload: Mapping[str, str], clock: Clock, due_at: datetime | None = None
) -> None:
    trace_id = current().trace_id
    tx.tasks.enqueue(clock.new_id(), WAKE, key, payload, now=clock.now(), due_at=due_at, trace_id=trace_id)
