"""Real engines on one server: what they write, we and the others read, and subscriptions follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from cordillera.app import Application, create_lake
from cordillera.client import Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.testing.running_server import running_server
from cordillera.worker import Worker
from tests.interop.engines import read_with_pyiceberg
from tests.interop.rest_engines import ENGINES, RestEngine

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with create_lake(tmp_path_factory.mktemp("lake") / "lake") as app:
        yield app


@pytest.fixture(scope="module")
def lake(app: Application) -> Lake:
    return Lake(LocalBackend(app))


@pytest.fixture(scope="module")
def url(app: Application) -> Iterator[str]:
    with running_server(create_server(app)) as url:
        yield url


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, app: Application, url: str) -> RestEngine:
    return ENGINES[request.param](url, app.access.create_token(f"for {request.param}").secret)


@pytest.fixture
def namespace(lake: Lake) -> str:
    return lake.create_namespace(f"t{uuid4().hex[:12]}").name


def rows(*pairs: tuple[int, str]) -> pa.Table:
    return pa.table({"id": [one for one, _ in pairs], "name": [name for _, name in pairs]}, schema=SCHEMA)


def ours(lake: Lake, name: str) -> list[dict[str, Any]]:
    return lake.dataset(name).scan().to_arrow().sort_by("id").to_pylist()


@pytest.mark.parametrize("version", [2, 3])
def test_an_engine_reads_what_we_write(lake: Lake, engine: RestEngine, namespace: str, version: int) -> None:
    name = f"{namespace}.people"
    lake.create_dataset(name, SCHEMA, key=["id"], format_version=version, partitioning=["bucket(2, id)"])
    dataset = lake.dataset(name)
    dataset.write(rows(*((number, "first") for number in range(20))), "append")
    dataset.write(rows((3, "second"), (30, "second")), "upsert")
    dataset.delete_where("id BETWEEN 5 AND 7")
    dataset.partition_by("truncate(10, id)")
    dataset.write(rows((4, "third"), (40, "third")), "upsert")
    assert engine.tables(namespace) == ["people"]
    assert engine.read(name) == ours(lake, name)


@pytest.mark.parametrize("version", [2, 3])
def test_we_read_what_an_engine_writes(
    app: Application, lake: Lake, engine: RestEngine, namespace: str, version: int, tmp_path: Path
) -> None:
    if version not in engine.writes:
        pytest.skip("the engine cannot write this format version")
    name, target = f"{namespace}.people", f"copy_of_{namespace}"
    lake.create_dataset(name, SCHEMA, key=["id"], format_version=version)
    dataset = lake.dataset(name)
    dataset.write(rows((1, "a"), (2, "b"), (3, "c")), "append")
    lake.create_target(target, "duckdb", path=str(tmp_path / "copy.duckdb"))
    subscription = dataset.subscribe(target)
    Worker(app).run_until_idle()
    expected = {1: "a", 2: "b", 3: "c"}

    def check() -> None:
        stored = [{"id": number, "name": text} for number, text in sorted(expected.items())]
        assert ours(lake, name) == stored
        assert engine.read(name) == stored
        assert read_with_pyiceberg(dataset.metadata_location).sort_by("id").to_pylist() == stored
        assert app.catalog.dataset(name).version.rows == len(stored)

    engine.append(name, rows((4, "d"), (5, "e")))
    expected |= {4: "d", 5: "e"}
    check()
    with pytest.raises(Exception, match=r"already holds: id=4|400 Bad Request"):
        engine.append(name, rows((4, "again")))
    check()
    engine.update(name, "changed", "id = 2")
    expected[2] = "changed"
    check()
    dataset.write(rows((5, "ours"), (6, "ours")), "upsert")
    expected |= {5: "ours", 6: "ours"}
    check()
    engine.delete(name, "id = 1")
    del expected[1]
    check()
    engine.merge(name, rows((3, "merged"), (7, "merged")))
    expected |= {3: "merged", 7: "merged"}
    check()
    dataset.compact(rewrite_all=True)
    check()
    Worker(app).run_until_idle()
    assert lake.backend.verify_subscription(subscription.id).equal


def test_an_engine_evolves_a_table(lake: Lake, engine: RestEngine, namespace: str) -> None:
    if not engine.evolves:
        pytest.skip("the engine cannot alter tables")
    name = f"{namespace}.people"
    lake.create_dataset(name, SCHEMA, key=["id"], format_version=2)
    lake.dataset(name).write(rows((1, "a")), "append")
    engine.add_column(name)
    lake.dataset(name).write([{"id": 2, "name": "b", "age": 30}], "upsert")
    expected = [{"id": 1, "name": "a", "age": None}, {"id": 2, "name": "b", "age": 30}]
    assert ours(lake, name) == expected
    assert engine.read(name) == expected


def test_an_engine_creates_a_table(app: Application, lake: Lake, engine: RestEngine, namespace: str) -> None:
    if not engine.creates:
        pytest.skip("the engine wants to choose where tables live")
    name = f"{namespace}.made"
    engine.create(name, rows((1, "a"), (2, "b")))
    expected = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert ours(lake, name) == expected
    assert engine.read(name) == expected
    assert [snapshot.rows for snapshot in app.catalog.snapshots(name)] == [2]


def test_we_write_by_the_order_that_another_engine_declares(
    app: Application, lake: Lake, url: str, namespace: str
) -> None:
    token = app.access.create_token("for orders").secret
    catalog = RestCatalog("orders", uri=f"{url}/iceberg", token=token)
    schema = Schema(NestedField(1, "id", LongType(), required=False), NestedField(2, "name", StringType()))
    descending = SortField(2, IdentityTransform(), SortDirection.DESC, NullOrder.NULLS_LAST)
    catalog.create_table(
        f"{namespace}.people", schema, sort_order=SortOrder(descending, SortField(1, BucketTransform(4)))
    )
    dataset = lake.dataset(f"{namespace}.people")
    assert dataset.details().version.sort_order == ("name desc", "bucket(4, id)")
    dataset.write([{"id": i, "name": "acb"[i % 3] if i else None} for i in range(9)], "append")
    names = dataset.scan(["name"]).to_arrow().column("name").to_pylist()
    assert names == ["c"] * 3 + ["b"] * 3 + ["a"] * 2 + [None]
    dataset.sort_by("id desc")
    table = catalog.load_table(f"{namespace}.people")
    assert [str(field.direction) for field in table.sort_order().fields] == ["DESC"]
    assert sorted(table.scan().to_arrow().column("id").to_pylist()) == list(range(9))
