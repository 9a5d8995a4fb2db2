"""Values to fill a metadata store with, and short ways to put the usual ones in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.catalog import Column, Dataset, DatasetVersion, Lifecycle, Namespace, Snapshot, View
from cordillera.spec.event import Circumstances, Topic
from cordillera.spec.manifest import FileContent, FileEntry, Manifest
from cordillera.spec.merge import Operation, WriteMode
from cordillera.spec.subscription import Subscription, SubscriptionState, Target
from cordillera.spec.workflow import Job, Run, RunState

NOW = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)
PRINCIPAL = "user:ana"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def later(seconds: float) -> datetime:
    """Return the moment that many seconds after ``NOW``."""
    return NOW + timedelta(seconds=seconds)


def numbered_id(number: int) -> UUID:
    """Return an id that sorts like its number."""
    return UUID(int=number)


def namespace(name: str = "sales") -> Namespace:
    """Return a namespace."""
    return Namespace(uuid4(), name, "team:sales", f"What {name} keeps.", NOW)


def dataset(full_name: str = "sales.orders", **changes: Any) -> Dataset:
    """Return a dataset."""
    space, _, name = full_name.rpartition(".")
    made = Dataset(uuid4(), space, name, "team:sales", "Orders as booked.", ("gold", "pii"), NOW, NOW)
    return replace(made, **changes)


def view(full_name: str = "sales.open_orders") -> View:
    """Return a view."""
    space, _, name = full_name.rpartition(".")
    view_id = uuid4()
    location = f"file:///lake/{space}/{name}/{view_id}"
    return View(view_id, space, name, "team:sales", location, f"{location}/metadata/0.json", NOW, NOW)


def dataset_version(dataset_id: UUID, number: int = 1, **changes: Any) -> DatasetVersion:
    """Return an active dataset version without snapshots."""
    location = f"file:///lake/{dataset_id}/{number}"
    made = DatasetVersion(
        id=uuid4(),
        dataset_id=dataset_id,
        number=number,
        lifecycle=Lifecycle.ACTIVE,
        location=location,
        metadata_location=f"{location}/metadata/0.json",
        format_version=3,
        key=("id", "line"),
        sequence_column="changed_at",
        partitioning=("day(ordered_at)",),
        sort_order=("ordered_at", "id desc"),
        write_mode=WriteMode.MERGE_ON_READ,
        completion_unit="day",
        schema_id=0,
        sequence_number=0,
        rows=0,
        bytes=0,
        files=0,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(made, **changes)


def columns(*names: str, doc: str = "") -> list[Column]:
    """Return text columns of those names."""
    return [Column(place + 1, place, name, "string", place == 0, doc) for place, name in enumerate(names)]


def snapshot(version_id: UUID, sequence_number: int, **changes: Any) -> Snapshot:
    """Return a snapshot, committed as many seconds after ``NOW`` as its sequence number says."""
    made = Snapshot(
        dataset_version_id=version_id,
        sequence_number=sequence_number,
        snapshot_id=2**62 + sequence_number,
        parent_snapshot_id=2**62 + sequence_number - 1 if sequence_number > 1 else None,
        schema_id=0,
        committed_at=later(sequence_number),
        principal=PRINCIPAL,
        trace_id=TRACE,
        operation=Operation.UPSERT,
        rows_inserted=3,
        rows_updated=2,
        rows_deleted=1,
        rows_late=0,
        files_added=2,
        files_removed=1,
        rows=2 * sequence_number,
        partitions=("day=2026-03-14",),
        properties={"batch": "17"},
    )
    return replace(made, **changes)


def manifest() -> Manifest:
    """Return the manifest of an upsert that added a data file and a deletion vector."""
    data = FileEntry(
        "file:///lake/a.parquet", FileContent.DATA, True, "day=2026-03-14", 5, 4096, {"id": ["1", "9"]}, "sha256:00"
    )
    vector = FileEntry("file:///lake/a.puffin", FileContent.DELETION_VECTOR, True, "day=2026-03-14", 2, 40)
    gone = FileEntry("file:///lake/z.parquet", FileContent.DATA, False, "", 1, 512)
    return Manifest(Operation.UPSERT, ("id", "line"), 3, 2, 1, 0, ("day=2026-03-14",), (data, vector, gone))


def target(name: str = "warehouse") -> Target:
    """Return a target."""
    return Target(uuid4(), name, "postgres", {"host": "db.example", "password_env": "DB"}, "team:bi", NOW)


def subscription(of: Dataset, version: DatasetVersion, target_table: str = "orders", **changes: Any) -> Subscription:
    """Return a subscription to ``warehouse`` that nothing has been delivered to."""
    made = Subscription(
        id=uuid4(),
        dataset_id=of.id,
        dataset=of.full_name,
        dataset_version_id=version.id,
        consumer="team:bi",
        purpose="Dashboards",
        columns=("id", "total"),
        row_filter="total > 0",
        target="warehouse",
        target_table=target_table,
        state=SubscriptionState.PROVISIONING,
        cursor_sequence=None,
        cursor_schema_id=None,
        rows_delivered=0,
        delivered_at=None,
        last_error="",
        created_at=NOW,
        created_by=PRINCIPAL,
    )
    return replace(made, **changes)


def job(name: str = "sales.daily", **changes: Any) -> Job:
    """Return an enabled job with two inputs."""
    inputs = ("sales.orders", "sales.customers")
    made = Job(uuid4(), name, "SELECT 1", inputs, name, "day = $partition", "team:sales", "Sums.", True, NOW)
    return replace(made, **changes)


def run(of: Job, partition: str = "2026-03-14", revision: int = 1, **changes: Any) -> Run:
    """Return a queued run."""
    made = Run(
        id=uuid4(),
        job_id=of.id,
        job=of.name,
        partition=partition,
        input_revisions={"sales.orders": revision, "sales.customers": 1},
        state=RunState.QUEUED,
        attempts=0,
        error="",
        output_sequence=None,
        rows_written=0,
        created_at=NOW,
        started_at=None,
        finished_at=None,
        trace_id=TRACE,
    )
    return replace(made, **changes)


def add_dataset(
    tx: Transaction, full_name: str = "sales.orders", names: Sequence[Column] = (), **changes: Any
) -> tuple[Dataset, DatasetVersion]:
    """Put a dataset with an active dataset version in, its namespace with it if need be, and index it."""
    made = dataset(full_name, **changes)
    if tx.namespaces.get(made.namespace) is None:
        tx.namespaces.insert(namespace(made.namespace))
    version = dataset_version(made.id)
    tx.datasets.insert(made)
    tx.dataset_versions.insert(version, names)
    tx.search.index(made, names)
    return made, version


def stored_dataset(store: MetadataStore, full_name: str = "sales.orders") -> tuple[Dataset, DatasetVersion]:
    """Put a dataset in, in a transaction of its own."""
    with store.write() as tx:
        return add_dataset(tx, full_name)


def append_event(tx: Transaction, version_id: UUID | None = None, **payload: Any) -> int:
    """Add an event and return its number."""
    return tx.events.append(told(version_id), payload)


def told(version_id: UUID | None = None, topic: Topic = Topic.SNAPSHOT_COMMITTED) -> Circumstances:
    """Return what events share that happen to ``sales.orders``."""
    return Circumstances(topic, NOW, PRINCIPAL, TRACE, "sales.orders", version_id)


def enqueue(tx: Transaction, kind: str = "deliver", key: str = "a", *, now: datetime = NOW, **payload: Any) -> bool:
    """Add a task."""
    return tx.tasks.enqueue(uuid4(), kind, key, payload, now=now, trace_id=TRACE)
