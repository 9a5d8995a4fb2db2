"""What every lake must do, embedded or behind a server, as tests: the catalog and its rows. Needs pytest.

Subclass :class:`BackendSuite` in a test module and provide the fixture ``backend``. The lake may be shared by all
tests: each makes a namespace of its own.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import DatasetDetails, LakeBackend
from cordillera.errors import (
    AlreadyExistsError,
    ContractNotFoundError,
    ContractViolationError,
    CordilleraError,
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    DuplicateKeyError,
    IdempotencyKeyReusedError,
    IncompatibleSchemaError,
    InvalidContractError,
    InvalidExpressionError,
    InvalidInputError,
    InvalidNameError,
    InvalidPartitionError,
    InvalidSchemaError,
    InvalidSqlError,
    LifecycleError,
    MissingKeyError,
    NamespaceNotFoundError,
    NotEmptyError,
    NullKeyError,
    SnapshotNotFoundError,
    TypeMismatchError,
    UnknownColumnError,
    UnknownOperationError,
    WaitTimeoutError,
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

ORDERS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False, metadata={"doc": "order number"}),
        pa.field("day", pa.date32()),
        pa.field("amount", pa.decimal128(10, 2)),
        pa.field("note", pa.string()),
    ]
)
KEYED = TableOptions(key=("id",), completion_unit="day")


def orders(*ids: int | None, note: str = "", day: date = date(2013, 1, 31)) -> pa.RecordBatchReader:
    """Return one order for each id."""
    columns = [ids, [day] * len(ids), [Decimal("9.99")] * len(ids), [note] * len(ids)]
    schema = pa.schema([field.with_nullable(True) for field in ORDERS])
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema).to_reader()


def make_orders(backend: LakeBackend, namespace: str, options: TableOptions = KEYED, name: str = "orders") -> str:
    """Make a dataset of orders, and return its name."""
    backend.create_dataset(f"{namespace}.{name}", ORDERS, options)
    return f"{namespace}.{name}"


def notes(backend: LakeBackend, name: str, **options: Any) -> dict[int, str]:
    """Return the notes of the stored orders by id."""
    table = backend.scan(name, **options).read_all()
    return dict(zip(table["id"].to_pylist(), table["note"].to_pylist(), strict=True))


class LakeSuite:
    """What the suites of a lake share: the fixtures."""

    @pytest.fixture
    def backend(self) -> LakeBackend:
        """Return the lake to test."""
        raise NotImplementedError("Override the fixture 'backend' in the subclass.")

    @pytest.fixture
    def namespace(self, backend: LakeBackend) -> str:
        """Return a namespace that no other test uses."""
        return backend.create_namespace(f"t{uuid4().hex[:12]}", owner="team:orders").name

    @pytest.fixture
    def dataset(self, backend: LakeBackend, namespace: str) -> str:
        """Return a dataset of orders with a key."""
        return make_orders(backend, namespace)


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
        backend.delete_namespace(name)
        with pytest.raises(NamespaceNotFoundError, match=name):
            backend.namespace(name)

    def test_namespaces_come_in_pages(self, backend: LakeBackend) -> None:
        prefix = f"t{uuid4().hex[:8]}"
        names = [backend.create_namespace(f"{prefix}_{index}").name for index in range(5)]
        first = backend.namespaces(after=prefix, limit=2)
        second = backend.namespaces(after=first[-1].name, limit=3)
        assert [found.name for found in (*first, *second)] == names

    def test_a_namespace_is_refused_with_a_reason(self, backend: LakeBackend, dataset: str) -> None:
        namespace = dataset.split(".")[0]
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
        deleted = backend.datasets(dataset.split(".")[0], deleted=True)
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

    @pytest.mark.parametrize("name", ["", "orders", "a.b.c", "a/b", "..", "%2e%2e", "A.b", "ä.ö", "a b.c", "a.b?c=d#e"])
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


class RowsSuite(LakeSuite):
    """Writing, reading and asking for rows; contracts and completions, which say what rows may be and when all are."""

    # --- writing -------------------------------------------------------------------------------------------------

    def test_every_operation_writes(self, backend: LakeBackend, dataset: str) -> None:
        result = backend.write(dataset, orders(1, 2, 3, note="a"), "append")
        assert (result.sequence_number, result.snapshot_committed, result.rows_inserted) == (1, True, 3)
        result = backend.write(dataset, orders(3, 4, note="b"), "upsert")
        assert (result.rows_inserted, result.rows_updated) == (1, 1)
        partial = pa.table({"id": [1], "note": ["c"]})
        assert backend.write(dataset, partial.to_reader(), "partial_update").rows_updated == 1
        assert notes(backend, dataset) == {1: "c", 2: "a", 3: "b", 4: "b"}
        assert backend.write(dataset, pa.table({"id": [2]}).to_reader(), "delete").rows_deleted == 1
        assert backend.delete_where(dataset, "note = 'b' AND id > 3").rows_deleted == 1
        assert notes(backend, dataset) == {1: "c", 3: "b"}
        backend.write(dataset, orders(3, note="d"), "replace", where="id = 3")
        assert notes(backend, dataset) == {1: "c", 3: "d"}
        backend.write(dataset, orders(9), "replace")
        assert notes(backend, dataset) == {9: ""}

    def test_partitions_are_replaced(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, TableOptions(partitioning=("day",)))
        backend.write(name, orders(1, day=date(2013, 1, 1)), "append")
        backend.write(name, orders(2, day=date(2013, 1, 2)), "append")
        backend.write(name, orders(3, day=date(2013, 1, 2)), "replace_partitions")
        assert sorted(notes(backend, name)) == [1, 3]

    def test_writing_nothing_changes_nothing(self, backend: LakeBackend, dataset: str) -> None:
        assert not backend.write(dataset, orders(), "append").snapshot_committed
        assert backend.snapshots(dataset) == []

    def test_a_repeated_write_has_no_further_effect(self, backend: LakeBackend, dataset: str) -> None:
        key = "Schlüssel ☃ 100%\n"
        first = backend.write(dataset, orders(1), "append", idempotency_key=key, completes=date(2013, 1, 31))
        again = backend.write(dataset, orders(1), "append", idempotency_key=key, completes=date(2013, 1, 31))
        assert (first.replayed, again.replayed) == (False, True)
        assert again == replace(first, replayed=True)
        assert first.completion is not None
        assert first.completion.partition == "2013-01-31"
        with pytest.raises(IdempotencyKeyReusedError):
            backend.write(dataset, orders(2), "append", idempotency_key=key)
        assert backend.delete_where(dataset, "id = 1", idempotency_key="d").rows_deleted == 1
        assert backend.delete_where(dataset, "id = 1", idempotency_key="d").replayed
        assert len(backend.snapshots(dataset)) == 2

    @pytest.mark.parametrize(
        ("operation", "rows", "kind"),
        [
            ("append", orders(5, None).read_all(), NullKeyError),
            ("upsert", orders(5, 7, 7).read_all(), DuplicateKeyError),
            ("append", orders(5, 1).read_all(), DuplicateKeyError),
            ("append", pa.table({"id": ["5", "x"], "note": ["", ""]}), TypeMismatchError),
            ("append", pa.table({"id": [5], "colour": ["red"]}), UnknownColumnError),
            ("append", pa.table({"note": ["y"]}), MissingKeyError),
            ("upsert", pa.table({"id": [5]}), MissingKeyError),
            ("explode", orders(5).read_all(), UnknownOperationError),
        ],
    )
    def test_rows_that_do_not_fit_are_refused_whole(
        self, backend: LakeBackend, dataset: str, operation: str, rows: pa.Table, kind: type[CordilleraError]
    ) -> None:
        backend.write(dataset, orders(1, note="before"), "append")
        with pytest.raises(kind):
            backend.write(dataset, rows.to_reader(), operation)
        assert notes(backend, dataset) == {1: "before"}
        assert len(backend.snapshots(dataset)) == 1

    def test_rows_that_break_off_are_not_written(self, backend: LakeBackend, dataset: str) -> None:
        def breaking() -> Iterator[pa.RecordBatch]:
            yield from orders(1)
            raise ValueError("the source broke")

        with pytest.raises(ValueError, match="the source broke"):
            backend.write(dataset, pa.RecordBatchReader.from_batches(orders().schema, breaking()), "append")
        assert backend.snapshots(dataset) == []

    def test_writing_elsewhere_is_refused(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        with pytest.raises(DatasetNotFoundError):
            backend.write(f"{namespace}.nope", orders(1), "append")
        with pytest.raises(InvalidInputError):
            backend.write(dataset, orders(1), "append", where="id = 1")
        with pytest.raises(InvalidPartitionError):
            backend.write(dataset, orders(1), "append", completes="someday")
        for condition in ("id =", "nope = 1", "id = (SELECT 1)"):
            with pytest.raises((InvalidExpressionError, UnknownColumnError)):
                backend.delete_where(dataset, condition)
        assert backend.snapshots(dataset) == []

    def test_two_writers_at_once_both_succeed(self, backend: LakeBackend, dataset: str) -> None:
        def write(first: int) -> None:
            for number in range(first, first + 5):
                backend.write(dataset, orders(number), "upsert")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, (0, 100)))
        assert sorted(notes(backend, dataset)) == [*range(5), *range(100, 105)]
        assert [found.sequence_number for found in backend.snapshots(dataset)] == list(range(10, 0, -1))

    # --- reading -------------------------------------------------------------------------------------------------

    def test_a_scan_reads_what_it_is_asked_for(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(1, 2, 3, note="a"), "append")
        backend.write(dataset, orders(4, note="it's"), "append")
        found = backend.scan(dataset, columns=["note", "id"], where="id >= 3").read_all()
        assert found.column_names == ["note", "id"]
        assert sorted(found["id"].to_pylist()) == [3, 4]
        assert backend.scan(dataset, where="note = 'it''s'").read_all()["id"].to_pylist() == [4]
        assert backend.scan(dataset, limit=2).read_all().num_rows == 2
        assert backend.scan(dataset, limit=0).read_all().num_rows == 0
        assert backend.scan(dataset, where="id > 99").read_all().num_rows == 0

    @pytest.mark.parametrize(
        ("options", "kind"),
        [
            ({"columns": ["nope"]}, UnknownColumnError),
            ({"columns": []}, UnknownColumnError),
            ({"where": "nope = 1"}, UnknownColumnError),
            ({"where": "id +"}, InvalidExpressionError),
        ],
    )
    def test_a_scan_that_makes_no_sense_is_refused(
        self, backend: LakeBackend, dataset: str, options: dict[str, Any], kind: type[CordilleraError]
    ) -> None:
        with pytest.raises((kind, InvalidExpressionError)):
            backend.scan(dataset, **options).read_all()

    def test_a_reader_that_is_not_read_to_its_end_does_no_harm(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(*range(1000)), "append")
        for _ in range(20):
            backend.scan(dataset)
            next(iter(backend.scan(dataset)))
        assert backend.scan(dataset).read_all().num_rows == 1000

    def test_values_of_every_type_come_back_as_they_went(self, backend: LakeBackend, namespace: str) -> None:
        values: dict[str, pa.Array] = {
            "i": pa.array([1, None, -(2**31)], pa.int32()),
            "l": pa.array([2**62, None, 0], pa.int64()),
            "f": pa.array([1.5, None, float("inf")], pa.float32()),
            "d": pa.array([0.1, None, -0.0], pa.float64()),
            "s": pa.array(["ä☃", None, ""]),
            "b": pa.array([b"\x00\xff", None, b""]),
            "bool": pa.array([True, None, False]),
            "dec": pa.array([Decimal("1.23"), None, Decimal("-0.01")], pa.decimal128(20, 2)),
            "date": pa.array([date(1970, 1, 1), None, date(2999, 12, 31)]),
            "time": pa.array([time(1, 2, 3, 4), None, time(0)], pa.time64("us")),
            "ts": pa.array([datetime(2013, 1, 1, 5), None, datetime(1900, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
            "tz": pa.array([datetime(2013, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
            "uuid": pa.array([UUID(int=5).bytes, None, UUID(int=0).bytes], pa.uuid()),
            "fixed": pa.array([b"abcd", None, b"\x00" * 4], pa.binary(4)),
            "list": pa.array([[1, None], None, []], pa.list_(pa.int64())),
            "struct": pa.array([{"x": 1, "y": ["a"]}, None, {"x": None, "y": None}]),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        }
        table = pa.table(values)
        name = f"{namespace}.types"
        backend.create_dataset(name, table.schema, TableOptions())
        backend.write(name, table.to_reader(), "append")
        assert backend.scan(name).read_all().to_pylist() == table.to_pylist()

    # --- asking --------------------------------------------------------------------------------------------------

    def test_queries_join_datasets(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        other = make_orders(backend, namespace, name="others")
        backend.write(dataset, orders(1, 2), "append")
        backend.write(other, orders(2, 3, note="o"), "append")
        found = backend.query(f"SELECT a.id, b.note FROM {dataset} a JOIN {other} b USING (id)")
        assert found.read_all().to_pylist() == [{"id": 2, "note": "o"}]
        backend.write(dataset, orders(5), "append")
        count = f"SELECT count(*) AS n FROM {dataset}"
        assert backend.query(count).read_all()["n"].to_pylist() == [3]
        assert backend.query(count, {dataset: 1}).read_all()["n"].to_pylist() == [2]
        assert backend.query(count, {dataset: None}).read_all()["n"].to_pylist() == [3]

    @pytest.mark.parametrize(
        ("sql", "kind"),
        [
            ("SELEC 1", InvalidSqlError),
            ("DELETE FROM a.b", InvalidSqlError),
            ("SELECT * FROM read_csv('/etc/passwd')", InvalidSqlError),
            ("SELECT nope FROM {dataset}", InvalidSqlError),
            ("SELECT CAST(note AS INTEGER) FROM {dataset}", InvalidSqlError),
            ("SELECT 1 FROM {dataset}_nope", DatasetNotFoundError),
        ],
    )
    def test_a_query_that_cannot_be_answered_is_refused(
        self, backend: LakeBackend, dataset: str, sql: str, kind: type[CordilleraError]
    ) -> None:
        backend.write(dataset, orders(1, note="no number"), "append")
        with pytest.raises(kind):
            backend.query(sql.format(dataset=dataset)).read_all()

    # --- contracts -----------------------------------------------------------------------------------------------

    def test_a_contract_is_enforced(self, backend: LakeBackend, dataset: str) -> None:
        with pytest.raises(ContractNotFoundError):
            backend.contract(dataset)
        draft = backend.draft_contract(dataset)
        text = draft.replace("name: note", "name: note\n    required: true  # ☃", 1)
        assert text != draft
        put = backend.put_contract(dataset, text)
        assert put == backend.contract(dataset)
        assert (put.revision, put.text, put.dataset) == (1, text, dataset)
        with pytest.raises(ContractViolationError, match="note"):
            backend.write(dataset, pa.table({"id": [1], "note": pa.array([None], pa.string())}).to_reader(), "append")
        assert backend.snapshots(dataset) == []
        backend.write(dataset, orders(1, note="x"), "append")

    @pytest.mark.parametrize("text", ["", "{", "kind: DataContract", "- a list", "\x00"])
    def test_a_malformed_contract_is_refused(self, backend: LakeBackend, dataset: str, text: str) -> None:
        with pytest.raises(InvalidContractError):
            backend.put_contract(dataset, text)
        with pytest.raises(ContractNotFoundError):
            backend.contract(dataset)

    # --- completions ---------------------------------------------------------------------------------------------

    def test_partitions_become_complete(self, backend: LakeBackend, dataset: str) -> None:
        assert backend.completion(dataset, "2013-01-01") is None
        first = backend.complete(dataset, date(2013, 1, 1), idempotency_key="k")
        assert (first.partition, first.revision, first.sequence_number) == ("2013-01-01", 1, 0)
        assert backend.complete(dataset, "2013-01-01", idempotency_key="k") == first
        again = backend.complete(dataset, "2013-01-01")
        assert (again.revision, again.restated) == (2, True)
        assert backend.completion(dataset, date(2013, 1, 1)) == again
        backend.complete(dataset, "2013-01-02")
        assert [found.partition for found in backend.completions(dataset)] == ["2013-01-02", "2013-01-01"]
        assert backend.completions(dataset, before="2013-01-02", limit=1) == [again]
        for operation in (backend.complete, backend.completion):
            with pytest.raises(InvalidPartitionError):
                operation(dataset, "tomorrow")
        with pytest.raises(DatasetNotFoundError):
            backend.completion("no.where", "2013-01-01")

    @pytest.mark.parametrize("label", ["a/b", "..", "%2F", "?x=1#y", "ä ☃", "draft", " "])
    def test_a_label_may_have_any_characters(self, backend: LakeBackend, namespace: str, label: str) -> None:
        name = make_orders(backend, namespace, TableOptions(completion_unit="value"))
        made = backend.complete(name, label)
        assert made.partition == label
        assert backend.completion(name, label) == made

    def test_a_date_names_the_partition_it_lies_in(self, backend: LakeBackend, namespace: str) -> None:
        monthly = make_orders(backend, namespace, TableOptions(completion_unit="month"), "monthly")
        assert backend.complete(monthly, date(2013, 1, 31)).partition == "2013-01"
        hourly = make_orders(backend, namespace, TableOptions(completion_unit="hour"), "hourly")
        assert backend.complete(hourly, datetime(2013, 1, 31, 7, 30)).partition == "2013-01-31T07"  # noqa: DTZ001

    def test_a_completion_can_be_waited_for(self, backend: LakeBackend, dataset: str) -> None:
        with pytest.raises(WaitTimeoutError, match="2013-01-01"):
            backend.wait_until_complete(dataset, "2013-01-01", timeout=0.1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(backend.wait_until_complete, dataset, date(2013, 1, 1), timeout=30)
            made = backend.complete(dataset, "2013-01-01")
            assert waiting.result() == made
