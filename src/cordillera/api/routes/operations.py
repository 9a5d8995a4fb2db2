"""The lake itself: what it is, how it does, and what happened in it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from cordillera.api.event_streams import EventStreams
from cordillera.api.parameters import LARGEST_NUMBER, Backend, BeforeNumber, Limit, Text
from cordillera.codec import Page, page
from cordillera.maintenance.results import Orphan
from cordillera.operations.audit import AuditExport
from cordillera.operations.doctor import Finding
from cordillera.ports.metadata.operations import LakeInfo
from cordillera.spec.audit_chain import AUDIT_DATASET, AuditVerification
from cordillera.spec.event import AuditEntry, Event, Task
from cordillera.spec.event_filter import event_filter

router = APIRouter(tags=["operations"])


@router.get("/lake", summary="Show the lake")
def show_lake(backend: Backend) -> LakeInfo:
    """The lake's id, name and place."""
    return backend.info()


@router.get("/lake/findings", summary="Examine the lake")
def list_findings(
    backend: Backend,
    files: Annotated[bool, Query(description="Also look for orphaned files, which lists the whole storage.")] = True,
) -> Page[Finding]:
    """Everything the doctor checks, with what to do."""
    return Page(backend.examine(files=files), None)


@router.get("/lake/orphans", summary="List orphaned files")
def list_orphans(
    backend: Backend,
    older_than_hours: Annotated[
        float, Query(ge=0, le=1_000_000, description="Younger files may belong to a write that is not done.")
    ] = 24.0,
) -> Page[Orphan]:
    """Up to a thousand files that belong to no snapshot."""
    return Page(backend.orphans(older_than_hours), None)


@router.get("/events", summary="List events")
def list_events(
    backend: Backend,
    dataset: Annotated[Text | None, Query(description="Only those of one dataset.")] = None,
    before: BeforeNumber = None,
    limit: Limit = 100,
) -> Page[Event]:
    """Events, newest first."""
    return page(backend.events(dataset=dataset, before=before, limit=limit), limit, lambda event: event.number)


@router.get(
    "/events/stream",
    summary="Follow events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}},
)
async def follow_events(
    request: Request,
    topic: Annotated[list[Text], Query(max_length=100, description="Only of these topics.")] = [],  # noqa: B006
    within: Annotated[list[Text], Query(description="Only about these, or what is in them.")] = [],  # noqa: B006
    after: Annotated[
        int | None, Query(ge=0, le=LARGEST_NUMBER, description="The position to begin behind; the last one by default.")
    ] = None,
    idle_seconds: Annotated[
        float | None, Query(ge=0, allow_inf_nan=False, description="End when nothing has happened for so long.")
    ] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=LARGEST_NUMBER, description="The last `id` received; goes before `after`.")
    ] = None,
) -> StreamingResponse:
    """Events as they are handled, each with its `position` as `id`, its topic as `event` and itself as `data`. A
    comment comes every 15 seconds in which nothing happens. The stream ends with the token that it was asked for with.
    """
    streams: EventStreams = request.app.state.event_streams
    operations, wanted = request.app.state.lake.operations, event_filter(topic, within)
    start = await run_in_threadpool(operations.check_position, after if last_event_id is None else last_event_id)
    streams.check_free()
    frames = streams.frames(request, wanted, start, idle_seconds)
    headers = {"X-Accel-Buffering": "no"}  # nginx would keep events back
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)


@router.get("/audit", summary="List the audit log")
def list_audit(
    backend: Backend,
    object_name: Annotated[Text | None, Query(description="Only entries about one object.")] = None,
    before: BeforeNumber = None,
    limit: Limit = 100,
) -> Page[AuditEntry]:
    """The audit log, newest first."""
    return page(backend.audit(object_name=object_name, before=before, limit=limit), limit, lambda entry: entry.number)


@router.get("/audit/verification", summary="Verify the audit log")
def verify_audit(
    backend: Backend,
    head: Annotated[Text, Query(description="What an earlier look gave; it has to be part of the chain still.")] = "",
    newest: Annotated[
        int | None, Query(ge=1, le=100_000, description="Look at so many of the newest entries only.")
    ] = None,
) -> AuditVerification:
    """Whether an entry was changed, removed or put in since it was chained, and which is the first."""
    return backend.verify_audit(head, newest=newest)


class WantedExport(BaseModel):
    """Where the audit log is to go."""

    dataset: Text = Field(AUDIT_DATASET, description="The dataset; it is made if need be.")


@router.post("/audit/export", summary="Export the audit log")
def export_audit(backend: Backend, wanted: WantedExport) -> AuditExport:
    """Bring what is new in the audit log into a dataset."""
    return backend.export_audit(wanted.dataset)


@router.get("/tasks", summary="List background tasks")
def list_tasks(
    backend: Backend,
    state: Annotated[Text | None, Query(description="queued, running or failed.")] = None,
    after: UUID | None = None,
    limit: Limit = 100,
) -> Page[Task]:
    """Background tasks that wait, run, or were given up."""
    return page(backend.tasks(state=state, after=after, limit=limit), limit, lambda task: task.id)
