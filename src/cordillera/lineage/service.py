"""Asking how data flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cordillera.catalog.lookup import Lookup
from cordillera.errors import InvalidInputError
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Viewer
from cordillera.spec.lineage import Edge, LineageGraph, Node, NodeKind

MOST_NEIGHBOURS = 25
_MOST_DEPTH = 10


class LineageService:
    """Reads the lineage graph. Jobs and subscriptions write it when they are made.

    Args:
        store: Keeps the edges.
        lookup: Knows who asks; what he may not see is left out.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup) -> None:
        self._store, self._lookup = store, lookup

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
            walk = _Walk(tx, self._lookup.viewer(tx), neighbours)
            above, more_above = walk.along(node, upstream, up=True) if upstream else ([], {})
            below, more_below = walk.along(node, downstream, up=False) if downstream else ([], {})
        edges = tuple(sorted({*above, *below}))
        more: dict[Node, int] = {}
        for found in (more_above, more_below):
            for one, count in found.items():
                more[one] = more.get(one, 0) + count
        return LineageGraph(node, edges, tuple(sorted(more.items())))


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through the graph, as far as a viewer may see it, past so many neighbours of each node."""

    tx: Transaction
    viewer: Viewer | None
    limit: int

    def along(self, start: Node, depth: int, *, up: bool) -> tuple[list[Edge], dict[Node, int]]:
        """Follow edges level by level; a job is passed through to what is behind it, and a target ends the flow."""
        edges: list[Edge] = []
        seen, level, remaining = {start}, [start], depth
        while passing := [
            node for node in level if node.kind is NodeKind.JOB or (remaining > 0 and _leads_on(node, up))
        ]:
            found = self.tx.lineage.neighbours(passing, upstream=up, limit=self.limit, viewer=self.viewer)
            edges += found
            reached = dict.fromkeys(edge.source if up else edge.sink for edge in found)
            if any(node.kind is not NodeKind.JOB for node in passing):
                remaining -= 1
            level = [node for node in reached if node not in seen]
            seen.update(level)
        return edges, self._beyond(seen, edges, up=up)

    def _beyond(self, nodes: set[Node], edges: Sequence[Edge], *, up: bool) -> dict[Node, int]:
        """Return, for nodes with edges that are not shown, how many."""
        shown: dict[Node, int] = {}
        for edge in edges:
            end = edge.sink if up else edge.source
            shown[end] = shown.get(end, 0) + 1
        degrees = self.tx.lineage.degree(sorted(nodes), upstream=up, viewer=self.viewer)
        return {node: count - shown.get(node, 0) for node, count in degrees.items() if count > shown.get(node, 0)}


def _leads_on(node: Node, up: bool) -> bool:
    return up or node.kind is not NodeKind.TARGET
