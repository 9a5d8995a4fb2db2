"""What every lake must do, embedded or behind a server, as tests: statistics of columns."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.client.lake import Lake
from cordillera.errors import InvalidInputError, UnknownColumnError
from cordillera.spec.maintenance import MaintenanceTask
from cordillera.testing.backend_suite import LakeSuite

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("place", pa.string()), ("note", pa.string())])


def rows(first: int, count: int) -> pa.RecordBatchReader:
    """Return rows with one of three places and one of seven notes each."""
    ids = range(first, first + count)
    columns = {"id": list(ids), "place": [f"place {i % 3}" for i in ids], "note": [f"note {i % 7}" for i in ids]}
    return pa.table(columns, schema=SCHEMA).to_reader()


def counts(dataset: Dataset) -> dict[str, int]:
    """Return what is known of each column."""
    return {one.column: one.distinct_values for one in dataset.statistics()}


def files(dataset: Dataset) -> list[str]:
    """Return the statistics files that are stored."""
    location = dataset.details().version.location
    return [f"file://{path}" for path in Path(location.removeprefix("file://")).rglob("*.stats")]


class StatisticsSuite(LakeSuite):
    """Counting distinct values."""

    @pytest.fixture
    def places(self, backend: LakeBackend, namespace: str) -> Dataset:
        """Return a dataset with key and partitioning, and a hundred rows."""
        name = f"{namespace}.places"
        backend.create_dataset(name, SCHEMA, TableOptions(key=("id",), partitioning=("place",)))
        backend.write(name, rows(0, 100), "append")
        return Dataset(backend, name)

    def test_key_and_partition_columns_are_counted(self, places: Dataset) -> None:
        assert places.statistics() == []
        result = places.refresh_statistics()
        assert (result.files_read, result.bytes_read > 0) == (3, True)
        assert counts(places) == {"id": 100, "place": 3}
        assert places.statistics() == list(result.columns)
        assert {one.sequence_number for one in result.columns} == {1}
        assert places.scan().to_arrow().num_rows == 100

    def test_what_is_up_to_date_is_left_alone(self, places: Dataset) -> None:
        first = places.refresh_statistics()
        again = places.refresh_statistics()
        assert (again.columns, again.files_read) == (first.columns, 0)

    def test_a_column_that_was_named_is_counted_from_then_on(self, backend: LakeBackend, places: Dataset) -> None:
        places.refresh_statistics()
        assert places.refresh_statistics(["note"]).files_read == 3
        backend.write(places.name, rows(100, 50), "append")
        places.refresh_statistics()
        assert counts(places) == {"id": 150, "place": 3, "note": 7}

    def test_after_an_append_only_the_new_files_are_read(self, backend: LakeBackend, places: Dataset) -> None:
        places.refresh_statistics()
        backend.write(places.name, rows(100, 2), "append")
        assert places.refresh_statistics().files_read == 2
        assert counts(places) == {"id": 102, "place": 3}

    def test_after_deletes_all_is_counted_anew(self, backend: LakeBackend, places: Dataset) -> None:
        places.refresh_statistics()
        backend.delete_where(places.name, "id >= 10")
        assert {one.sequence_number for one in places.statistics()} == {1}  # what was true of it
        places.refresh_statistics()
        assert counts(places) == {"id": 10, "place": 3}
        assert {one.sequence_number for one in places.statistics()} == {2}

    def test_statistics_stay_through_commits_and_go_with_their_snapshot(
        self, backend: LakeBackend, places: Dataset
    ) -> None:
        places.refresh_statistics()
        backend.write(places.name, rows(0, 5), "upsert")
        places.compact()
        places.rewrite_manifests()
        assert counts(places) == {"id": 100, "place": 3}
        orphans = Lake(backend).remove_orphans(timedelta(0)).examples
        assert not {orphan.uri for orphan in orphans} & set(files(places))
        places.refresh_statistics()
        assert len(files(places)) == 2
        places.expire_snapshots(older_than=timedelta(0), keep_last=1)
        assert len(files(places)) == 1
        assert counts(places) == {"id": 100, "place": 3}

    def test_a_policy_counts_when_a_tenth_has_changed(
        self, backend: LakeBackend, places: Dataset, work: Callable[[], int]
    ) -> None:
        work()
        assert places.statistics() == []
        policy = places.configure_maintenance(refresh_statistics=True)
        assert policy.refresh_statistics
        advice = {one.task: one for one in places.maintenance().advice}[MaintenanceTask.REFRESH_STATISTICS]
        assert (advice.due, advice.files, advice.bytes > 0) == (True, 3, True)
        for first, count, known in ((100, 1, 101), (101, 1, 101), (102, 12, 114)):
            backend.write(places.name, rows(first, count), "append")
            work()
            assert counts(places)["id"] == known
        assert not {one.task: one for one in places.maintenance().advice}[MaintenanceTask.REFRESH_STATISTICS].due
        assert places.maintenance().runs[0].task is MaintenanceTask.REFRESH_STATISTICS

    def test_what_cannot_be_counted_is_refused(self, backend: LakeBackend, places: Dataset, namespace: str) -> None:
        with pytest.raises(UnknownColumnError, match="'price'"):
            places.refresh_statistics(["price"])
        keyless = f"{namespace}.keyless"
        backend.create_dataset(keyless, SCHEMA, TableOptions())
        with pytest.raises(InvalidInputError, match="neither a key nor a partitioning"):
            backend.refresh_statistics(keyless)
        assert backend.refresh_statistics(keyless, ["note"]).columns == ()
        backend.write(keyless, rows(0, 9), "append")
        assert counts_of(backend, keyless, ["note"]) == {"note": 7}


def counts_of(backend: LakeBackend, name: str, columns: list[str]) -> dict[str, int]:
    """Count, and return what was found."""
    return {one.column: one.distinct_values for one in backend.refresh_statistics(name, columns).columns}
