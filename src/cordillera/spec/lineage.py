"""Lineage: which datasets flow into which, through what, and with which columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NodeKind(StrEnum):
    """What a node of the lineage graph is."""

    DATASET = "dataset"
    JOB = "job"
    TARGET = "target"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A node of the lineage graph. A target's table is named ``target:table``."""

    kind: NodeKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """Data flows from ``source`` into ``sink``. ``columns`` maps a sink's column to the source's columns behind it."""

    source: Node
    sink: Node
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """The surroundings of one node.

    Attributes:
        focus: The node asked about.
        edges: Edges within the depth asked for.
        more: Nodes that have further neighbours beyond, with their number.
    """

    focus: Node
    edges: tuple[Edge, ...]
    more: tuple[tuple[Node, int], ...] = ()

    def nodes(self) -> tuple[Node, ...]:
        """Return every node, the focus first."""
        found = {self.focus: None}
        for edge in self.edges:
            found.setdefault(edge.source)
            found.setdefault(edge.sink)
        return tuple(found)
