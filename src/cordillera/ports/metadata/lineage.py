"""Rows of lineage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from cordillera.spec.access import Viewer
from cordillera.spec.lineage import Edge, Node


class LineageRows(Protocol):
    """Edges between datasets, jobs and targets."""

    def lock(self) -> None:
        """Keep others, until the transaction ends, from making one dataset wait for another."""

    def put(self, edges: Sequence[Edge], now: datetime) -> None:
        """Add edges, or renew their columns and time."""

    def remove(self, node: Node) -> None:
        """Remove every edge of a node."""

    def neighbours(
        self, nodes: Sequence[Node], *, upstream: bool, limit: int, viewer: Viewer | None = None
    ) -> list[Edge]:
        """Return edges into (upstream) or out of ``nodes``, at most ``limit`` of each node, in order of names.

        A viewer gets those that he may see both ends of.
        """

    def degree(self, nodes: Sequence[Node], *, upstream: bool, viewer: Viewer | None = None) -> dict[Node, int]:
        """Return how many edges, of those that a viewer may see, lead into (upstream) or out of each node."""
