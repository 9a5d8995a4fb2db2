"""What every lake must do with a dataset's past, embedded or behind a server, as tests. Needs pytest.

Subclass :class:`PastSuite` in a test module and provide the fixtures ``backend`` and ``work``.
"""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import LakeBackend
from cordillera.errors import (
    InvalidInputError,
    NotAllowedError,
    SnapshotNotFoundError,
)
from cordillera.spec.manifest import FileContent, TableOperation
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.testing.backend_branch_suite import WrittenLakeSuite
from cordillera.testing.backend_suite import make_orders, notes, orders


class PastSuite(WrittenLakeSuite):
    """Rolling back, and upgrading what older format versions hold."""

    # --- rolling back --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
    def test_targets_follow_a_rollback(
        self, backend: LakeBackend, namespace: str, work: Callable[[], object], tmp_path: Path, mode: str
    ) -> None:
        keyed = make_orders(backend, namespace, TableOptions(key=("id",), write_mode=mode), "keyed")
        keyless = make_orders(backend, namespace, TableOptions(write_mode=mode), "keyless")
        target = backend.create_target(f"t{uuid4().hex[:12]}", "duckdb", {"path": str(tmp_path / "t.duckdb")}).name
        subscriptions = [backend.subscribe(WantedSubscription(name, target)).id for name in (keyed, keyless)]
        states = []
        for name in (keyed, keyless):
            backend.write(name, orders(1, 2, 3, note="a"), "append")
            states.append(notes(backend, name))
            backend.create_ref(name, "good", "tag")
        backend.write(keyed, orders(2, 4, note="b"), "upsert")
        backend.write(keyless, orders(4, note="b"), "append")
        for name in (keyed, keyless):
            backend.delete_where(name, "id = 1")
        work()
        for name, state in zip((keyed, keyless), states, strict=True):
            result = backend.rollback(name, "good")
            assert result.snapshot_committed
            assert notes(backend, name) == state
            assert backend.dataset(name).version.rows == 3
            newest = backend.snapshots(name, limit=1)[0]
            assert (newest.operation, newest.rows) == (TableOperation.ROLLBACK, 3)
            added = [entry for entry in backend.manifest(name, newest.sequence_number).entries if entry.added]
            before = {entry.path for number in (1, 2, 3) for entry in backend.manifest(name, number).entries}
            assert {entry.path for entry in added if entry.content is FileContent.DATA} <= before
        work()
        for subscription in subscriptions:
            assert backend.subscription(subscription).in_step
            assert backend.verify_subscription(subscription).equal
        backend.write(keyed, orders(1, 9, note="c"), "upsert")
        backend.write(keyless, orders(9, note="c"), "append")
        backend.rollback(keyed, 3)
        work()
        assert notes(backend, keyed) == {2: "b", 3: "a", 4: "b"}
        for subscription in subscriptions:
            assert backend.verify_subscription(subscription).equal

    def test_a_rollback_goes_to_what_readers_have_seen(self, backend: LakeBackend, dataset: str) -> None:
        moment = backend.snapshot(dataset, 1).committed_at
        backend.write(dataset, orders(3), "append")
        backend.create_ref(dataset, "audit", "branch")
        backend.write(dataset, orders(4), "append", branch="audit")
        with pytest.raises(NotAllowedError, match="never on main"):
            backend.rollback(dataset, "audit")
        with pytest.raises(SnapshotNotFoundError):
            backend.rollback(dataset, 99)
        assert not backend.rollback(dataset, 2).snapshot_committed
        assert backend.rollback(dataset, moment).sequence_number == 4
        assert sorted(notes(backend, dataset)) == [1, 2]
        with pytest.raises(NotAllowedError, match="moved on"):
            backend.fast_forward(dataset, "main", "audit")

    def test_a_rollback_goes_behind_snapshots_that_have_expired(self, backend: LakeBackend, dataset: str) -> None:
        backend.create_ref(dataset, "release", "tag")
        for number in (3, 4):
            backend.write(dataset, orders(number), "append")
        assert backend.expire_snapshots(dataset, older_than_hours=0, keep_last=1).snapshots == (2,)
        assert backend.rollback(dataset, "release").snapshot_committed
        assert sorted(notes(backend, dataset)) == [1, 2]

    # --- the format version --------------------------------------------------------------------------------------

    def test_an_upgrade_changes_no_file(
        self, backend: LakeBackend, namespace: str, work: Callable[[], object], tmp_path: Path
    ) -> None:
        name = make_orders(backend, namespace, TableOptions(key=("id",), format_version=2), "older")
        keyless = make_orders(backend, namespace, TableOptions(format_version=2), "keyless")
        target = backend.create_target(f"t{uuid4().hex[:12]}", "duckdb", {"path": str(tmp_path / "t.duckdb")}).name
        subscription = backend.subscribe(WantedSubscription(name, target)).id
        for one in (name, keyless):
            backend.write(one, orders(1, 2, note="a"), "append")
            result = backend.upgrade(one)
            assert (result.sequence_number, result.snapshot_committed) == (1, False)
            assert backend.dataset(one).version.format_version == 3
            assert notes(backend, one) == {1: "a", 2: "a"}
            backend.upgrade(one)
        with pytest.raises(InvalidInputError, match="cannot become 2"):
            backend.upgrade(name, 2)
        with pytest.raises(InvalidInputError, match="cannot become 9"):
            backend.upgrade(name, 9)
        followed = backend.subscribe(WantedSubscription(keyless, target, table="keyless")).id
        work()
        assert backend.verify_subscription(subscription).equal
        backend.write(name, orders(2, 3, note="b"), "upsert")
        backend.write(keyless, orders(3, note="b"), "append")
        work()
        backend.delete_where(keyless, "id = 1")
        work()
        for subscribed in (subscription, followed):
            assert backend.subscription(subscribed).in_step
            assert backend.verify_subscription(subscribed).equal
        backend.rollback(keyless, 1)
        work()
        assert backend.verify_subscription(followed).equal
        backend.delete_where(keyless, "id = 2")
        work()
        assert backend.verify_subscription(followed).equal
        assert notes(backend, keyless) == {1: "a"}
        assert notes(backend, name) == {1: "a", 2: "b", 3: "b"}
        assert notes(backend, name, as_of=1) == {1: "a", 2: "a"}
