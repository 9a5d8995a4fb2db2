"""What every lake must do with branches and tags, embedded or behind a server, as tests. Needs pytest.

Subclass :class:`BranchSuite` in a test module and provide the fixtures ``backend`` and ``work``.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    AlreadyExistsError,
    ContractViolationError,
    DuplicateKeyError,
    InvalidInputError,
    InvalidNameError,
    NotAllowedError,
    SnapshotNotFoundError,
)
from cordillera.spec.event import Topic
from cordillera.spec.merge import Operation
from cordillera.spec.refs import RefKind, Retention
from cordillera.spec.schema_evolution import AddColumn
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.testing.backend_suite import KEYED, LakeSuite, make_orders, notes, orders

SEQUENCED = TableOptions(key=("id",), sequence="day")


def delete(backend: LakeBackend, name: str, ids: list[int], **options: Any) -> None:
    """Delete orders by key."""
    backend.write(name, pa.table({"id": ids}).to_reader(), "delete", **options)


class WrittenLakeSuite(LakeSuite):
    """A lake with a dataset that has rows, and what does the lake's background work."""

    @pytest.fixture
    def dataset(self, backend: LakeBackend, namespace: str) -> str:
        """Return a dataset with two orders."""
        name = make_orders(backend, namespace)
        backend.write(name, orders(1, 2, note="old"), "append")
        return name


class BranchSuite(WrittenLakeSuite):
    """Branches, tags, publishing, cherry-picking."""

    # --- names ---------------------------------------------------------------------------------------------------

    def test_snapshots_get_names(self, backend: LakeBackend, dataset: str) -> None:
        backend.write(dataset, orders(2, note="new"), "upsert")
        tag = backend.create_ref(dataset, "v1", "tag", as_of=1, retention=Retention(max_ref_age_ms=5))
        assert (tag.name, tag.kind, tag.sequence_number, tag.retention.max_ref_age_ms) == ("v1", RefKind.TAG, 1, 5)
        backend.create_ref(dataset, "again", "tag", as_of="v1")
        backend.create_ref(dataset, "audit", "branch", retention=Retention(None, 6, 7))
        assert [(ref.name, ref.kind.value, ref.sequence_number) for ref in backend.refs(dataset)] == [
            ("again", "tag", 1),
            ("audit", "branch", 2),
            ("main", "branch", 2),
            ("v1", "tag", 1),
        ]
        kept = backend.retain_ref(dataset, "audit", Retention(None, None, 8))
        assert kept.retention == Retention(min_snapshots_to_keep=8)
        assert notes(backend, dataset, as_of="v1") == {1: "old", 2: "old"}
        assert notes(backend, dataset, as_of="main") == notes(backend, dataset) == {1: "old", 2: "new"}
        rows = backend.query(f"SELECT note FROM {dataset} WHERE id = 2", {dataset: "v1"}).read_all()
        assert rows.to_pylist() == [{"note": "old"}]
        backend.drop_ref(dataset, "v1")
        with pytest.raises(SnapshotNotFoundError, match="v1"):
            backend.scan(dataset, as_of="v1").read_all()
        with pytest.raises(SnapshotNotFoundError, match="v1"):
            backend.drop_ref(dataset, "v1")

    def test_names_that_cannot_be_are_refused(self, backend: LakeBackend, namespace: str, dataset: str) -> None:
        for name in ("", "2026", "2026-01-31", "a/b", "-x", "x" * 129, "ä"):
            with pytest.raises(InvalidNameError):
                backend.create_ref(dataset, name, "tag")
        with pytest.raises(AlreadyExistsError):
            backend.create_ref(dataset, "main", "branch")
        with pytest.raises(InvalidInputError, match="twig"):
            backend.create_ref(dataset, "audit", "twig")
        with pytest.raises(SnapshotNotFoundError):
            backend.create_ref(dataset, "audit", "branch", as_of=99)
        with pytest.raises(SnapshotNotFoundError):
            backend.create_ref(make_orders(backend, namespace, name="empty"), "v1", "tag")
        with pytest.raises(AlreadyExistsError):
            backend.create_ref(f"{namespace}.empty", "main", "branch")
        with pytest.raises(InvalidInputError, match="min-snapshots-to-keep"):
            backend.create_ref(dataset, "v1", "tag", retention=Retention(min_snapshots_to_keep=1))
        with pytest.raises(NotAllowedError, match="main"):
            backend.drop_ref(dataset, "main")
        assert [ref.name for ref in backend.refs(dataset)] == ["main"]

    def test_a_tag_keeps_its_schema_and_a_branch_has_the_current_one(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "v1", "tag")
        backend.create_ref(dataset, "audit", "branch")
        backend.evolve(dataset, [AddColumn("extra", pa.string())])
        assert "extra" not in backend.schema(dataset, "v1").names
        assert "extra" in backend.schema(dataset, "audit").names
        assert "extra" not in backend.scan(dataset, as_of="v1").schema.names
        assert backend.scan(dataset, as_of="audit").read_all()["extra"].to_pylist() == [None, None]

    # --- writing to a branch, and publishing it -------------------------------------------------------------------

    def test_nobody_sees_a_branch_until_it_is_published(
        self, backend: LakeBackend, dataset: str, work: Callable[[], object], tmp_path: Path
    ) -> None:
        target = backend.create_target(f"t{uuid4().hex[:12]}", "duckdb", {"path": str(tmp_path / "t.duckdb")}).name
        subscription = backend.subscribe(WantedSubscription(dataset, target)).id
        work()
        events = len(backend.events(dataset=dataset, limit=1000))
        backend.create_ref(dataset, "audit", "branch", retention=Retention(min_snapshots_to_keep=3))
        result = backend.write(dataset, orders(2, 3, note="new"), "upsert", branch="audit")
        assert (result.sequence_number, result.snapshot_committed, result.rows_updated) == (2, True, 1)
        assert backend.delete_where(dataset, "id = 1", branch="audit").sequence_number == 3
        assert notes(backend, dataset, as_of="audit") == {2: "new", 3: "new"}
        assert notes(backend, dataset, as_of=2) == {1: "old", 2: "new", 3: "new"}
        assert notes(backend, dataset) == {1: "old", 2: "old"}
        version = backend.dataset(dataset).version
        assert (version.sequence_number, version.rows) == (1, 2)
        assert [found.sequence_number for found in backend.snapshots(dataset)] == [1]
        assert [found.sequence_number for found in backend.snapshots(dataset, branch="audit")] == [3, 2]
        assert backend.snapshot(dataset, 3).branch == "audit"
        assert len(backend.events(dataset=dataset, limit=1000)) == events
        assert backend.subscription(subscription).in_step
        published = backend.fast_forward(dataset, "main", "audit", completes="2013-01-31")
        assert (published.sequence_number, published.snapshot_committed) == (3, True)
        assert published.completion is not None
        assert (published.completion.partition, published.completion.sequence_number) == ("2013-01-31", 3)
        assert notes(backend, dataset) == {2: "new", 3: "new"}
        assert [(found.sequence_number, found.branch) for found in backend.snapshots(dataset)] == [
            (number, "main") for number in (3, 2, 1)
        ]
        assert backend.snapshots(dataset, branch="audit") == []
        newest = backend.events(dataset=dataset)[:2]
        assert {event.topic for event in newest} == {Topic.SNAPSHOT_COMMITTED, Topic.PARTITION_COMPLETED}
        work()
        assert backend.verify_subscription(subscription).equal
        again = backend.fast_forward(dataset, "main", "audit")
        assert (again.sequence_number, again.snapshot_committed) == (3, False)
        assert backend.refs(dataset)[0].retention.min_snapshots_to_keep == 3

    def test_the_past_of_main_has_nothing_of_a_branch(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        backend.write(dataset, orders(3), "append", branch="audit")
        moment = backend.snapshot(dataset, 2).committed_at
        assert sorted(notes(backend, dataset, as_of=moment)) == [1, 2]
        backend.fast_forward(dataset, "main", "audit")
        assert sorted(notes(backend, dataset, as_of=moment)) == [1, 2]
        assert sorted(notes(backend, dataset, as_of=backend.snapshot(dataset, 2).committed_at)) == [1, 2, 3]

    def test_a_dataset_may_begin_on_a_branch(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, name="fresh")
        backend.create_ref(name, "audit", "branch", retention=Retention(min_snapshots_to_keep=1))
        backend.write(name, orders(1, note="a"), "append", branch="audit")
        assert notes(backend, name) == {}
        assert backend.dataset(name).version.sequence_number == 0
        backend.fast_forward(name, "main", "audit")
        assert notes(backend, name) == {1: "a"}

    def test_branches_of_a_dataset_without_rows_share_its_beginning(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, name="bare")
        events = len(backend.events(dataset=name))
        for branch in ("audit", "other"):
            backend.create_ref(name, branch, "branch")
            assert not backend.fast_forward(name, branch, "main").snapshot_committed
            assert not backend.fast_forward(name, "main", branch).snapshot_committed
        assert (backend.snapshots(name), len(backend.events(dataset=name))) == ([], events)
        backend.write(name, orders(1, note="a"), "append")
        backend.fast_forward(name, "audit", "main")
        assert notes(backend, name, as_of="audit") == {1: "a"}
        assert notes(backend, name, as_of="other") == {}
        with pytest.raises(NotAllowedError, match="has everything that 'other' has, and more"):
            backend.fast_forward(name, "main", "other")
        picked = backend.write(name, orders(2, note="b"), "append", branch="other").sequence_number
        for moved, onto in (("main", "other"), ("other", "main")):
            with pytest.raises(NotAllowedError, match="has moved on"):
                backend.fast_forward(name, moved, onto)
        with pytest.raises(NotAllowedError) as refused:
            backend.fast_forward(name, "main", "other")
        assert refused.value.hint == f"Cherry-pick its snapshots onto main: {picked}."
        backend.cherry_pick(name, picked)
        assert notes(backend, name) == {1: "a", 2: "b"}

    def test_a_branch_that_is_not_there_cannot_be_written(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "v1", "tag")
        with pytest.raises(SnapshotNotFoundError, match="nowhere"):
            backend.write(dataset, orders(3), "append", branch="nowhere")
        with pytest.raises(NotAllowedError, match="tag"):
            backend.write(dataset, orders(3), "append", branch="v1")
        backend.create_ref(dataset, "audit", "branch")
        with pytest.raises(InvalidInputError, match="completes nothing"):
            backend.write(dataset, orders(3), "append", branch="audit", completes="2013-01-31")
        assert sorted(notes(backend, dataset)) == sorted(notes(backend, dataset, as_of="audit")) == [1, 2]

    def test_a_key_stands_for_a_write_to_one_branch(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        first = backend.write(dataset, orders(3), "append", branch="audit", idempotency_key="k")
        again = backend.write(dataset, orders(3), "append", branch="audit", idempotency_key="k")
        assert (again.replayed, again.sequence_number) == (True, first.sequence_number)
        with pytest.raises(InvalidInputError, match="different"):
            backend.write(dataset, orders(3), "append", idempotency_key="k")

    def test_what_main_did_meanwhile_is_not_lost(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        backend.write(dataset, orders(3, note="audited"), "append", branch="audit")
        backend.write(dataset, orders(2, note="audited"), "upsert", branch="audit")
        backend.write(dataset, orders(4, note="main"), "append")
        with pytest.raises(NotAllowedError, match="moved on") as caught:
            backend.fast_forward(dataset, "main", "audit")
        assert "2, 3" in caught.value.hint
        assert caught.value.details["cherry_pick"] == [2, 3]
        for number in (2, 3):
            backend.cherry_pick(dataset, number)
        assert notes(backend, dataset) == {1: "old", 2: "audited", 3: "audited", 4: "main"}
        with pytest.raises(NotAllowedError, match="already"):
            backend.cherry_pick(dataset, 3)
        with pytest.raises(NotAllowedError, match="moved on"):
            backend.fast_forward(dataset, "audit", "main")

    def test_a_branch_follows_main(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        backend.write(dataset, orders(3), "append")
        assert backend.fast_forward(dataset, "audit", "main").sequence_number == 2
        assert sorted(notes(backend, dataset, as_of="audit")) == [1, 2, 3]
        backend.write(dataset, orders(4), "append", branch="audit")
        with pytest.raises(NotAllowedError, match="has everything"):
            backend.fast_forward(dataset, "audit", "main")

    def test_a_dropped_branch_leaves_nothing_to_see(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        backend.write(dataset, orders(3), "append", branch="audit")
        backend.drop_ref(dataset, "audit")
        assert backend.snapshot(dataset, 2).branch == ""
        backend.create_ref(dataset, "audit", "branch")
        assert backend.snapshots(dataset, branch="audit") == []
        assert sorted(notes(backend, dataset, as_of="audit")) == [1, 2]
        assert backend.write(dataset, orders(3), "append").sequence_number == 3

    def test_what_is_published_keeps_to_a_contract_from_after_it_was_written(
        self, backend: LakeBackend, dataset: str
    ) -> None:
        backend.create_ref(dataset, "audit", "branch")
        unnoted = pa.table({"id": [3], "note": pa.array([None], pa.string())})
        backend.write(dataset, unnoted.to_reader(), "partial_update", branch="audit")
        text = backend.draft_contract(dataset).replace("name: note", "name: note\n    required: true", 1)
        backend.put_contract(dataset, text)
        with pytest.raises(ContractViolationError, match="note"):
            backend.write(dataset, unnoted.to_reader(), "partial_update", branch="audit")
        with pytest.raises(ContractViolationError, match="note"):
            backend.fast_forward(dataset, "main", "audit")
        backend.write(dataset, orders(4, note="main"), "append")
        with pytest.raises(ContractViolationError, match="note"):
            backend.cherry_pick(dataset, 2)
        assert notes(backend, dataset) == {1: "old", 2: "old", 4: "main"}

    def test_a_branch_repaired_for_a_contract_is_published(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        unnoted = pa.table({"id": [3], "note": pa.array([None], pa.string())})
        backend.write(dataset, unnoted.to_reader(), "partial_update", branch="audit")
        text = backend.draft_contract(dataset).replace("name: note", "name: note\n    required: true", 1)
        backend.put_contract(dataset, text)
        backend.write(dataset, orders(3, note="noted"), "upsert", branch="audit")
        backend.fast_forward(dataset, "main", "audit")
        assert notes(backend, dataset) == {1: "old", 2: "old", 3: "noted"}

    # --- cherry-picking ------------------------------------------------------------------------------------------

    def test_an_append_is_picked_without_a_data_file(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        added = backend.write(dataset, orders(3, note="audited"), "append", branch="audit")
        backend.write(dataset, orders(4, note="main"), "append")
        result = backend.cherry_pick(dataset, added.sequence_number)
        assert (result.sequence_number, result.rows_inserted) == (4, 1)
        snapshot = backend.snapshot(dataset, 4)
        assert (snapshot.operation, snapshot.branch) == (Operation.APPEND, "main")
        files = [entry.path for entry in backend.manifest(dataset, 2).entries]
        assert [entry.path for entry in backend.manifest(dataset, 4).entries] == files
        assert notes(backend, dataset) == {1: "old", 2: "old", 3: "audited", 4: "main"}

    def test_a_snapshot_made_from_the_newest_is_taken_as_it_is(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        for number in (3, 4):
            backend.write(dataset, orders(number), "append", branch="audit")
        assert backend.cherry_pick(dataset, 2).sequence_number == 2
        assert sorted(notes(backend, dataset)) == [1, 2, 3]
        assert backend.fast_forward(dataset, "main", "audit").sequence_number == 3

    def test_a_pick_that_would_be_wrong_is_refused(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "audit", "branch")
        backend.write(dataset, orders(2, note="audited"), "upsert", branch="audit")
        backend.write(dataset, orders(5, note="audited"), "append", branch="audit")
        delete(backend, dataset, [1], branch="audit")
        backend.write(dataset, orders(1, note="again"), "append", branch="audit")
        backend.write(dataset, orders(2, 5, note="main"), "upsert")
        with pytest.raises(NotAllowedError, match="changed or moved"):
            backend.cherry_pick(dataset, 2)
        with pytest.raises(DuplicateKeyError):
            backend.cherry_pick(dataset, 3)
        with pytest.raises(DuplicateKeyError):  # on main, 1 was not deleted before
            backend.cherry_pick(dataset, 5)
        with pytest.raises(SnapshotNotFoundError):
            backend.cherry_pick(dataset, 99)
        before = notes(backend, dataset)
        assert before == {1: "old", 2: "main", 5: "main"}
        backend.cherry_pick(dataset, 4)
        backend.cherry_pick(dataset, 5)
        assert notes(backend, dataset) == {**before, 1: "again"}

    def test_deletes_on_a_branch_make_nothing_late_elsewhere(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, SEQUENCED, "sequenced")
        backend.write(name, orders(1, 2, day=date(2013, 1, 1)), "append")
        backend.create_ref(name, "audit", "branch")
        gone = pa.table({"id": [1], "day": [date(2013, 1, 9)]}).to_reader()
        backend.write(name, gone, "delete", branch="audit")
        late = backend.write(name, orders(1, note="late", day=date(2013, 1, 5)), "upsert", branch="audit")
        assert late.rows_late == 1
        on_time = backend.write(name, orders(1, note="on time", day=date(2013, 1, 5)), "upsert")
        assert (on_time.rows_late, on_time.rows_updated) == (0, 1)
        backend.write(name, orders(3, day=date(2013, 1, 1)), "append", branch="audit")
        with pytest.raises(NotAllowedError, match="late"):
            backend.cherry_pick(name, backend.refs(name)[0].sequence_number)
        backend.rollback(name, 1)
        assert notes(backend, name) == {1: "", 2: ""}

    def test_a_published_delete_makes_rows_late(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, SEQUENCED, "sequenced")
        backend.write(name, orders(1, 2, day=date(2013, 1, 1)), "append")
        backend.create_ref(name, "audit", "branch")
        gone = pa.table({"id": [1], "day": [date(2013, 1, 9)]}).to_reader()
        backend.write(name, gone, "delete", branch="audit")
        backend.fast_forward(name, "main", "audit")
        assert backend.write(name, orders(1, day=date(2013, 1, 5)), "upsert").rows_late == 1
        backend.rollback(name, 1)
        assert backend.write(name, orders(1, note="back", day=date(2013, 1, 5)), "upsert").rows_updated == 1
        backend.rollback(name, 2)
        assert notes(backend, name) == {2: ""}
        assert backend.write(name, orders(1, day=date(2013, 1, 5)), "upsert").rows_late == 1

    def test_keys_of_a_dataset_hold_over_branches(self, backend: LakeBackend, namespace: str) -> None:
        name = make_orders(backend, namespace, KEYED, "held")
        backend.write(name, orders(1), "append")
        backend.create_ref(name, "audit", "branch")
        backend.write(name, orders(2), "append", branch="audit")
        backend.write(name, orders(2), "append")
        with pytest.raises(DuplicateKeyError):
            backend.write(name, orders(2), "append", branch="audit")
        with pytest.raises(DuplicateKeyError):
            backend.cherry_pick(name, 2)
