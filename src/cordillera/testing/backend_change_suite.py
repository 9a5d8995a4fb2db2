"""What every lake must do, embedded or behind a server, as tests: incremental reads."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from cordillera.client.backend import LakeBackend
from cordillera.client.dataset import Dataset
from cordillera.errors import InvalidInputError, NotAllowedError, SnapshotNotFoundError, UnknownColumnError
from cordillera.spec.schema_evolution import AddColumn, RenameColumn
from cordillera.testing.backend_suite import LakeSuite, orders


def changes(dataset: Dataset, after: Any = None, upto: Any = None, **options: Any) -> list[tuple[str, int, str]]:
    """Return kind, order and note of each change, by order."""
    found = dataset.changes(after, upto, **options).to_arrow().to_pylist()
    told = [(row["_change_type"], row["id"], row["note"]) for row in found]
    return sorted(told, key=lambda change: (change[1], change[0] != "update_before"))


class ChangeSuite(LakeSuite):
    """What changed between two moments."""

    @pytest.fixture
    def changed(self, backend: LakeBackend, dataset: str) -> Dataset:
        """Return a dataset with three snapshots: two orders; one of them changed, one new; one gone."""
        backend.write(dataset, orders(1, 2, note="first"), "upsert")
        backend.write(dataset, orders(2, 3, note="second"), "upsert")
        backend.write(dataset, orders(1), "delete")
        return Dataset(backend, dataset)

    def test_changes_lead_from_one_state_to_another(self, changed: Dataset) -> None:
        update = [("update_before", 2, "first"), ("update_after", 2, "second")]
        assert changes(changed, 1) == [("delete", 1, "first"), *update, ("insert", 3, "second")]
        assert changes(changed, 1, 2) == [*update, ("insert", 3, "second")]
        assert changes(changed, "2", "3") == [("delete", 1, "first")]
        assert changes(changed) == changes(changed, 0) == [("insert", 2, "second"), ("insert", 3, "second")]
        assert changes(changed, 3) == []
        assert changes(changed, upto=1) == [("insert", 1, "first"), ("insert", 2, "first")]

    def test_changes_tell_type_and_commit(self, changed: Dataset) -> None:
        table = changed.changes(1, columns=["id"]).to_arrow()
        assert table.schema == pa.schema(
            [
                changed.schema.field("id"),
                pa.field("_change_type", pa.string(), nullable=False),
                pa.field("_commit_sequence_number", pa.int64(), nullable=False),
            ]
        )
        assert {tuple(row.values()) for row in table.to_pylist()} == {(1, "delete", 3), (3, "insert", 2)}

    def test_every_commit_can_be_followed(self, changed: Dataset) -> None:
        table = changed.changes(net=False).to_arrow()
        assert table.column("_commit_sequence_number").to_pylist() == [1, 1, 2, 2, 2, 3]
        with pytest.raises(NotAllowedError, match="lead from snapshot 3 to snapshot 1"):
            changed.changes(3, 1, net=False).to_arrow()
        assert len(changes(changed, 3, 1)) == 4

    def test_a_condition_limits_changes(self, changed: Dataset) -> None:
        assert changes(changed, 1, where="note = 'first'") == [("delete", 1, "first"), ("delete", 2, "first")]
        assert changes(changed, 1, where="id = 3", net=False) == [("insert", 3, "second")]
        assert changed.changes(1, columns=["id", "day"], where="id = 2").to_arrow().num_rows == 0

    def test_changes_have_the_later_schema(self, changed: Dataset) -> None:
        changed.evolve(RenameColumn("note", "remark"), AddColumn("extra", pa.int32()))
        assert changed.changes(1).to_arrow().column_names[:5] == ["id", "day", "amount", "remark", "extra"]
        assert changed.changes(1, 2).to_arrow().column_names[:4] == ["id", "day", "amount", "note"]
        rows = [{"id": 3, "day": None, "amount": None, "remark": "second", "extra": 7}]
        changed.write(rows, "upsert")
        images = changed.changes(3, columns=["remark", "extra"]).to_arrow().to_pylist()
        assert [tuple(row.values()) for row in images] == [
            ("second", None, "update_before", 4),
            ("second", 7, "update_after", 4),
        ]

    def test_moves_and_rollbacks(self, backend: LakeBackend, changed: Dataset) -> None:
        changed.compact("sort")
        assert changes(changed, 3) == changes(changed, 3, net=False) == []
        changed.rollback(2)
        back = changed.changes(3).to_arrow().to_pylist()
        now = backend.dataset(changed.name).version.sequence_number
        told = [(row["_change_type"], row["id"], row["_commit_sequence_number"]) for row in back]
        assert told == [("insert", 1, now)]

    def test_branches_can_be_compared(self, backend: LakeBackend, changed: Dataset) -> None:
        changed.create_branch("audit")
        backend.write(changed.name, orders(4, note="audited"), "upsert", branch="audit")
        backend.write(changed.name, orders(5, note="on main"), "upsert")
        assert changes(changed, "main", "audit") == [("insert", 4, "audited"), ("delete", 5, "on main")]
        with pytest.raises(NotAllowedError, match="lead from"):
            changes(changed, "main", "audit", net=False)

    def test_expired_snapshots(self, changed: Dataset) -> None:
        changed.expire_snapshots(older_than=timedelta(0), keep_last=1)
        with pytest.raises(SnapshotNotFoundError, match="no snapshot as of 1"):
            changes(changed, 1)
        with pytest.raises(SnapshotNotFoundError, match="have expired"):
            changes(changed, net=False)
        assert len(changes(changed)) == 2

    def test_moments_as_everywhere(self, changed: Dataset) -> None:
        long_ago = datetime(1999, 1, 1, tzinfo=UTC)
        assert changes(changed, long_ago) == changes(changed, long_ago.date()) == changes(changed)
        assert changes(changed, datetime.now(UTC) + timedelta(days=1)) == []
        with pytest.raises(InvalidInputError, match="no moment"):
            changed.changes("-soon")
        with pytest.raises(UnknownColumnError):
            changed.changes(columns=["nothing"]).to_arrow()

    def test_an_empty_dataset_has_no_changes(self, backend: LakeBackend, dataset: str) -> None:
        assert changes(Dataset(backend, dataset)) == []
        assert changes(Dataset(backend, dataset), net=False) == []

    def test_changes_are_limited(self, backend: LakeBackend, changed: Dataset) -> None:
        assert backend.changes(changed.name, limit=1).read_all().num_rows == 1
