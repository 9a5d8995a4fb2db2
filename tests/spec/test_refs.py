"""Branches and tags as rules: whatever is done to them, metadata stays sound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordillera.errors import CommitConflictError, CordilleraError, InvalidInputError, InvalidNameError, NotAllowedError
from cordillera.spec.commit import AddSnapshot, RemoveSnapshotRef, RemoveSnapshots, SetSnapshotRef, Update, apply
from cordillera.spec.refs import (
    RefKind,
    Retention,
    ancestors,
    check_ref_name,
    find_ref,
    head_of,
    on_branch,
    refs_of,
)
from cordillera.spec.table_metadata import TableMetadata
from tests.spec.test_commit import snapshot, table, with_snapshots

NAMES = st.sampled_from(["main", "audit", "v1"])
STEPS = st.one_of(
    st.tuples(st.just("commit"), NAMES),
    st.tuples(st.just("branch"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("tag"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("drop"), st.sampled_from(["audit", "v1"])),
    st.tuples(st.just("expire"), st.integers(0, 9)),
)


def updates(metadata: TableMetadata, step: tuple[object, ...]) -> tuple[Update, ...]:
    match step:
        case "commit", str(branch):
            head = head_of(metadata, branch)
            new = snapshot(metadata.last_sequence_number + 1, head.snapshot_id if head else None, metadata.next_row_id)
            return AddSnapshot(new), SetSnapshotRef(branch, new.snapshot_id)
        case ("branch" | "tag") as kind, str(name), int(number):
            return (SetSnapshotRef(name, 100 + number, kind),)
        case "drop", str(name):
            return (RemoveSnapshotRef(name),)
        case "expire", int(number):
            return (RemoveSnapshots(frozenset({100 + number})),)
    raise AssertionError(step)


@given(st.lists(STEPS, max_size=25))
def test_metadata_stays_sound(steps: list[tuple[object, ...]]) -> None:
    metadata, now = table(), 2_000
    for step in steps:
        try:
            metadata = apply(updates(metadata, step), metadata, now)
        except CordilleraError:
            continue
        now += 1
        ids = [one.snapshot_id for one in metadata.snapshots]
        numbers = [one.sequence_number for one in metadata.snapshots]
        assert numbers == sorted(set(numbers))
        assert len(ids) == len(set(ids))
        assert all(ref["snapshot-id"] in ids for ref in metadata.refs.values())
        main = metadata.refs.get("main", {}).get("snapshot-id")
        assert metadata.current_snapshot_id == main
        assert all(entry["snapshot-id"] in ids for entry in metadata.snapshot_log)
        if main is not None and metadata.snapshot_log:
            assert metadata.snapshot_log[-1]["snapshot-id"] == main
        assert TableMetadata.from_json(metadata.to_json()).to_json() == metadata.to_json()
        for ref in refs_of(metadata):
            assert next(ancestors(metadata, ref.snapshot_id)).sequence_number == ref.sequence_number


def test_a_branch_is_seen_with_its_own_head_and_tombstones() -> None:
    metadata = apply((SetSnapshotRef("audit", 101), SetSnapshotRef("v1", 101, "tag")), with_snapshots(2), 2_000)
    view = on_branch(metadata, "audit", "a.b")
    assert view.current_snapshot is not None
    assert (view.current_snapshot.snapshot_id, view.branch) == (101, "audit")
    assert view.tombstones_property == "cordillera.tombstones.audit"
    assert on_branch(metadata, "main", "a.b") is metadata
    with pytest.raises(NotAllowedError, match="is a tag"):
        on_branch(metadata, "v1", "a.b")
    with pytest.raises(AssertionError):
        view.to_json()


def test_a_number_that_another_branch_has_taken_is_a_conflict() -> None:
    metadata = with_snapshots(2)
    theirs = apply((AddSnapshot(snapshot(3, 102, 20)), SetSnapshotRef("audit", 103)), metadata, 2_000)
    with pytest.raises(CommitConflictError):
        apply((AddSnapshot(snapshot(3, 102, 20)), SetSnapshotRef("main", 103)), theirs, 2_000)


def test_retention_has_its_limits() -> None:
    metadata = with_snapshots(1)
    kept = apply((SetSnapshotRef("v1", 101, "tag", {"max-ref-age-ms": 5}),), metadata, 2_000)
    assert find_ref(kept, "v1", "a.b", RefKind.TAG).retention == Retention(max_ref_age_ms=5)
    for update in (
        SetSnapshotRef("v1", 101, "tag", {"min-snapshots-to-keep": 1}),
        SetSnapshotRef("b", 101, "branch", {"max-ref-age-ms": 0}),
        SetSnapshotRef("b", 101, "twig"),
        SetSnapshotRef("main", 101, "tag"),
    ):
        with pytest.raises(InvalidInputError):
            apply((update,), metadata, 2_000)
    with pytest.raises(InvalidInputError, match="cannot become"):
        apply((SetSnapshotRef("v1", 101, "branch"),), kept, 2_000)


def test_setting_main_to_where_it_is_leaves_no_trace() -> None:
    metadata = with_snapshots(2)
    kept = apply((SetSnapshotRef("main", 102, options={"min-snapshots-to-keep": 4}),), metadata, 2_000)
    assert kept.snapshot_log == metadata.snapshot_log
    assert kept.refs["main"]["min-snapshots-to-keep"] == 4


@pytest.mark.parametrize("name", ["", "1", "2026-01-31", "a b", "a/b", "-a", "é", "x" * 129])
def test_names_that_could_be_taken_for_something_else_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        check_ref_name(name)
    assert check_ref_name("audit-2026.01_31") == "audit-2026.01_31"
