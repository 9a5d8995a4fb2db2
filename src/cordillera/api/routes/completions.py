"""Completions: which partitions are complete."""

from __future__ import annotations

import time
from typing import Annotated

import anyio
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cordillera.api.parameters import Backend, IdempotencyKey, Limit, Name, Text
from cordillera.codec import LONGEST_WAIT_SECONDS, Page, page
from cordillera.spec.completion import Completion

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0

router = APIRouter(prefix="/datasets/{name}/completions", tags=["completions"])


class CompletedPartition(BaseModel):
    """A partition that has become complete."""

    partition: Text = Field(examples=["2013-01-31"])


@router.get("", summary="List completions")
def list_completions(
    backend: Backend,
    name: Name,
    before: Annotated[Text | None, Query(description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[Completion]:
    """The newest completion of each partition, highest label first."""
    return page(backend.completions(name, before, limit), limit, lambda completion: completion.partition)


@router.post("", status_code=201, summary="Declare a partition complete")
def complete(
    backend: Backend, name: Name, completed: CompletedPartition, idempotency_key: IdempotencyKey
) -> Completion:
    """Declare a partition complete as of the current snapshot; doing so again restates it."""
    return backend.complete(name, completed.partition, idempotency_key=idempotency_key)


@router.get("/{partition:path}", summary="Show a completion")
async def show_completion(
    request: Request,
    backend: Backend,
    name: Name,
    partition: Annotated[Text, Path(examples=["2013-01-31"])],
    wait: Annotated[
        float, Query(ge=0, allow_inf_nan=False, description="Seconds to wait for one, at most 30 of them.")
    ] = 0.0,
) -> Completion | None:
    """The newest completion of a partition, or null. Waiting keeps no thread of the server."""
    deadline, pause = time.monotonic() + min(wait, LONGEST_WAIT_SECONDS), _FIRST_PAUSE_SECONDS
    while True:
        found = await run_in_threadpool(backend.completion, name, partition)
        remaining = deadline - time.monotonic()
        if found is not None or remaining <= 0 or request.app.state.stopping() or await request.is_disconnected():
            return found
        await anyio.sleep(min(pause, remaining))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
