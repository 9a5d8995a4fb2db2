"""Events: what happened in the lake, written in the same transaction as the thing itself, handled at least once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from cordillera.spec.access import Privilege, Viewer


class Topic(StrEnum):
    """The kinds of events."""

    SNAPSHOT_COMMITTED = "snapshot.committed"
    SCHEMA_CHANGED = "schema.changed"
    PARTITION_COMPLETED = "partition.completed"
    CONTRACT_PROPOSAL_CHANGED = "contract_proposal.changed"
    SERVICE_LEVEL_CHANGED = "service_level.changed"
    DATASET_CHANGED = "dataset.changed"
    VIEW_CHANGED = "view.changed"
    SUBSCRIPTION_CHANGED = "subscription.changed"
    SUBSCRIPTION_VERIFIED = "subscription.verified"
    RUN_FINISHED = "run.finished"
    ACCESS_REQUEST_CHANGED = "access_request.changed"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What events have in common that are told together.

    Attributes:
        topic: What kind of thing happened.
        at: When.
        principal: Who did it.
        trace_id: Of what it was done for.
        dataset: The name of the dataset it happened to; empty if to none.
        dataset_version_id: The dataset version, if to one.
    """

    topic: Topic
    at: datetime
    principal: str
    trace_id: str
    dataset: str
    dataset_version_id: UUID | None


@dataclass(frozen=True, slots=True)
class Event:
    """An event in the outbox.

    Attributes:
        number: Orders events; within one dataset it is the order of commits.
        dataset_version_id: The dataset version it is about, if one.
        handled_at: When every handler had done its part.
        position: Its place among the events that were handled, by which they are followed; None before. Unlike numbers,
            places become visible in their order.
    """

    number: int
    topic: Topic
    at: datetime
    principal: str
    trace_id: str
    dataset: str
    dataset_version_id: UUID | None
    payload: Mapping[str, Any]
    handled_at: datetime | None = None
    position: int | None = None


def told(event: Event, viewer: Viewer | None) -> Event:
    """Return an event as a viewer who may discover what it is about is told of it; None is the operator.

    Without the values of partitions, which are those of rows: who reads those finds them with the snapshot. And, unless
    he may discover everything, without the names of what else was concerned.
    """
    if viewer is None or viewer.sees_all(Privilege.ADMINISTER):
        return event
    everywhere = viewer.sees_all(Privilege.DISCOVER)
    hidden = {"partitions"} if everywhere else {"partitions", "job"}
    shown = {key: value for key, value in event.payload.items() if key not in hidden}
    if "transaction" in shown and not everywhere:
        shown["transaction"] = {key: value for key, value in shown["transaction"].items() if key != "datasets"}
    return replace(event, payload=shown)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A decision or change that somebody may have to answer for.

    Attributes:
        position, hash: Its place in the chain (``cordillera.spec.audit_chain``); None and empty until it has one.
    """

    number: int
    at: datetime
    principal: str
    action: str
    object_kind: str
    object_name: str
    details: Mapping[str, Any]
    trace_id: str
    position: int | None = None
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of background work.

    Attributes:
        kind: Which handler does it.
        key: At most one task of a kind and key waits at a time; enqueuing it again changes nothing.
        fencing_token: Raised by every lease; a result under an older token is refused.
        target: The target that it works on; empty for none.
    """

    id: UUID
    kind: str
    key: str
    payload: Mapping[str, Any]
    state: str
    attempts: int
    due_at: datetime
    leased_by: str
    lease_until: datetime | None
    fencing_token: int
    last_error: str
    trace_id: str
    created_at: datetime
    target: str = ""


class WorkDone(NamedTuple):
    """How many events were handled and how many tasks were done, or at least tried."""

    events: int
    tasks: int
