"""Rows of lineage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from cordillera.spec.lineage import Edge, Node


class LineageRows(Protocol):
    """Edges between datasets, jobs and targets."""

    def put(self, edges: Sequence[Edge], now: datetime) -> None:
        """Add edges, or renew their columns and time."""

    def remove(self, node: Node) -> None:
        """Remove every edge of a node."""

    def neighbours(self, nodes: Sequence[Node], *, upstream: bool, limit: int) -> list[Edge]:
        """Return edges into (upstream) or out of ``nodes``, at most ``limit`` of each node, in order of names."""

    def degree(self, nodes: Sequence[Node], *, upstream: bool) -> dict[Node, int]:
        """Return how many edges lead into (upstream) or out of each node."""
