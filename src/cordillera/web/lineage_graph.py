"""Laying out the lineage graph as boxes and curves, so that a template can draw it as SVG.

Nodes stand in columns by their distance from the focus, sources to the left. The work is linear in the graph, and the
graph is bounded by whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cordillera.spec.lineage import Edge, LineageGraph, Node, NodeKind
from cordillera.web.formatting import shortened
from cordillera.web.links import link

_BOX_WIDTH, _BOX_HEIGHT = 216, 48
_COLUMN_STEP, _ROW_STEP, _MARGIN = 300, 76, 16
_LONGEST_NAME = 27


@dataclass(frozen=True, slots=True)
class Box:
    """A node as it is drawn.

    Attributes:
        more: Neighbours that are not shown.
        expand: Where they are shown; empty where that is nowhere.
    """

    node: Node
    label: str
    href: str
    x: int
    y: int
    focus: bool
    more: int
    expand: str


@dataclass(frozen=True, slots=True)
class Curve:
    """An edge as it is drawn, with the place of its column count and what to click for the columns."""

    path: str
    middle: tuple[int, int]
    columns: int
    href: str
    selected: bool
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The graph as it is drawn, in pixels."""

    width: int
    height: int
    box_width: int
    box_height: int
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


def combine(graph: LineageGraph, expansion: LineageGraph) -> LineageGraph:
    """Return the graph with the surroundings of one more of its nodes."""
    edges = dict.fromkeys((*graph.edges, *expansion.edges))
    more = {node: count for node, count in graph.more if node != expansion.focus} | dict(expansion.more)
    return LineageGraph(graph.focus, tuple(sorted(edges)), tuple(sorted(more.items())))


def distances(graph: LineageGraph) -> dict[Node, int]:
    """Return how far each node is from the focus: negative upstream, positive downstream."""
    sinks: dict[Node, list[Node]] = {}
    sources: dict[Node, list[Node]] = {}
    for edge in graph.edges:
        sinks.setdefault(edge.source, []).append(edge.sink)
        sources.setdefault(edge.sink, []).append(edge.source)
    found = {graph.focus: 0}
    for neighbours, step in ((sources, -1), (sinks, 1)):
        level = [graph.focus]
        while level:
            reached = dict.fromkeys(other for node in level for other in neighbours.get(node, ()) if other not in found)
            found.update(dict.fromkeys(reached, found[level[0]] + step))
            level = list(reached)
    return {node: found.get(node, 0) for node in graph.nodes()}


def draw(graph: LineageGraph, here: str, expanded: Sequence[str], selected: str) -> Drawing:
    """Lay a graph out.

    Args:
        graph: The graph.
        here: The path of the page it is on.
        expanded: Nodes (as text) whose further neighbours are shown already.
        selected: The edge (as ``edge_name``) whose columns are shown.
    """
    distance = distances(graph)
    places = _places(distance, graph.edges)
    more = dict(graph.more)
    first, last = min(distance.values()), max(distance.values())
    boxes = tuple(
        Box(
            node=node,
            label=shortened(node.name, _LONGEST_NAME),
            href=node_href(node),
            x=x,
            y=y,
            focus=node == graph.focus,
            more=more.get(node, 0),
            expand=_expand_href(node, graph.focus, here, expanded) if more.get(node) else "",
        )
        for node, (x, y) in places.items()
    )
    curves = tuple(_curve(edge, places, here, expanded, selected) for edge in graph.edges)
    height = max(box.y for box in boxes) + _BOX_HEIGHT + 2 * _MARGIN
    width = (last - first) * _COLUMN_STEP + _BOX_WIDTH + 2 * _MARGIN
    return Drawing(width, height, _BOX_WIDTH, _BOX_HEIGHT, boxes, curves)


def edge_name(edge: Edge) -> str:
    """Return how a URL calls an edge."""
    return f"{edge.source}>{edge.sink}"


def node_href(node: Node) -> str:
    """Return where a node has its page."""
    match node.kind:
        case NodeKind.DATASET:
            return link(f"/datasets/{node.name}", tab="lineage")
        case NodeKind.JOB:
            return link(f"/jobs/{node.name}")
        case NodeKind.TARGET:
            return link("/subscriptions", target=node.name.partition(":")[0])


def _places(distance: Mapping[Node, int], edges: Iterable[Edge]) -> dict[Node, tuple[int, int]]:
    """Return where each box is. A column is ordered by where its neighbours nearer to the focus stand."""
    columns: dict[int, list[Node]] = {}
    for node, steps in distance.items():
        columns.setdefault(steps, []).append(node)
    nearer: dict[Node, list[Node]] = {}
    for edge in edges:
        for node, other in ((edge.source, edge.sink), (edge.sink, edge.source)):
            if abs(distance[other]) < abs(distance[node]):
                nearer.setdefault(node, []).append(other)
    tallest, first = max(map(len, columns.values())), min(columns)
    places: dict[Node, tuple[int, int]] = {}
    for steps in sorted(columns, key=abs):
        rows = {node: [places[other][1] for other in nearer.get(node, ())] for node in columns[steps]}
        column = sorted(columns[steps], key=lambda node: (_mean(rows[node]), node))
        top = _MARGIN + (tallest - len(column)) * _ROW_STEP // 2
        for row, node in enumerate(column):
            places[node] = (_MARGIN + (steps - first) * _COLUMN_STEP, top + row * _ROW_STEP)
    return places


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _curve(
    edge: Edge, places: Mapping[Node, tuple[int, int]], here: str, expanded: Sequence[str], selected: str
) -> Curve:
    (source_x, source_y), (x2, sink_y) = places[edge.source], places[edge.sink]
    x1, y1, y2 = source_x + _BOX_WIDTH, source_y + _BOX_HEIGHT // 2, sink_y + _BOX_HEIGHT // 2
    bend = max(abs(x2 - x1) // 2, 24)
    name = edge_name(edge)
    return Curve(
        path=f"M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}",
        middle=((x1 + x2) // 2, (y1 + y2) // 2),
        columns=len(edge.columns),
        href=link(here, "columns", tab="lineage", expand=expanded, edge=name),
        selected=name == selected,
        label=f"{edge.source.name} → {edge.sink.name}",
    )


def _expand_href(node: Node, focus: Node, here: str, expanded: Sequence[str]) -> str:
    """Return where a node's further neighbours are shown; one that has been expanded has more than fit on a page."""
    if node == focus or str(node) in expanded:
        return ""
    return link(here, "graph", tab="lineage", expand=[*expanded, str(node)])
