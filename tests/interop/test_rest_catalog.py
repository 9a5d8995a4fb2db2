"""Real engines on one server: what we write, they read, and what they write, we, the others and subscriptions read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
import yaml
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import RESTError
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from cordillera.app import Application, create_lake
from cordillera.client import Dataset, Lake
from cordillera.client.local import LocalBackend
from cordillera.server import create_server
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
from cordillera.testing.running_server import running_server
from cordillera.worker import Worker
from tests.docs.markdown import ROOT
from tests.interop import rest_engines
from tests.interop.rest_engines import Definer, RestEngine, Writer
from tests.interop.spark_engine import OnSpark
from tests.servers_s3 import S3Server
from tests.tokens import administrators_token

ENGINES: dict[str, type[RestEngine]] = {**rest_engines.ENGINES, "spark": OnSpark}
SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
EXAMPLES = {
    "v2": {"format_version": 2},
    "v3": {"format_version": 3},
    "v3_without_vectors": {"format_version": 3, "write_mode": "copy-on-write"},
}


@dataclass(frozen=True)
class Served:
    """A lake, its server and a token for it, and where its files are if they are not on this machine."""

    app: Application
    lake: Lake
    url: str
    token: str
    s3: S3Server | None


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Callable[[str], Served]]:
    """What returns the lake with its files at a place, and the examples in it."""
    storage = {
        "storage_root": f"s3://{s3_server.bucket}/{uuid4().hex}",
        "s3_endpoint": s3_server.endpoint,
        "s3_access_key": s3_server.access_key,
        "s3_secret_key": s3_server.secret_key,
        "s3_path_style": "true",
    }
    with ExitStack() as stack:

        @cache
        def at(place: str) -> Served:
            folder = tmp_path_factory.mktemp(place) / "lake"
            app = stack.enter_context(create_lake(folder, **(storage if place == "s3" else {})))
            url = stack.enter_context(running_server(create_server(app)))
            token = administrators_token(app)
            made = Served(app, Lake(LocalBackend(app)), url, token, s3_server if place == "s3" else None)
            write_examples(made.lake)
            return made

        yield at


@pytest.fixture(scope="module")
def engines(lakes: Callable[[str], Served]) -> Callable[[str, str], RestEngine]:
    """What returns an engine on the lake with its files at a place."""

    @cache
    def at(place: str, name: str) -> RestEngine:
        lake = lakes(place)
        return ENGINES[name](lake.url, lake.token, lake.s3)

    return at


@pytest.fixture
def served(lakes: Callable[[str], Served], place: str) -> Served:
    return lakes(place)


@pytest.fixture
def engine(engines: Callable[[str, str], RestEngine], place: str, name: str) -> RestEngine:
    return engines(place, name)


@pytest.fixture
def reader(engines: Callable[[str, str], RestEngine], place: str, name: str) -> RestEngine:
    """Another engine at the same place."""
    return engines(place, "pyiceberg" if name == "duckdb" else "duckdb")


@pytest.fixture
def namespace(served: Served) -> str:
    return served.lake.create_namespace(f"t{uuid4().hex[:12]}").name


def cases(
    kind: type[RestEngine] = RestEngine, versions: Callable[[type[RestEngine]], tuple[object, ...]] | None = None
) -> pytest.MarkDecorator:
    """Parametrise by places, engines of a kind there, and, if they are told, the versions for each."""
    found = [
        pytest.param(place, name, *(() if versions is None else (version,)), marks=marks(name))
        for place in ("files", "s3")
        for name, one in ENGINES.items()
        if issubclass(one, kind) and (one.local or place == "s3")
        for version in ((None,) if versions is None else versions(one))
    ]
    return pytest.mark.parametrize(("place", "name", *(() if versions is None else ("version",))), found)


def marks(name: str) -> Sequence[pytest.MarkDecorator]:
    """What runs tests of an engine only when they are asked for."""
    return [pytest.mark.spark] if name == "spark" else []


def written_by(kind: type[Writer]) -> tuple[object, ...]:
    return kind.writes


def readable_by(kind: type[RestEngine]) -> tuple[object, ...]:
    return tuple(name for name in EXAMPLES if name != "v3" or kind.deletion_vectors)


def write_examples(lake: Lake) -> None:
    """Write tables with all that a reader has to know: deletes, columns and partitions that were others before."""
    for namespace in ("examples", "examples.inner", "examples.inner.most"):
        lake.create_namespace(namespace)
    lake.create_dataset("examples.inner.most.people", SCHEMA, format_version=2).write(rows((1, "a")), "append")
    for name, options in EXAMPLES.items():
        lake.create_dataset(f"examples.{name}", SCHEMA, key=["id"], partitioning=["bucket(2, id)"], **options)
        dataset = lake.dataset(f"examples.{name}")
        dataset.write(rows(*((number, "first") for number in range(20))), "append")
        dataset.write(rows((3, "second"), (30, "second")), "upsert")
        dataset.delete_where("id BETWEEN 5 AND 7")
        dataset.evolve(RenameColumn("name", "label"), AddColumn("age", pa.int32()))
        dataset.partition_by("truncate(10, id)")
        dataset.write([{"id": 4, "label": "third", "age": 4}, {"id": 40, "label": "third", "age": 5}], "upsert")
        dataset.delete_where("id IN (8, 30)")


def rows(*pairs: tuple[int, str]) -> pa.Table:
    return pa.table({"id": [one for one, _ in pairs], "name": [name for _, name in pairs]}, schema=SCHEMA)


def ours(lake: Lake, name: str) -> list[dict[str, Any]]:
    return lake.dataset(name).scan().to_arrow().sort_by("id").to_pylist()


def locked(package: str) -> str:
    """The version of a package that tests are run with."""
    locks = "\n".join((ROOT / "lock" / f"{name}.txt").read_text() for name in ("dev", "spark"))
    [version] = set(re.findall(rf"^{package}==(\S+)", locks, re.MULTILINE))
    return version


def test_the_page_about_engines_says_what_is_shown_here() -> None:
    page = (ROOT / "docs" / "how-to" / "use-other-engines.md").read_text("utf-8")
    for kind in ENGINES.values():
        assert locked(kind.package).startswith(f"{kind.title.split()[-1]}.")
        places = "this machine, S3" if kind.local else "S3"
        reads = "versions 2 and 3" if kind.deletion_vectors else "version 2, version 3 without deletion vectors"
        writes = {(): "no", (2,): "version 2", (2, 3): "versions 2 and 3"}[getattr(kind, "writes", ())]
        defines = "yes" if issubclass(kind, Definer) else "no"
        assert f"\n| {kind.title} | {places} | {reads} | {writes} | {defines} |\n" in page


@cases()
def test_an_engine_finds_what_there_is(engine: RestEngine) -> None:
    assert sorted(engine.tables("examples")) == sorted(EXAMPLES)


@cases(versions=readable_by)
def test_an_engine_reads_what_we_write(served: Served, engine: RestEngine, version: str) -> None:
    expected = ours(served.lake, f"examples.{version}")
    assert [row["id"] for row in expected] == [0, 1, 2, 3, 4, *range(9, 20), 40]
    assert engine.read(f"examples.{version}") == expected


@cases()
def test_an_engine_reads_from_namespaces_within_others(served: Served, engine: RestEngine) -> None:
    assert engine.tables("examples.inner.most") == ["people"]
    if engine.nested:
        assert engine.read("examples.inner.most.people") == [{"id": 1, "name": "a"}]
    else:
        with pytest.raises(Exception, match="invalid argument: table reference"):
            engine.read("examples.inner.most.people")


@pytest.mark.parametrize("place", ["s3"])
@pytest.mark.parametrize("name", [name for name, kind in ENGINES.items() if not kind.deletion_vectors])
def test_an_engine_that_knows_no_deletion_vectors_says_so(engine: RestEngine) -> None:
    with pytest.raises(Exception, match=r"not a valid parquet file|supported only for parquet"):
        engine.read("examples.v3")


@cases(Writer, written_by)
def test_we_read_what_an_engine_writes(
    served: Served, engine: Writer, reader: RestEngine, namespace: str, version: int, tmp_path: Path
) -> None:
    app, lake = served.app, served.lake
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
        assert reader.read(name) == stored
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


@pytest.mark.parametrize("place", ["files"])
@pytest.mark.parametrize(
    ("name", "version"),
    [("pyiceberg", 2), ("sail", 2), ("sail", 3), *(pytest.param("spark", n, marks=marks("spark")) for n in (2, 3))],
)
def test_an_engine_changes_rows_of_several_partitionings(
    served: Served, engine: Writer, reader: RestEngine, namespace: str, version: int
) -> None:
    dataset = partitioned_twice(served.lake, namespace, version)
    engine.update(dataset.name, "changed", "id IN (1, 40)")
    engine.delete(dataset.name, "id IN (2, 41)")
    expected = [{"id": 1, "name": "changed"}, {"id": 3, "name": "a"}, {"id": 40, "name": "changed"}]
    assert ours(served.lake, dataset.name) == expected
    assert engine.read(dataset.name) == reader.read(dataset.name) == expected


@pytest.mark.parametrize(("place", "name"), [("files", "duckdb")])
@pytest.mark.parametrize("version", [2, 3])
def test_deletes_that_engines_read_in_different_ways_are_refused(
    served: Served, engine: Writer, namespace: str, version: int
) -> None:
    dataset = partitioned_twice(served.lake, namespace, version)
    before = ours(served.lake, dataset.name)
    with pytest.raises(Exception, match="is partitioned by id_truncate, and has partition values of id_bucket"):
        engine.update(dataset.name, "changed", "id = 40")
    assert ours(served.lake, dataset.name) == before
    engine.append(dataset.name, rows((50, "c")))
    assert engine.read(dataset.name) == [*before, {"id": 50, "name": "c"}]


@pytest.mark.parametrize(("place", "name"), [("files", "pyiceberg")])
def test_an_engine_is_told_which_rule_refuses_its_rows_and_where_to_look_at_them(
    served: Served, engine: Writer, namespace: str
) -> None:
    dataset = served.lake.create_dataset(f"{namespace}.ruled", SCHEMA, format_version=2)
    draft = yaml.safe_load(served.lake.backend.draft_contract(dataset.name))
    draft["schema"][0]["quality"] = [{"id": "few_rows", "metric": "rowCount", "mustBeLessThan": 3}]
    dataset.put_contract(yaml.safe_dump(draft))
    engine.append(dataset.name, rows((1, "a")))
    with pytest.raises(RESTError, match=r"few_rows: .* contract candidate \S+\.ruled candidate-2") as caught:
        engine.append(dataset.name, rows((2, "b"), (3, "c")))
    assert str(caught.value).startswith("UnprocessableEntityException")
    assert ours(served.lake, dataset.name) == [{"id": 1, "name": "a"}]
    [candidate] = dataset.candidates()
    assert dataset.scan(as_of=candidate.branch).to_arrow().num_rows == 3


def partitioned_twice(lake: Lake, namespace: str, version: int) -> Dataset:
    """A dataset with rows written by two partitionings."""
    name = f"{namespace}.people"
    lake.create_dataset(name, SCHEMA, key=["id"], format_version=version, partitioning=["bucket(2, id)"])
    dataset = lake.dataset(name)
    dataset.write(rows((1, "a"), (2, "a"), (3, "a")), "append")
    dataset.partition_by("truncate(10, id)")
    dataset.write(rows((40, "b"), (41, "b")), "append")
    return dataset


@cases(Definer)
def test_an_engine_evolves_a_table(served: Served, engine: Definer, namespace: str) -> None:
    lake, name = served.lake, f"{namespace}.people"
    lake.create_dataset(name, SCHEMA, key=["id"], format_version=2)
    lake.dataset(name).write(rows((1, "a")), "append")
    engine.add_column(name)
    lake.dataset(name).write([{"id": 2, "name": "b", "age": 30}], "upsert")
    expected = [{"id": 1, "name": "a", "age": None}, {"id": 2, "name": "b", "age": 30}]
    assert ours(lake, name) == expected
    assert engine.read(name) == expected


@cases(Definer)
def test_an_engine_creates_a_table(served: Served, engine: Definer, namespace: str) -> None:
    name = f"{namespace}.made"
    engine.create(name, rows((1, "a"), (2, "b")))
    expected = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert ours(served.lake, name) == expected
    assert engine.read(name) == expected
    assert [snapshot.rows for snapshot in served.app.catalog.snapshots(name)] == [2]


@pytest.mark.parametrize("place", ["files"])
def test_we_write_by_the_order_that_another_engine_declares(served: Served, namespace: str) -> None:
    catalog = RestCatalog("orders", uri=f"{served.url}/iceberg", token=served.token)
    schema = Schema(NestedField(1, "id", LongType(), required=False), NestedField(2, "name", StringType()))
    descending = SortField(2, IdentityTransform(), SortDirection.DESC, NullOrder.NULLS_LAST)
    catalog.create_table(
        f"{namespace}.people", schema, sort_order=SortOrder(descending, SortField(1, BucketTransform(4)))
    )
    dataset = served.lake.dataset(f"{namespace}.people")
    assert dataset.details().version.sort_order == ("name desc", "bucket(4, id)")
    dataset.write([{"id": i, "name": "acb"[i % 3] if i else None} for i in range(9)], "append")
    names = dataset.scan(["name"]).to_arrow().column("name").to_pylist()
    assert names == ["c"] * 3 + ["b"] * 3 + ["a"] * 2 + [None]
    dataset.sort_by("id desc")
    table = catalog.load_table(f"{namespace}.people")
    assert [str(field.direction) for field in table.sort_order().fields] == ["DESC"]
    assert sorted(table.scan().to_arrow().column("id").to_pylist()) == list(range(9))
