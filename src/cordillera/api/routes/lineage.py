"""Lineage: what is made from what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from cordillera.api.parameters import Backend, Text
from cordillera.spec.lineage import LineageGraph, Node, NodeKind

router = APIRouter(tags=["lineage"])
Depth = Annotated[int, Query(ge=0, le=10, description="How many datasets away to look.")]


@router.get("/lineage", summary="Show lineage")
def show_lineage(
    backend: Backend,
    kind: NodeKind,
    name: Annotated[Text, Query(description="A dataset, a job, or `target:table`.")],
    upstream: Depth = 1,
    downstream: Depth = 1,
) -> LineageGraph:
    """What a dataset, job or target's table is made from, and what is made from it."""
    return backend.lineage(Node(kind, name), upstream=upstream, downstream=downstream)
