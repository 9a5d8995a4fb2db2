"""What every lake must do with namespaces, datasets, schemas and snapshots, as tests. Needs pytest."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import DatasetDetails, LakeBackend
from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    IncompatibleSchemaError,
    InvalidInputError,
    InvalidNameError,
    InvalidPartitionError,
    InvalidSchemaError,
    LifecycleError,
    NamespaceNotFoundError,
    NotEmptyError,
    SnapshotNotFoundError,
    UnknownColumnError,
)
from cordillera.spec.catalog import Lifecycle
from cordillera.spec.merge import Operation
from cordillera.spec.schema_evolution import (
    AddColumn,
    DescribeColumn,
    DropColumn,
    MakeOptional,
    MoveColumn,
    RenameColumn,
    WidenColumn,
)
from cordillera.testing.backend_suite import KEYED, ORDERS, LakeSuite, make_orders, notes, orders


class CatalogSuite(LakeSuite):
    """Namespaces, datasets, dataset versions, schemas, snapshots."""

    # --- namespaces ----------------------------------------------------------------------------------------------

    def test_the_lake_tells_what_it_is(self, backend: LakeBackend) -> None:
        info = backend.info()
        assert info.name
        assert info.storage_root.startswith(("file://", "s3://"))
        assert info.created_at.tzinfo is not None

    def test_a_namespace_lives_its_life(self, backend: LakeBackend) -> None:
        name = f"t{uuid4().hex[:12]}"
        made = backend.create_namespace(name, owner="team:a", description="für ä")
        assert backend.namespace(name) == made
        assert (made.owner, made.description) == ("team:a", "für ä")
        changed = backend.update_namespace(name, description="other")
        assert changed == replace(made, description="other") == backend.namespace(name)
        backend.update_namespace(name, properties={"cost center": "4711", "x": "y"})
        noted = backend.update_namespace(name, properties={"x": None, "unknown": None, "z": "ä"})
        assert noted == replace(changed, properties={"cost center": "4711", "z": "ä"}) == backend.namespace(name)
        backend.delete_namespace(name)
        with pytest.raises(NamespaceNotFoundError, match=name):
            backend.namespace(name)

    def test_namespaces_come_in_pages(self, backend: LakeBackend) -> None:
        prefix = f"t{uuid4().hex[:8]}"
        names = [backend.create_namespace(f"{prefix}_{index}", properties={"n": "1"}).name for index in range(5)]
        first = backend.namespaces(after=prefix, limit=2)
        second = backend.namespaces(after=first[-1].name, limit=3)
        assert [found.name for found in (*first, *second)] == names

    def test_namespaces_within_namespaces(self, backend: LakeBackend) -> None:
        outer = backend.create_namespace(f"t{uuid4().hex[:8]}").name
        with pytest.raises(NamespaceNotFoundError, match=f"{outer}.europe"):
            backend.create_namespace(f"{outer}.europe.north")
        made = [backend.create_namespace(f"{outer}.{name}").name for name in ("asia", "europe", "europe.north")]
        assert [one.name for one in backend.namespaces(parent=outer)] == made[:2]
        assert [one.name for one in backend.namespaces(after=made[0], parent=outer)] == made[1:2]
        assert [one.name for one in backend.namespaces(parent=f"{outer}.europe")] == made[2:]
        assert backend.namespaces(after=outer[:-1], limit=1, parent="")[0].name == outer
        with pytest.raises(NamespaceNotFoundError):
            backend.namespaces(parent=f"{outer}.africa")
        dataset = f"{outer}.europe.north.orders"
        backend.create_dataset(dataset, ORDERS, TableOptions(key=("id",)))
        assert [one.full_name for one in backend.datasets(f"{outer}.europe.north")] == [dataset]
        assert list(backend.datasets(outer)) == list(backend.datasets(f"{outer}.europe")) == []
        with pytest.raises(NotEmptyError, match="namespaces"):
            backend.delete_namespace(f"{outer}.europe")
        for text in (f"SELECT id FROM {dataset}", f'SELECT orders.id FROM "{outer}.europe.north".orders'):
            assert backend.query(text).read_all().num_rows == 0

    def test_a_namespace_is_refused_with_a_reason(self, backend: LakeBackend, dataset: str) -> None:
        namespace = dataset.rpartition(".")[0]
        with pytest.raises(AlreadyExistsError, match=namespace):
            backend.create_namespace(namespace)
        with pytest.raises(InvalidNameError, match="Not A Name"):
            backend.create_namespace("Not A Name")
        with pytest.raises(NotEmptyError, match=namespace):
            backend.delete_namespace(namespace)
        with pytest.raises(InvalidInputError):
            backend.namespaces(limit=0)

    # --- datasets ------------------------------------------------------------------------------------------------

    def test_a_dataset_is_described(self, backend: LakeBackend, namespace: str) -> None:
        options = TableOptions(
            key=("id",), sequence="day", partitioning=("month(day)",), completion_unit="day", format_version=2
        )
        made = backend.create_dataset(
            f"{namespace}.orders", ORDERS, options, owner="team:b", description="Orders.", tags=["gold", "eu"]
        )
        assert made == backend.dataset(f"{namespace}.orders")
        assert (made.dataset.owner, made.dataset.description, made.dataset.tags) == (
            "team:b",
            "Orders.",
            ("eu", "gold"),
        )
        version = made.version
        assert (version.key, version.sequence_column, version.partitioning) == (("id",), "day", ("month(day)",))
        assert (version.number, version.lifecycle, version.format_version) == (1, Lifecycle.ACTIVE, 2)
        assert [(column.name, column.type, column.required) for column in made.columns] == [
            ("id", "long", True),
            ("day", "date", False),
            ("amount", "decimal(10, 2)", False),
            ("note", "string", False),
        ]
        assert made.columns[0].doc == "order number"

    def test_datasets_come_in_pages(self, backend: LakeBackend, namespace: str) -> None:
        names = [make_orders(backend, namespace, name=f"d{index}") for index in range(3)]
        first = backend.datasets(namespace, limit=2)
        second = backend.datasets(namespace, after=first[-1].full_name, limit=2)
        assert [found.full_name for found in (*first, *second)] == names
        with pytest.raises(NamespaceNotFoundError):
            backend.datasets("nowhere")

    def test_a_dataset_is_changed_deleted_and_restored(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1), "append")
        changed = backend.update_dataset(dataset, owner="team:c", tags=["silver"])
        assert (changed.owner, changed.tags) == ("team:c", ("silver",))
        assert backend.dataset(dataset).dataset == changed
        assert backend.delete_dataset(dataset).purge_after is not None
        with pytest.raises(DatasetNotFoundError, match=dataset):
            backend.dataset(dataset)
        deleted = backend.datasets(dataset.rpartition(".")[0], deleted=True)
        assert [found.full_name for found in deleted] == [dataset]
        assert backend.restore_dataset(dataset).deleted_at is None
        assert notes(backend, dataset) == {1: ""}

    def test_dataset_versions_stand_side_by_side(self, backend: LakeBackend, dataset: str) -> None:
        made = backend.create_dataset_version(dataset, pa.schema([("other", pa.string())]), TableOptions())
        assert (made.version.number, made.version.lifecycle) == (2, Lifecycle.UNRELEASED)
        assert backend.dataset(dataset).version.number == 1
        assert self._lifecycles(backend.set_lifecycle(f"{dataset}_v2", "active")) == ["deprecated", "active"]
        assert backend.dataset(dataset).version.number == 2
        with pytest.raises(LifecycleError):
            backend.set_lifecycle(f"{dataset}_v2", "unreleased")
        with pytest.raises(InvalidInputError, match="sleepy"):
            backend.set_lifecycle(dataset, "sleepy")
        with pytest.raises(DatasetVersionNotFoundError):
            backend.dataset(f"{dataset}_v9")
        backend.create_dataset_version(dataset, ORDERS, KEYED, active=True)
        assert self._lifecycles(backend.dataset(dataset)) == ["deprecated", "deprecated", "active"]

    def _lifecycles(self, details: DatasetDetails) -> list[str]:
        return [version.lifecycle.value for version in details.versions]

    def test_datasets_are_found(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace)
        backend.update_dataset(name, description="walrus invoices", tags=["gold"])
        make_orders(backend, namespace, name="others")
        found = backend.search("walrus", {"namespace": namespace})
        assert [hit.dataset.full_name for hit in found.hits] == [name]
        assert found.total == 1
        assert backend.search("", {"namespace": namespace, "tag": "gold"}).total == 1
        page = backend.search("", {"namespace": namespace}, limit=1)
        following = backend.search("", {"namespace": namespace}, after=page.next_page or "", limit=1)
        assert [hit.dataset.name for hit in (*page.hits, *following.hits)] == ["orders", "others"]
        with pytest.raises(InvalidInputError, match="colour"):
            backend.search("", {"colour": "red"})

    @pytest.mark.parametrize(
        "name", ["", "orders", "a..c", ".b", "a.", "a/b", "..", "%2e%2e", "A.b", "ä.ö", "a b.c", "a.b?c=d#e"]
    )
    def test_what_is_no_name_is_refused(self, backend: LakeBackend, name: str) -> None:
        with pytest.raises(InvalidNameError):
            backend.dataset(name)
        with pytest.raises(InvalidNameError):
            backend.create_dataset(name, ORDERS, KEYED)

    def test_a_dataset_that_cannot_be_is_refused(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        with pytest.raises(AlreadyExistsError):
            make_orders(backend, namespace)
        with pytest.raises(NamespaceNotFoundError):
            make_orders(backend, "nowhere")
        for options in (
            TableOptions(key=("nope",)),
            TableOptions(partitioning=("month(note)",)),
            TableOptions(write_mode="yes"),
            TableOptions(format_version=1),
        ):
            with pytest.raises(InvalidSchemaError):
                make_orders(backend, namespace, options, "other")
        with pytest.raises(InvalidPartitionError):
            make_orders(backend, namespace, TableOptions(completion_unit="moon"), "other")
        with pytest.raises(InvalidSchemaError):
            backend.create_dataset(f"{namespace}.other", pa.schema([("x", pa.duration("s"))]), TableOptions())
        assert [found.full_name for found in backend.datasets(namespace)] == [dataset]

    # --- schema --------------------------------------------------------------------------------------------------

    def test_a_schema_is_the_same_seen_from_anywhere(self, backend: LakeBackend, dataset: str) -> None:
        schema = backend.schema(dataset)
        assert schema.names == ORDERS.names
        assert schema.types == ORDERS.types
        assert schema.equals(backend.scan(dataset).schema, check_metadata=True)

    def test_a_schema_evolves(self, backend: LakeBackend, namespace: str) -> None:
        schema = pa.schema([pa.field("a", pa.int32(), nullable=False), ("b", pa.string()), ("c", pa.string())])
        name = f"{namespace}.evolving"
        backend.create_dataset(name, schema, TableOptions())
        backend.write(name, pa.table({"a": pa.array([1], pa.int32()), "b": ["x"], "c": ["y"]}).to_reader(), "append")
        backend.evolve(
            name,
            [
                WidenColumn("a", pa.int64()),
                MakeOptional("a"),
                RenameColumn("b", "bee"),
                DropColumn("c"),
                MoveColumn("bee"),
                DescribeColumn("bee", "a letter"),
                AddColumn("tags", pa.list_(pa.string()), "labels"),
                AddColumn("price", pa.decimal128(5, 2), default=Decimal("1.50")),
                AddColumn("since", pa.date32(), default=date(2013, 1, 31)),
                AddColumn("raw", pa.binary(), default=b"\xff\x00"),
                AddColumn("home", pa.struct([("city", pa.string())])),
            ],
        )
        backend.evolve(name, [AddColumn("home.zip", pa.int32())])
        columns = {column.name: column for column in backend.dataset(name).columns}
        assert list(columns) == ["bee", "a", "tags", "price", "since", "raw", "home"]
        assert (columns["a"].type, columns["a"].required, columns["bee"].doc) == ("long", False, "a letter")
        assert backend.scan(name).read_all().to_pylist() == [
            {
                "bee": "x",
                "a": 1,
                "tags": None,
                "price": Decimal("1.50"),
                "since": date(2013, 1, 31),
                "raw": b"\xff\x00",
                "home": None,
            }
        ]
        assert backend.schema(name, as_of=1).names == ["a", "b", "c"]

    def test_a_schema_change_that_would_break_rows_is_refused(self, backend: LakeBackend, dataset: str) -> None:
        before = backend.schema(dataset)
        with pytest.raises(UnknownColumnError):
            backend.evolve(dataset, [AddColumn("new", pa.string()), DropColumn("nope")])
        with pytest.raises(IncompatibleSchemaError):
            backend.evolve(dataset, [DropColumn("id")])
        with pytest.raises(IncompatibleSchemaError):
            backend.evolve(dataset, [WidenColumn("note", pa.int64())])
        with pytest.raises(InvalidSchemaError):
            backend.evolve(dataset, [AddColumn("NOTE", pa.string())])
        assert backend.schema(dataset) == before

    # --- snapshots -----------------------------------------------------------------------------------------------

    def test_snapshots_tell_what_happened(self, backend: LakeBackend, dataset: str) -> None:
        for number in (1, 2, 3):
            backend.write(dataset, orders(number), "append")
        newest, middle = backend.snapshots(dataset, limit=2)
        assert [newest.sequence_number, middle.sequence_number] == [3, 2]
        assert [found.sequence_number for found in backend.snapshots(dataset, before=2)] == [1]
        assert backend.snapshot(dataset, 2) == middle
        assert (newest.operation, newest.rows_inserted, newest.rows) == (Operation.APPEND, 1, 3)
        manifest = backend.manifest(dataset, 3)
        assert [(entry.added, entry.rows) for entry in manifest.entries] == [(True, 1)]
        assert (manifest.operation, manifest.key) == (Operation.APPEND, ("id",))
        assert backend.metadata_location(dataset).endswith(".metadata.json")
        with pytest.raises(SnapshotNotFoundError):
            backend.snapshot(dataset, 99)
        with pytest.raises(SnapshotNotFoundError):
            backend.manifest(dataset, 99)

    def test_the_past_can_be_read(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1), "append")
        moment = backend.snapshot(dataset, 1).committed_at
        backend.write(dataset, orders(2), "append")
        assert notes(backend, dataset, as_of=1) == notes(backend, dataset, as_of=moment) == {1: ""}
        assert notes(backend, dataset, as_of=moment.astimezone(UTC) + timedelta(days=1)) == {1: "", 2: ""}
        for text in ("1", moment.isoformat()):
            assert notes(backend, dataset, as_of=text) == {1: ""}
        query = f"SELECT count(*) AS n FROM {dataset}"
        assert backend.query(query, {dataset: "1"}).read_all().to_pylist() == [{"n": 1}]
        assert backend.schema(dataset, as_of="1") == backend.schema(dataset)

    def test_a_date_means_the_end_of_that_day(self, backend: LakeBackend, dataset: str) -> None:
        empty = datetime.now(UTC).date()
        assert notes(backend, dataset, as_of=empty) == notes(backend, dataset, as_of=empty.isoformat()) == {}
        backend.write(dataset, orders(1), "append")
        day = backend.snapshot(dataset, 1).committed_at.astimezone(UTC).date()
        for given in (day, day.isoformat(), day + timedelta(days=2), date.max):
            assert notes(backend, dataset, as_of=given) == {1: ""}
        with pytest.raises(SnapshotNotFoundError):
            notes(backend, dataset, as_of=day - timedelta(days=1))

    def test_what_is_no_moment_is_refused(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1), "append")
        for wrong in ("-soon", "2026-13-01", "2026-01-01T99:00", "", "1.5"):
            with pytest.raises(InvalidInputError, match="no moment"):
                backend.scan(dataset, as_of=wrong).read_all()
            with pytest.raises(InvalidInputError, match="no moment"):
                backend.query(f"SELECT * FROM {dataset}", {dataset: wrong}).read_all()
            with pytest.raises(InvalidInputError, match="no moment"):
                backend.schema(dataset, as_of=wrong)
        with pytest.raises(SnapshotNotFoundError, match="branch or tag 'soon'"):
            backend.scan(dataset, as_of="soon").read_all()

    def test_the_past_before_the_first_snapshot(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1), "append")
        for never in (99, date(1999, 1, 1), datetime(1999, 1, 1, tzinfo=UTC)):
            with pytest.raises(SnapshotNotFoundError):
                backend.scan(dataset, as_of=never).read_all()
