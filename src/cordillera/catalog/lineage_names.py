"""Lineage follows what is renamed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cordillera.ports.metadata.lineage import LineageRows
from cordillera.spec.lineage import Node, NodeKind


def rename_node(rows: LineageRows, kind: NodeKind, name: str, new_name: str, now: datetime) -> None:
    """Give the edges of a node to the node of another name.

    Args:
        rows: The edges.
        kind, name: The node.
        new_name: What it is called from now on.
        now: The time.
    """
    old, new, edges = Node(kind, name), Node(kind, new_name), []
    for upstream in (True, False):
        count = rows.degree([old], upstream=upstream)[old]
        for edge in rows.neighbours([old], upstream=upstream, limit=count) if count else ():
            edges.append(replace(edge, sink=new) if upstream else replace(edge, source=new))
    rows.remove(old)
    rows.put(edges, now)
