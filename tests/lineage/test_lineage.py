from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cordillera.app import Application, create_lake
from cordillera.errors import InvalidInputError
from cordillera.lineage.service import MOST_NEIGHBOURS, LineageService
from cordillera.spec.lineage import Edge, Node, NodeKind


def dataset(name: str) -> Node:
    return Node(NodeKind.DATASET, name)


def job(name: str) -> Node:
    return Node(NodeKind.JOB, name)


ORDERS, DAILY, MONTHLY = dataset("sales.orders"), dataset("sales.daily"), dataset("sales.monthly")
CUSTOMERS, WAREHOUSE = dataset("crm.customers"), Node(NodeKind.TARGET, "warehouse:orders")
MARKET = Node(NodeKind.TARGET, "market:monthly")
EDGES = (
    Edge(ORDERS, job("sales.daily")),
    Edge(CUSTOMERS, job("sales.daily")),
    Edge(ORDERS, WAREHOUSE),
    Edge(job("sales.daily"), DAILY),
    Edge(DAILY, job("sales.monthly")),
    Edge(job("sales.monthly"), MONTHLY),
    Edge(MONTHLY, MARKET),
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    with create_lake(tmp_path / "lake") as made:
        yield made


@pytest.fixture
def lineage(app: Application) -> LineageService:
    put(app, EDGES)
    return app.lineage


def put(app: Application, edges: tuple[Edge, ...]) -> None:
    with app.store.write() as tx:
        tx.lineage.put(edges, datetime.now(UTC))


def test_depth_counts_datasets_and_a_target_beside_a_job_costs_none(lineage: LineageService) -> None:
    reached = [
        {str(node) for node in lineage.around(ORDERS, upstream=0, downstream=depth).nodes() if node != ORDERS}
        for depth in range(4)
    ]
    assert reached[0] == set()
    assert reached[1] == {"job:sales.daily", "target:warehouse:orders", "dataset:sales.daily"}
    assert reached[2] == reached[1] | {"job:sales.monthly", "dataset:sales.monthly"}
    assert reached[3] == reached[2] | {"target:market:monthly"}


def test_sources_are_found_from_a_target_too(lineage: LineageService) -> None:
    assert lineage.around(MARKET, upstream=1, downstream=0).edges == (Edge(MONTHLY, MARKET),)
    assert DAILY in lineage.around(MARKET, upstream=2, downstream=0).nodes()


def test_what_is_not_shown_is_counted_in_the_directions_asked_for(lineage: LineageService) -> None:
    below = lineage.around(DAILY, upstream=0, downstream=1)
    assert dict(below.more) == {MONTHLY: 1}, "the source of sales.daily was not asked for"
    assert dict(lineage.around(ORDERS, upstream=0, downstream=3).more) == {}


def test_neighbours_beyond_the_limit_are_counted(app: Application, lineage: LineageService) -> None:
    many = tuple(Edge(MONTHLY, Node(NodeKind.TARGET, f"mart:{number:03}")) for number in range(MOST_NEIGHBOURS + 5))
    put(app, many)
    graph = lineage.around(MONTHLY, upstream=0, downstream=1)
    assert len(graph.edges) == MOST_NEIGHBOURS
    assert dict(graph.more) == {MONTHLY: 6}


def test_impact_is_everything_downstream(lineage: LineageService) -> None:
    found = {str(node) for node in lineage.around(ORDERS, upstream=0, downstream=10).nodes() if node != ORDERS}
    assert found == {
        "job:sales.daily", "target:warehouse:orders", "dataset:sales.daily", "job:sales.monthly",
        "dataset:sales.monthly", "target:market:monthly",
    }  # fmt: skip


@pytest.mark.parametrize("depth", [-1, 11])
def test_depth_is_bounded(lineage: LineageService, depth: int) -> None:
    with pytest.raises(InvalidInputError):
        lineage.around(ORDERS, upstream=depth)
    with pytest.raises(InvalidInputError):
        lineage.around(ORDERS, downstream=depth)
