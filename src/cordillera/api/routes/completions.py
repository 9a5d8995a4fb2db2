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
from cordillera.spec.completion import MOST_AT_ONCE, Completion
from cordillera.spec.completion_rule import CompletionRule, PartitionExplanation, PartitionState, RuleInForce

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0

Partition = Annotated[Text, Path(examples=["2013-01-31"])]

router = APIRouter(prefix="/datasets/{name}", tags=["completions"])


class CompletedPartition(BaseModel):
    """A partition that has become complete."""

    partition: Text = Field(examples=["2013-01-31"])


class CompletedPartitions(BaseModel):
    """Partitions that have become complete together."""

    partitions: list[Text] = Field(min_length=1, max_length=MOST_AT_ONCE, examples=[["2013-01-30", "2013-01-31"]])


class Announcement(BaseModel, extra="forbid"):
    """What a partition will hold."""

    rows: int = Field(ge=0, lt=2**63)
    totals: dict[Text, Text] = Field(
        {}, max_length=100, description="Column → sum, as decimal text.", examples=[{"amount": "1024.50"}]
    )


@router.get("/completions", summary="List completions")
def list_completions(
    backend: Backend,
    name: Name,
    before: Annotated[Text | None, Query(description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[Completion]:
    """The newest completion of each partition, highest label first."""
    return page(backend.completions(name, before, limit), limit, lambda completion: completion.partition)


@router.post("/completions", status_code=201, summary="Declare a partition complete")
def complete(
    backend: Backend, name: Name, completed: CompletedPartition, idempotency_key: IdempotencyKey
) -> Completion:
    """Declare a partition complete as of the current snapshot; doing so again restates it."""
    return backend.complete(name, completed.partition, idempotency_key=idempotency_key)


@router.post("/completions/batch", status_code=201, summary="Declare partitions complete together")
def complete_all(
    backend: Backend, name: Name, completed: CompletedPartitions, idempotency_key: IdempotencyKey
) -> Page[Completion]:
    """Declare partitions complete as of the current snapshot, all of them or none; doing so again restates them."""
    return Page(backend.complete_all(name, completed.partitions, idempotency_key=idempotency_key), None)


@router.get("/completions/{partition:path}", summary="Show a completion")
async def show_completion(
    request: Request,
    backend: Backend,
    name: Name,
    partition: Partition,
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


@router.get("/partitions/{partition:path}", summary="Explain how a partition stands")
def explain_completion(backend: Backend, name: Name, partition: Partition) -> PartitionExplanation:
    """Whether it is complete, restated, or what it waits for."""
    return backend.explain_completion(name, partition)


@router.put("/partitions/{partition:path}", summary="Announce what a partition will hold")
def announce(backend: Backend, name: Name, partition: Partition, announced: Announcement) -> PartitionState:
    """Rows and control totals, which a completion rule with `announced` compares with what is there."""
    return backend.announce(name, partition, announced.rows, announced.totals)


@router.get("/completion-rule", summary="Show the completion rule")
def show_completion_rule(backend: Backend, name: Name) -> RuleInForce | None:
    """When partitions are complete, or null where each is declared."""
    return backend.completion_rule(name)


@router.put("/completion-rule", summary="Set the completion rule")
def put_completion_rule(backend: Backend, name: Name, rule: CompletionRule) -> RuleInForce:
    """Say when partitions are complete, so that nobody need declare them."""
    return backend.put_completion_rule(name, rule)


@router.delete("/completion-rule", status_code=204, summary="Remove the completion rule")
def remove_completion_rule(backend: Backend, name: Name) -> None:
    """Have partitions declared complete one by one again; what is complete stays so."""
    backend.remove_completion_rule(name)
