"""What a metadata store must do so that targets are not given too much at once, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from uuid import uuid4

from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.event import Task
from cordillera.testing.metadata_samples import NOW, TRACE, later, target


class LoadSuite:
    """Tasks by the target that they work on."""

    def test_a_target_gets_no_more_tasks_at_once_than_may_be(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.targets.insert(target("slow"))
            for key in ("a", "b", "c"):
                _enqueue(tx, key, "slow")
            _enqueue(tx, "d", "unlimited")
            _enqueue(tx, "e", "")
        with store.write() as tx:
            taken = [_lease(tx, 1) for _ in range(5)]
        assert [task.key if task else "" for task in taken] == ["a", "b", "d", "e", ""]
        assert taken[0] is not None
        assert taken[0].target == "slow"
        with store.write() as tx:
            assert tx.tasks.retry(taken[0].id, 1, due_at=later(1), error="away")
            third = _lease(tx, 2)
            assert third is not None
            assert third.key == "c"
            assert _lease(tx, 2) is None

    def test_a_task_whose_lease_has_passed_takes_no_room(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.targets.insert(target("slow"))
            for key in ("a", "b", "c"):
                _enqueue(tx, key, "slow")
            for moment in (1, 2, 12):
                assert _lease(tx, moment) is not None
            assert [task.state for task in tx.tasks.page(limit=9)].count("running") >= 2
            stolen = _lease(tx, 13)
            assert stolen is not None

    def test_workers_who_take_tasks_together_keep_the_limit(self, store: MetadataStore) -> None:
        with store.write() as tx:
            tx.targets.insert(target("slow"))
            for number in range(20):
                _enqueue(tx, f"k{number}", "slow")
        together = Barrier(4, timeout=60)

        def take(_: int) -> int:
            together.wait()
            taken = 0
            for _ in range(3):
                with store.write() as tx:
                    taken += _lease(tx, 1) is not None
            return taken

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(take, range(4))) == 2


def _enqueue(tx: Transaction, key: str, name: str) -> None:
    assert tx.tasks.enqueue(
        uuid4(), "deliver", key, {}, now=NOW, due_at=later(ord(key[0]) / 1000), trace_id=TRACE, target=name
    )


def _lease(tx: Transaction, seconds: float) -> Task | None:
    """Lease a task for ten seconds; two may work on a target."""
    now: datetime = later(seconds)
    until = now + timedelta(seconds=10)
    return tx.tasks.lease("me", now=now, until=until, kinds=["deliver"], at_once=lambda _: 2)
