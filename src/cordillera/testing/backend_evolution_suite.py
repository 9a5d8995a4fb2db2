"""What every lake must do, embedded or behind a server, as tests: partitionings and sort orders that change."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.errors import DatasetNotFoundError, IncompatibleSchemaError, InvalidSchemaError
from cordillera.spec.maintenance import Strategy
from cordillera.spec.manifest import FileContent
from cordillera.spec.schema_evolution import AddColumn, DropColumn, RenameColumn
from cordillera.testing.backend_suite import LakeSuite, make_orders, notes, orders

JANUARY, FEBRUARY = date(2013, 1, 31), date(2013, 2, 1)


class EvolutionSuite(LakeSuite):
    """Datasets laid out otherwise than before."""

    @pytest.fixture
    def daily(self, backend: LakeBackend, namespace: str) -> Dataset:
        """Return a dataset by day, with orders of two months."""
        options = TableOptions(key=("id",), partitioning=("day",), completion_unit="day")
        name = make_orders(backend, namespace, options)
        backend.write(name, orders(1, 2, note="old", day=JANUARY), "upsert", completes=JANUARY)
        backend.write(name, orders(3, 4, note="old", day=FEBRUARY), "upsert")
        return Dataset(backend, name)

    def partitions(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the partitions that the newest snapshot changed."""
        return dataset.snapshots(limit=1)[0].partitions

    def test_new_files_are_laid_out_by_the_new_partitioning(self, backend: LakeBackend, daily: Dataset) -> None:
        before = daily.snapshots()
        result = daily.partition_by("month(day)", "note")
        assert not result.snapshot_committed
        assert daily.snapshots() == before
        assert daily.details().version.partitioning == ("month(day)", "note")
        daily.write(orders(5, note="new", day=FEBRUARY), "upsert")
        assert self.partitions(daily) == ("day_month=2013-02/note=new",)
        assert notes(backend, daily.name) == {1: "old", 2: "old", 3: "old", 4: "old", 5: "new"}
        assert notes(backend, daily.name, as_of=2) == {1: "old", 2: "old", 3: "old", 4: "old"}
        assert backend.completion(daily.name, JANUARY) is not None
        entry = backend.audit(object_name=daily.name, limit=3)[1]
        assert (entry.action, entry.details["partitioning"]) == ("dataset.partition_by", ["month(day)", "note"])

    def test_every_write_works_over_several_partitionings(self, backend: LakeBackend, daily: Dataset) -> None:
        daily.partition_by("month(day)")
        daily.write(orders(2, 3, note="changed", day=FEBRUARY), "upsert")
        assert notes(backend, daily.name) == {1: "old", 2: "changed", 3: "changed", 4: "old"}
        daily.partition_by()
        daily.write(orders(4, 6, note="whole"), "upsert")
        daily.delete_where("id = 3")
        daily.partition_by("day")
        daily.write(orders(7, note="replaced", day=FEBRUARY), "replace_partitions")
        assert notes(backend, daily.name) == {1: "old", 4: "whole", 6: "whole", 7: "replaced"}
        daily.compact(rewrite_all=True)
        assert notes(backend, daily.name) == {1: "old", 4: "whole", 6: "whole", 7: "replaced"}
        assert set(self.partitions(daily)) >= {"day=2013-01-31", "day=2013-02-01"}

    def test_a_partitioning_follows_a_renamed_column(self, daily: Dataset) -> None:
        daily.partition_by("month(day)", "note")
        daily.evolve(RenameColumn("note", "remark"))
        assert daily.details().version.partitioning == ("month(day)", "remark")
        with pytest.raises(InvalidSchemaError, match="partition field"):
            daily.evolve(AddColumn("note", pa.string()))
        with pytest.raises(InvalidSchemaError, match="partition field"):
            daily.evolve(AddColumn("DAY_MONTH", pa.string()))

    def test_a_column_can_be_dropped_when_no_file_is_laid_out_by_it(self, daily: Dataset) -> None:
        daily.partition_by("note")
        daily.write(orders(5, note="new"), "upsert")
        with pytest.raises(IncompatibleSchemaError, match="the partitioning stands on it"):
            daily.evolve(DropColumn("note"))
        daily.partition_by("month(day)")
        with pytest.raises(IncompatibleSchemaError, match="earlier partitioning, by note"):
            daily.evolve(DropColumn("note"))
        daily.compact(rewrite_all=True)
        daily.write(orders(6), "upsert")
        daily.expire_snapshots(older_than=timedelta(0), keep_last=1)
        daily.evolve(DropColumn("note"))
        assert sorted(daily.scan(["id"]).to_arrow()["id"].to_pylist()) == [1, 2, 3, 4, 5, 6]
        daily.evolve(AddColumn("note", pa.int32()))
        daily.partition_by("note")
        daily.write(orders_without_note(7), "append")
        assert self.partitions(daily) == ("note=null",)

    def test_a_partitioning_that_cannot_be_is_refused(self, backend: LakeBackend, daily: Dataset) -> None:
        for terms in (["none"], ["month(note)"], ["day", "day"], ["month(day)", "year(day)"], ["week(day)"]):
            with pytest.raises(InvalidSchemaError, match="partitioning"):
                backend.partition_by(daily.name, terms)
        with pytest.raises(DatasetNotFoundError):
            backend.partition_by(f"{daily.name}_not", ["day"])
        assert daily.details().version.partitioning == ("day",)
        assert not daily.partition_by("day").snapshot_committed

    def test_writes_take_rows_out_of_files_in_another_way(self, backend: LakeBackend, daily: Dataset) -> None:
        for mode, vectors in (("copy-on-write", 0), ("merge-on-read", 1)):
            daily.set_write_mode(mode)
            assert daily.details().version.write_mode == mode
            daily.write(orders(1, note=mode, day=JANUARY), "upsert")
            manifest = backend.manifest(daily.name, daily.snapshots(limit=1)[0].sequence_number)
            marked = [one for one in manifest.entries if one.content is FileContent.DELETION_VECTOR and one.added]
            assert len(marked) == vectors
            assert notes(backend, daily.name) == {1: mode, 2: "old", 3: "old", 4: "old"}
        daily.set_write_mode("auto")
        assert daily.details().version.write_mode == "auto"
        entry = next(one for one in backend.audit(object_name=daily.name, limit=9) if "mode" in one.action)
        assert (entry.action, entry.details["write_mode"]) == ("dataset.set_write_mode", "auto")
        with pytest.raises(InvalidSchemaError, match="no write mode 'fast'"):
            daily.set_write_mode("fast")

    def test_new_files_have_bloom_filters(self, backend: LakeBackend, daily: Dataset) -> None:
        assert not daily.set_bloom_filters("note", "id").snapshot_committed
        assert daily.bloom_filters() == ["id", "note"]
        entry = backend.audit(object_name=daily.name, limit=1)[0]
        assert (entry.action, entry.details["columns"]) == ("dataset.set_bloom_filters", ["id", "note"])
        daily.evolve(RenameColumn("note", "remark"))
        assert daily.bloom_filters() == ["id", "remark"]
        daily.evolve(DropColumn("remark"))
        daily.evolve(AddColumn("remark", pa.string()))
        assert daily.bloom_filters() == ["id"]
        for wrong in ("none", "amount"):
            with pytest.raises(InvalidSchemaError, match=wrong):
                daily.set_bloom_filters(wrong)
        with pytest.raises(InvalidSchemaError, match="share of false positives of 1"):
            daily.set_bloom_filters("id", false_positives=1.0)
        daily.set_bloom_filters()
        assert daily.bloom_filters() == []

    def test_new_files_are_sorted_by_the_sort_order(self, backend: LakeBackend, daily: Dataset) -> None:
        result = daily.sort_by("note desc nulls first", "id")
        assert not result.snapshot_committed
        assert daily.details().version.sort_order == ("note desc nulls first", "id")
        entry = backend.audit(object_name=daily.name, limit=1)[0]
        assert (entry.action, entry.details["sort_order"]) == ("dataset.sort_by", ["note desc nulls first", "id"])
        assert daily.maintenance().policy.strategy is Strategy.SORT
        daily.partition_by()
        rows = together(orders(9, 6, note="a"), orders(8, 7, note="b"), orders(5, note=None))
        daily.write(rows, "replace")
        assert daily.scan(["note", "id"]).to_arrow().column("id").to_pylist() == [5, 7, 8, 6, 9]
        assert not daily.sort_by("note DESC NULLS FIRST", "id asc").snapshot_committed
        daily.sort_by()
        assert daily.details().version.sort_order == ()
        daily.write(rows, "replace")
        assert daily.scan(["id"]).to_arrow().column("id").to_pylist() == [9, 6, 8, 7, 5]

    def test_a_dataset_is_created_with_a_sort_order(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, TableOptions(key=("id",), sort_order=("day desc", "id")))
        dataset = Dataset(backend, name)
        assert dataset.details().version.sort_order == ("day desc", "id")
        dataset.write(together(orders(2, 1, day=JANUARY), orders(4, 3, day=FEBRUARY)), "upsert")
        assert dataset.scan(["id"]).to_arrow().column("id").to_pylist() == [3, 4, 1, 2]

    def test_what_is_sorted_by_stays(self, daily: Dataset) -> None:
        daily.sort_by("note")
        with pytest.raises(IncompatibleSchemaError, match="the sort order"):
            daily.evolve(DropColumn("note"))
        daily.evolve(RenameColumn("note", "remark"))
        assert daily.details().version.sort_order == ("remark",)
        daily.sort_by()
        daily.evolve(DropColumn("remark"))

    def test_a_sort_order_that_cannot_be_is_refused(self, backend: LakeBackend, daily: Dataset) -> None:
        for terms in (["none"], ["note", "note desc"], ["month(note)"], ["note downwards"], ["note nulls"]):
            with pytest.raises(InvalidSchemaError, match="sort order"):
                backend.sort_by(daily.name, terms)
        with pytest.raises(DatasetNotFoundError):
            backend.sort_by(f"{daily.name}_not", ["day"])
        assert daily.details().version.sort_order == ()


def orders_without_note(number: int) -> pa.Table:
    """Return an order that has no note."""
    return orders(number).read_all().drop_columns(["note"])


def together(*parts: pa.RecordBatchReader) -> pa.Table:
    """Return rows one behind the other."""
    return pa.concat_tables([part.read_all() for part in parts])
