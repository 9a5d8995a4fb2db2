"""Asking how data flows."""

from __future__ import annotations

from collections.abc import Sequence

from cordillera.errors import InvalidInputError
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.lineage import Edge, LineageGraph, Node, NodeKind

MOST_NEIGHBOURS = 25
_MOST_DEPTH = 10


class LineageService:
    """Reads the lineage graph. Jobs and subscriptions write it when they are made.

    Args:
        store: Keeps the edges.
    """

    def __init__(self, store: MetadataStore) -> None:
        self._store = store

    def around(
        self, node: Node, *, upstream: int = 1, downstream: int = 1, neighbours: int = MOST_NEIGHBOURS
    ) -> LineageGraph:
        """Return the surroundings of a node.

        Args:
            node: The node asked about.
            upstream, downstream: How many datasets away to look; jobs between datasets do not count.
            neighbours: Most neighbours shown of each node; ``more`` counts the rest, in the directions asked for.

        Raises:
            InvalidInputError: If a depth is negative or above 10.
        """
        if not (0 <= upstream <= _MOST_DEPTH and 0 <= downstream <= _MOST_DEPTH):
            raise InvalidInputError(f"Lineage is shown up to {_MOST_DEPTH} datasets away.")
        with self._store.read() as tx:
            above, more_above = _walk(tx, node, upstream, neighbours, up=True) if upstream else ([], {})
            below, more_below = _walk(tx, node, downstream, neighbours, up=False) if downstream else ([], {})
        edges = tuple(sorted({*above, *below}))
        more: dict[Node, int] = {}
        for found in (more_above, more_below):
            for one, count in found.items():
                more[one] = more.get(one, 0) + count
        return LineageGraph(node, edges, tuple(sorted(more.items())))

    def impact(self, dataset: str) -> list[Node]:
        """Return everything downstream of a dataset, nearest first."""
        graph = self.around(Node(NodeKind.DATASET, dataset), upstream=0, downstream=_MOST_DEPTH, neighbours=1000)
        return [node for node in graph.nodes() if node != graph.focus]


def _walk(tx: Transaction, start: Node, depth: int, limit: int, *, up: bool) -> tuple[list[Edge], dict[Node, int]]:
    """Follow edges level by level; a job is passed through to the datasets behind it, and a target ends the flow."""
    edges: list[Edge] = []
    seen, level, remaining = {start}, [start], depth
    while passing := [node for node in level if node.kind is NodeKind.JOB or (remaining > 0 and _leads_on(node, up))]:
        found = tx.lineage.neighbours(passing, upstream=up, limit=limit)
        edges += found
        reached = dict.fromkeys(edge.source if up else edge.sink for edge in found)
        if any(node.kind is not NodeKind.JOB for node in passing):
            remaining -= 1
        level = [node for node in reached if node not in seen]
        seen.update(level)
    return edges, _beyond(tx, seen, edges, up=up)


def _leads_on(node: Node, up: bool) -> bool:
    return up or node.kind is not NodeKind.TARGET


def _beyond(tx: Transaction, nodes: set[Node], edges: Sequence[Edge], *, up: bool) -> dict[Node, int]:
    """Return, for nodes with edges that are not shown, how many."""
    shown: dict[Node, int] = {}
    for edge in edges:
        end = edge.sink if up else edge.source
        shown[end] = shown.get(end, 0) + 1
    degrees = tx.lineage.degree(sorted(nodes), upstream=up)
    return {node: count - shown.get(node, 0) for node, count in degrees.items() if count > shown.get(node, 0)}
