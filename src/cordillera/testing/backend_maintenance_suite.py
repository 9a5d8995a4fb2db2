"""What every lake must do, embedded or behind a server, as tests: maintenance. Needs pytest.

Subclass :class:`MaintenanceSuite` in a test module and provide the fixtures ``backend`` and ``work``.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.client.lake import Lake
from cordillera.errors import (
    DatasetNotFoundError,
    InvalidInputError,
    NotAllowedError,
    SnapshotNotFoundError,
)
from cordillera.maintenance.results import CompactionResult
from cordillera.spec.maintenance import CompactionOptions, MaintenanceTask, Strategy
from cordillera.spec.manifest import TableOperation
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.testing.backend_suite import LakeSuite, notes, orders


class MaintenanceSuite(LakeSuite):
    """Compaction, expiry, manifests, orphans, and what of it is due."""

    @pytest.fixture
    def batches(self, backend: LakeBackend, dataset: str) -> str:
        """Return a dataset written in ten batches, some of whose rows have been deleted again."""
        for number in range(10):
            backend.write(dataset, orders(number, number + 100, note=str(number)), "upsert")
        backend.delete_where(dataset, "id IN (3, 104)")
        return dataset

    def test_compaction_keeps_rows_and_leaves_one_file(self, backend: LakeBackend, batches: str) -> None:
        before = notes(backend, batches)
        seen: list[CompactionResult] = []
        result = Dataset(backend, batches).compact(progress=seen.append)
        version = backend.dataset(batches).version
        assert notes(backend, batches) == before
        assert (version.files, version.rows) == (1, 18)
        assert (result.files_rewritten, result.files_written, result.rows_moved) == (10, 1, 18)
        assert (result.deletes_removed, result.groups_left, result.commits) == (2, 0, 1)
        assert [done.groups for done in seen] == [1]
        snapshot = backend.snapshot(batches, version.sequence_number)
        assert snapshot.operation is TableOperation.COMPACT
        assert (snapshot.rows_inserted, snapshot.rows_updated, snapshot.rows_deleted, snapshot.rows) == (0, 0, 0, 18)
        assert backend.manifest(batches, version.sequence_number).operation is TableOperation.COMPACT
        assert Dataset(backend, batches).compact().groups == 0

    def test_a_bounded_compaction_goes_on_where_it_ended(self, backend: LakeBackend, namespace: str) -> None:
        dataset = Lake(backend).create_dataset(
            f"{namespace}.parted", {"id": "int64", "part": "int64"}, key=["id"], partitioning=["part"]
        )
        for batch in range(2):
            for part in range(4):
                dataset.write([{"id": 10 * part + batch, "part": part}], "append")
        first = dataset.compact(max_groups=1)
        assert (first.groups, first.groups_left, first.files_rewritten) == (1, 3, 2)
        second = dataset.compact("sort", max_bytes=1)
        assert (second.groups, second.groups_left) == (1, 3)
        rest = dataset.compact("sort", where="part >= 2")
        assert rest.groups == 2
        assert sorted(dataset.scan().to_arrow()["id"].to_pylist()) == [0, 1, 10, 11, 20, 21, 30, 31]

    def test_rows_are_sorted_as_asked(self, backend: LakeBackend, batches: str) -> None:
        dataset = Dataset(backend, batches)
        dataset.compact("sort", columns=["note", "id"])
        stored = dataset.scan().to_arrow().select(["note", "id"]).to_pylist()
        assert stored == sorted(stored, key=lambda row: (row["note"], row["id"]))
        dataset.compact("sort")
        assert dataset.scan().to_arrow()["id"].to_pylist() == sorted(notes(backend, batches))
        assert dataset.compact("z-order", columns=["id", "note"]).rows_moved == 18
        assert len(notes(backend, batches)) == 18

    def test_wrong_compactions_are_refused(self, backend: LakeBackend, batches: str) -> None:
        dataset = Dataset(backend, batches)
        with pytest.raises(InvalidInputError, match="bin-pack, sort, z-order"):
            dataset.compact("sorted")
        with pytest.raises(InvalidInputError, match="no_such"):
            dataset.compact("sort", columns=["no_such"])
        with pytest.raises(InvalidInputError, match="two to eight"):
            dataset.compact("z-order", columns=["id"])
        with pytest.raises(InvalidInputError, match="no columns"):
            dataset.compact(columns=["id"])
        for wrong in ({"max_groups": 0}, {"max_bytes": 0}, {"target_file_size": 0}, {"delete_ratio": 1.5}):
            with pytest.raises(InvalidInputError):
                backend.compact(batches, CompactionOptions(**wrong))
        with pytest.raises(InvalidInputError):
            dataset.compact(where="no_such = 1")
        with pytest.raises(DatasetNotFoundError):
            Dataset(backend, f"{batches}_not").compact()

    def test_expired_snapshots_cannot_be_read_and_the_others_can(self, backend: LakeBackend, batches: str) -> None:
        dataset = Dataset(backend, batches)
        now, third = notes(backend, batches), notes(backend, batches, as_of=3)
        assert len(third) == 6
        dataset.compact()
        assert notes(backend, batches, as_of=3) == third
        planned = dataset.expire_snapshots(older_than=timedelta(0), keep_last=2, dry_run=True)
        assert planned.snapshots == tuple(range(1, 11))
        assert notes(backend, batches, as_of=3) == third
        result = dataset.expire_snapshots(older_than=timedelta(0), keep_last=2)
        assert result.snapshots == planned.snapshots
        assert result.files >= 10  # at least their manifest lists
        with pytest.raises(SnapshotNotFoundError):
            notes(backend, batches, as_of=3)
        assert notes(backend, batches, as_of=11) == now
        assert dataset.expire_snapshots(older_than=timedelta(0), keep_last=1).snapshots == (11,)
        assert notes(backend, batches) == now
        assert dataset.expire_snapshots().snapshots == ()
        with pytest.raises(InvalidInputError):
            dataset.expire_snapshots(keep_last=0)

    def test_manifests_become_few(self, backend: LakeBackend, batches: str) -> None:
        before = notes(backend, batches)
        result = Dataset(backend, batches).rewrite_manifests()
        assert result.before > result.after == 2  # one of data files, one of deletion vectors
        assert notes(backend, batches) == before
        again = Dataset(backend, batches).rewrite_manifests()
        assert again.before == again.after == 2
        backend.write(batches, orders(3, note="back"), "upsert")
        assert notes(backend, batches) == {**before, 3: "back"}

    def test_orphans_are_removed_once_they_are_old(self, backend: LakeBackend, batches: str) -> None:
        lake = Lake(backend)
        location = backend.dataset(batches).version.location
        stray = Path(location.removeprefix("file://")) / "data" / "stray.parquet"
        stray.write_bytes(b"left behind")
        unfinished = stray.parent / ".tmp-0123456789abcdef0123456789abcdef"
        unfinished.write_bytes(b"half")
        before = notes(backend, batches)
        assert lake.remove_orphans().files == 0
        with pytest.raises(NotAllowedError, match="day"):
            lake.remove_orphans(timedelta(hours=23), dry_run=False)
        found = lake.remove_orphans(timedelta(0))
        assert not found.removed
        assert [orphan.dataset for orphan in found.examples if orphan.uri.endswith("stray.parquet")]
        assert [(o.dataset, o.bytes) for o in found.examples if o.unfinished] == [(f"{batches}_v1", 4)]
        assert [o.uri for o in backend.orphans(0) if o.unfinished] == [f"file://{unfinished}"]
        assert stray.exists()
        assert unfinished.exists()
        done = lake.remove_orphans(timedelta(0), dry_run=False, force=True)
        assert done.removed
        assert (done.files, done.unfinished) == (found.files, 1)
        assert not stray.exists()
        assert not unfinished.exists()
        assert notes(backend, batches) == before
        assert notes(backend, batches, as_of=3)
        assert lake.remove_orphans(timedelta(0)).files == 0

    def test_advice_says_what_is_due_and_how_long_it_takes(self, backend: LakeBackend, batches: str) -> None:
        dataset = Dataset(backend, batches)
        advice = {one.task: one for one in dataset.maintenance().advice}
        compaction = advice[MaintenanceTask.COMPACT]
        assert (compaction.due, compaction.files) == (False, 10)
        assert compaction.bytes > 0
        assert 0 < compaction.predicted_seconds < 60
        policy = dataset.configure_maintenance(small_files=5, strategy="sort", max_snapshot_age=timedelta(days=7))
        assert (policy.small_files, policy.strategy) == (5, Strategy.SORT)
        status = dataset.maintenance()
        assert status.policy == policy
        assert (status.counters.files, status.counters.deleted) == (10, 2)
        assert status.advice[0].due
        dataset.compact()
        after = dataset.maintenance()
        assert not after.advice[0].due
        assert [run.task for run in after.runs] == [MaintenanceTask.COMPACT]
        assert after.runs[0].bytes_rewritten > 0
        assert dataset.configure_maintenance(small_files=None, strategy=None).small_files == 32

    def test_a_wrong_policy_is_refused(self, backend: LakeBackend, dataset: str) -> None:
        found = Dataset(backend, dataset)
        with pytest.raises(InvalidInputError, match="small-files"):
            found.configure_maintenance(small_files=1)
        with pytest.raises(InvalidInputError, match="no_such"):
            found.configure_maintenance(no_such=1)
        with pytest.raises(InvalidInputError, match="no property"):
            backend.configure_maintenance(dataset, {"write.merge.mode": "x"})
        with pytest.raises(InvalidInputError, match="missing"):
            found.configure_maintenance(strategy="sort", columns=["missing"])

    def test_many_small_batches_leave_few_files(
        self, backend: LakeBackend, dataset: str, work: Callable[[], object]
    ) -> None:
        found = Dataset(backend, dataset)
        found.configure_maintenance(small_files=8)
        most = 0
        expected: dict[int, str] = {}
        for number in range(40):
            ids = (number, number + 50) if number % 3 else (number // 2, number + 50)
            backend.write(dataset, orders(*ids, note=str(number)), "upsert")
            expected |= dict.fromkeys(ids, str(number))
            work()
            most = max(most, backend.dataset(dataset).version.files)
        assert most <= 12
        assert notes(backend, dataset) == expected
        assert len(found.maintenance().runs) >= 3

    def test_nothing_is_done_where_the_policy_says_so(
        self, backend: LakeBackend, dataset: str, work: Callable[[], object]
    ) -> None:
        Dataset(backend, dataset).configure_maintenance(small_files=2, enabled=False)
        for number in range(6):
            backend.write(dataset, orders(number), "append")
            work()
        assert backend.dataset(dataset).version.files == 6

    def test_a_target_gets_no_rows_from_a_compaction(
        self, backend: LakeBackend, batches: str, work: Callable[[], object], tmp_path: Path
    ) -> None:
        target = backend.create_target(f"t{uuid4().hex[:12]}", "duckdb", {"path": str(tmp_path / "t.duckdb")}).name
        subscription = backend.subscribe(WantedSubscription(batches, target))
        work()
        delivered = backend.subscription(subscription.id).subscription.rows_delivered
        assert delivered == 18
        Dataset(backend, batches).compact("sort")
        Dataset(backend, batches).rewrite_manifests()
        work()
        status = backend.subscription(subscription.id)
        assert status.subscription.rows_delivered == delivered
        assert status.subscription.cursor_sequence == backend.dataset(batches).version.sequence_number
        assert backend.verify_subscription(subscription.id).equal
        backend.write(batches, orders(3, note="back"), "upsert")
        work()
        assert backend.subscription(subscription.id).subscription.rows_delivered == delivered + 1
