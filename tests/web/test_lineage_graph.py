"""The drawing of the lineage graph: nothing lies on anything else, and data flows from left to right."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from cordillera.spec.lineage import Edge, LineageGraph, Node, NodeKind
from cordillera.web.lineage_graph import combine, distances, draw, edge_name, node_href

FOCUS = Node(NodeKind.DATASET, "a.focus")
_names = st.integers(0, 9).map(lambda number: Node(NodeKind.DATASET, f"a.d{number}"))
_edges = st.lists(st.builds(Edge, _names | st.just(FOCUS), _names | st.just(FOCUS)), max_size=20)


@given(_edges)
def test_no_box_lies_on_another_and_all_are_in_the_picture(edges: list[Edge]) -> None:
    drawing = draw(LineageGraph(FOCUS, tuple(dict.fromkeys(edges))), "/here", (), "")
    width, height = drawing.box_width, drawing.box_height
    for box in drawing.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + width <= drawing.width
        assert box.y + height <= drawing.height
    for one, other in combinations(drawing.boxes, 2):
        assert abs(one.x - other.x) >= width or abs(one.y - other.y) >= height
    assert sum(box.focus for box in drawing.boxes) == 1
    assert len(drawing.curves) == len(set(edges))


def test_sources_stand_left_and_sinks_right() -> None:
    job = Node(NodeKind.JOB, "a.job")
    source, sink = Node(NodeKind.DATASET, "a.source"), Node(NodeKind.TARGET, "t:sink")
    graph = LineageGraph(FOCUS, (Edge(source, job), Edge(job, FOCUS), Edge(FOCUS, sink)))
    assert distances(graph) == {source: -2, job: -1, FOCUS: 0, sink: 1}
    places = {box.node: box.x for box in draw(graph, "/here", (), "").boxes}
    assert places[source] < places[job] < places[FOCUS] < places[sink]
    assert [node_href(node) for node in (source, job, sink)] == [
        "/datasets/a.source?tab=lineage",
        "/jobs/a.job",
        "/subscriptions?target=t",
    ]


def test_a_node_is_opened_once_and_the_focus_never() -> None:
    other = Node(NodeKind.DATASET, "a.other")
    graph = LineageGraph(FOCUS, (Edge(FOCUS, other),), ((FOCUS, 3), (other, 2)))
    boxes = {box.node: box for box in draw(graph, "/here", (), "").boxes}
    assert boxes[FOCUS].expand == ""
    assert boxes[other].expand == "/here?tab=lineage&expand=dataset%3Aa.other#graph"
    further = LineageGraph(other, (Edge(other, Node(NodeKind.TARGET, "t:x")),))
    both = combine(graph, further)
    assert dict(both.more) == {FOCUS: 3}
    assert both.focus == FOCUS
    assert len(both.edges) == 2


def test_the_edge_whose_columns_are_shown_is_marked() -> None:
    edge = Edge(FOCUS, Node(NodeKind.JOB, "a.job"), (("x", ("y", "z")),))
    (curve,) = draw(LineageGraph(FOCUS, (edge,)), "/here", (), edge_name(edge)).curves
    assert curve.selected
    assert curve.columns == 1
    assert "edge=" in curve.href
