"""What a metadata store must do with the lake, tokens, events, the audit log and tasks, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from cordillera.errors import AlreadyExistsError, InvalidInputError
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.metadata.access import Token
from cordillera.ports.metadata.operations import LakeInfo, NewTask
from cordillera.spec.audit_chain import chained, problem_of
from cordillera.spec.event import AuditEntry, Circumstances, Event, Task, Topic
from cordillera.spec.maintenance import MaintenanceRun, MaintenanceTask
from cordillera.testing.metadata_samples import (
    NOW,
    PRINCIPAL,
    TRACE,
    append_event,
    enqueue,
    later,
    namespace,
    numbered_id,
    stored_dataset,
    told,
)


class OperationsSuite:
    """The lake, tokens, events, the audit log and tasks."""

    # --- the lake, tokens, times ------------------------------------------------------------------------------------

    def test_a_store_holds_one_lake(self, store: MetadataStore) -> None:
        lake = LakeInfo(uuid4(), "demo", "file:///lake", NOW)
        with store.write() as tx:
            assert tx.lake.get() is None
            tx.lake.put(lake)
            with pytest.raises(AlreadyExistsError):
                tx.lake.put(replace(lake, id=uuid4()))
            assert tx.lake.get() == lake

    def test_tokens_are_kept_by_hash(self, store: MetadataStore) -> None:
        made = [
            Token(numbered_id(number), f"t{number}", PRINCIPAL, f"hash{number}", NOW, None, None)
            for number in (3, 1, 2)
        ]
        with store.write() as tx:
            for token in made:
                tx.tokens.insert(token)
            with pytest.raises(AlreadyExistsError, match=r"user:ana.*'t3'"):
                tx.tokens.insert(replace(made[0], id=uuid4(), hash="other"))
            tx.tokens.insert(replace(made[0], id=numbered_id(4), hash="hash4", principal="user:ben"))
            assert tx.tokens.by_hash("hash1") == made[1]
            assert tx.tokens.by_hash("hash") is None
            assert tx.tokens.get(made[1].id) == made[1]
            assert tx.tokens.get(uuid4()) is None
            assert [token.hash for token in tx.tokens.page(None, 3)] == ["hash1", "hash2", "hash3"]
            assert [token.hash for token in tx.tokens.page(numbered_id(2), 3)] == ["hash3", "hash4"]
            tx.tokens.touch(made[1].id, later(5))
            assert tx.tokens.by_hash("hash1") == replace(made[1], last_used_at=later(5))
            assert tx.tokens.delete(made[1].id)
            assert not tx.tokens.delete(made[1].id)
            assert tx.tokens.by_hash("hash1") is None

    def test_instants_keep_microseconds_and_lose_their_zone(self, store: MetadataStore) -> None:
        zoned = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
        with store.write() as tx:
            tx.namespaces.insert(replace(namespace(), created_at=zoned))
            found = tx.namespaces.get("sales")
        assert found is not None
        assert found.created_at == NOW
        assert found.created_at.utcoffset() == timedelta(0)
        assert found.created_at.microsecond == 535897

    def test_a_time_without_a_zone_is_refused(self, store: MetadataStore) -> None:
        with pytest.raises(InvalidInputError, match="time zone"), store.write() as tx:
            tx.namespaces.insert(replace(namespace(), created_at=NOW.replace(tzinfo=None)))

    # --- events and the audit log -----------------------------------------------------------------------------------

    def test_an_event_waits_until_it_is_handled(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        with store.write() as tx:
            first = tx.events.append(
                told(version.id, Topic.PARTITION_COMPLETED),
                {"partition": "2026-03-14", "rows": [1, 2.5, None, True, "ü"], "nested": {"a": {}}},
            )
            others = [append_event(tx, version.id), append_event(tx)]
        assert first < others[0] < others[1]
        with store.write() as tx:
            found = tx.events.unhandled(9)
            assert found[0] == Event(
                first,
                Topic.PARTITION_COMPLETED,
                NOW,
                PRINCIPAL,
                TRACE,
                "sales.orders",
                version.id,
                {"partition": "2026-03-14", "rows": [1, 2.5, None, True, "ü"], "nested": {"a": {}}},
            )
            assert [event.number for event in found] == [first, *others]
            assert [event.number for event in tx.events.unhandled(2)] == [first, others[0]]
            assert tx.events.unhandled_count() == 3
            tx.events.mark_handled([first, others[1]], later(1))
            assert [event.number for event in tx.events.unhandled(9)] == [others[0]]
            tx.events.mark_handled([], later(1))
        with store.read() as tx:
            assert tx.events.unhandled_count() == 1
            handled = {event.number: event.handled_at for event in tx.events.page(limit=9)}
        assert handled == {first: later(1), others[0]: None, others[1]: later(1)}

    def test_events_told_together_are_as_those_told_one_by_one(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        payloads: list[dict[str, Any]] = [
            {"partition": "ü'1", "nested": {"a": [1, 2.5, None, True]}},
            {},
            {"partition": "2"},
        ]
        with store.write() as tx:
            for payload in payloads:
                tx.events.append(told(version.id), payload)
            tx.events.append_all(told(version.id), payloads)
        with store.read() as tx:
            found = tx.events.page(limit=9)[::-1]
        assert [event.payload for event in found] == payloads * 2
        assert [replace(event, number=0) for event in found[3:]] == [replace(event, number=0) for event in found[:3]]

    def test_an_event_is_handled_once(self, store: MetadataStore) -> None:
        with store.write() as tx:
            number = append_event(tx)
            tx.events.mark_handled([number], later(1))
            tx.events.mark_handled([number], later(2))
            assert tx.events.page(limit=1)[0].handled_at == later(1)

    def test_events_are_listed_newest_first(self, store: MetadataStore) -> None:
        with store.write() as tx:
            mine = [append_event(tx) for _ in range(4)]
            other = tx.events.append(Circumstances(Topic.RUN_FINISHED, NOW, "x", "", "", None), {})
        with store.read() as tx:
            assert [event.number for event in tx.events.page(limit=3)] == [other, *mine[:1:-1]]
            assert [event.number for event in tx.events.page(dataset="sales.orders", limit=2)] == mine[:1:-1]
            assert [event.number for event in tx.events.page(before=mine[2], limit=9)] == mine[1::-1]
            assert tx.events.page(dataset="sales.orders", before=mine[0], limit=9) == []

    def test_the_audit_log_is_listed_newest_first(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for number, name in enumerate(["sales.orders", "sales.other", "sales.orders"]):
                tx.audit.append(
                    at=later(number),
                    principal=PRINCIPAL,
                    action="dataset.commit",
                    object_kind="dataset",
                    object_name=name,
                    details={"number": number},
                    trace_id=TRACE,
                )
        with store.read() as tx:
            entries = tx.audit.page(limit=9)
            assert [entry.details["number"] for entry in entries] == [2, 1, 0]
            assert entries[0] == AuditEntry(
                entries[0].number,
                later(2),
                PRINCIPAL,
                "dataset.commit",
                "dataset",
                "sales.orders",
                {"number": 2},
                TRACE,
            )
            assert tx.audit.page(object_name="sales.orders", limit=9) == [entries[0], entries[2]]
            assert tx.audit.page(before=entries[0].number, limit=1) == [entries[1]]

    def test_the_audit_log_is_chained_behind_its_writers(self, store: MetadataStore) -> None:
        def append(number: int) -> None:
            with store.write() as tx:
                tx.audit.append(
                    at=later(number),
                    principal="user:ü",
                    action="x",
                    object_kind="y",
                    object_name=str(number),
                    details={"b": [1, 2.5, None, True, "ü"], "a": {"number": number}},
                    trace_id=TRACE,
                )

        def chain(_: int) -> None:
            with store.write() as tx:
                newest = tx.audit.lock_chain()
                tx.audit.chain(chained(tx.audit.waiting(3), newest))

        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(append, number) for number in range(30)]
            list(pool.map(chain, range(8)))
            [one.result() for one in writing]
            list(pool.map(chain, range(8)))
        with store.read() as tx:
            end, waiting = tx.audit.chain_end(), tx.audit.waiting(99)
            entries = tx.audit.chained(0, 99)
            assert end == entries[-1]
            assert tx.audit.chained(3, 2) == entries[3:5]
            assert {entry.number for entry in [*entries, *waiting]} == {
                entry.number for entry in tx.audit.page(limit=99)
            }
        assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
        assert len(entries) >= 24
        for entry, previous in zip(entries, [None, *entries], strict=False):
            assert problem_of(entry, previous) == ""

    # --- tasks ------------------------------------------------------------------------------------------------------

    def test_a_task_is_leased_and_finished(self, store: MetadataStore) -> None:
        task_id = uuid4()
        with store.write() as tx:
            assert tx.tasks.enqueue(task_id, "deliver", "a", {"rows": [1]}, now=NOW, trace_id=TRACE)
        with store.write() as tx:
            leased = _lease(tx, 1)
        assert leased == Task(
            task_id, "deliver", "a", {"rows": [1]}, "running", 1, NOW, "me", later(11), 1, "", TRACE, NOW
        )
        with store.write() as tx:
            assert tx.tasks.page(limit=9) == [leased]
            assert _lease(tx, 2) is None
            assert tx.tasks.holds(task_id, 1, now=later(10.9))
            assert [tx.tasks.is_running("deliver", key) for key in ("a", "b")] == [True, False]
            assert tx.tasks.finish(task_id, 1, now=later(10.9))
            assert not tx.tasks.is_running("deliver", "a")
            assert not tx.tasks.finish(task_id, 1, now=later(10.9))
            assert tx.tasks.page(limit=9) == []

    def test_a_task_waits_until_it_is_due(self, store: MetadataStore) -> None:
        with store.write() as tx:
            assert tx.tasks.enqueue(numbered_id(7), "late", "a", {}, now=NOW, due_at=later(60), trace_id=TRACE)
            assert tx.tasks.lease("w", now=later(59), until=later(99), kinds=["late"]) is None
            assert tx.tasks.lease("w", now=later(60), until=later(99), kinds=["late"]) is not None

    def test_a_task_is_queued_once(self, store: MetadataStore) -> None:
        with store.write() as tx:
            assert enqueue(tx, n=1)
            assert not enqueue(tx, n=2)
            assert enqueue(tx, "run", n=3)
            assert enqueue(tx, key="b", now=later(1), n=4)
            first = _lease(tx, 1, "deliver")
            assert first is not None
            assert enqueue(tx, n=5)  # the running one may have read an older state
            assert not enqueue(tx, n=6)
            assert sorted(task.payload["n"] for task in tx.tasks.page(limit=9)) == [1, 3, 4, 5]

    def test_tasks_are_queued_together_but_for_those_that_are_queued(self, store: MetadataStore) -> None:
        made = [NewTask(uuid4(), key, {"of": key}, "target's") for key in ("given up", "queued", 'new "\\')]
        with store.write() as tx:
            assert enqueue(tx, key="given up")
            assert enqueue(tx, key="queued", now=later(1), n=9)
            first = _lease(tx, 1, "deliver")
            assert first is not None
            assert tx.tasks.fail(first.id, first.fencing_token, error="no")
        with store.write() as tx:
            tx.tasks.enqueue_all("deliver", made, now=later(2), trace_id=TRACE)
            tx.tasks.enqueue_all("run", [NewTask(uuid4(), "queued", {})], now=NOW, trace_id=TRACE)
            tx.tasks.enqueue_all("run", [], now=NOW, trace_id=TRACE)
            found = tx.tasks.page(limit=9)
        of_kind = {one.key: one for one in found if one.kind == "deliver"}
        assert (len(found), of_kind.pop("queued").payload) == (4, {"n": 9})
        for one in (made[0], made[2]):
            queued = Task(
                one.id, "deliver", one.key, one.payload, "queued", 0, later(2), "", None, 0, "", TRACE, later(2)
            )
            assert of_kind.pop(one.key) == replace(queued, target=one.target)

    def test_the_task_due_for_longest_goes_first(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for seconds, kind in ((3, "run"), (1, "deliver"), (2, "run"), (5, "deliver")):
                assert enqueue(tx, kind, f"k{seconds}", now=later(seconds))
            assert _lease(tx, 0.5) is None
            assert _lease(tx, 9, "other") is None
            assert tx.tasks.lease("me", now=later(9), until=later(19), kinds=[]) is None
            taken = [_lease(tx, 4) for _ in range(4)]
            assert [task.key if task else None for task in taken] == ["k1", "k2", "k3", None]

    def test_a_lease_that_has_passed_is_taken_over(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx)
            first = _lease(tx, 0)
        assert first is not None
        with store.write() as tx:
            assert _lease(tx, 9.9) is None
            second = _lease(tx, 10)
            assert second is not None
            assert (second.id, second.fencing_token, second.attempts) == (first.id, 2, 2)
        with store.write() as tx:
            assert not tx.tasks.extend(first.id, 1, now=later(10), until=later(30))
            assert not tx.tasks.holds(first.id, 1, now=later(10))
            assert not tx.tasks.finish(first.id, 1, now=later(10))
            assert not tx.tasks.retry(first.id, 1, due_at=later(20), error="old")
            assert not tx.tasks.fail(first.id, 1, error="old")
            assert tx.tasks.page(limit=9) == [second]
            assert tx.tasks.holds(first.id, 2, now=later(10))

    def test_a_heartbeat_prolongs_a_lease_that_is_valid(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx)
            task = _lease(tx, 0)
            assert task is not None
            assert tx.tasks.extend(task.id, 1, now=later(9), until=later(30))
            assert _lease(tx, 29) is None
            assert tx.tasks.holds(task.id, 1, now=later(29))
            assert not tx.tasks.extend(task.id, 1, now=later(30), until=later(60))
            assert not tx.tasks.holds(task.id, 1, now=later(30))
            assert not tx.tasks.finish(task.id, 1, now=later(30))
            assert tx.tasks.finish(task.id, 1, now=later(29.9))

    def test_of_one_kind_and_key_one_runs_at_a_time(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx, n=1)
            first = _lease(tx, 0)
            assert first is not None
            enqueue(tx, n=2, now=later(1))
            assert _lease(tx, 5) is None
            enqueue(tx, "run", n=3, now=later(2))
            other = _lease(tx, 5)
            assert other is not None
            assert other.payload["n"] == 3
            again = _lease(tx, 10)  # the first lease has passed
            assert again is not None
            assert again.payload["n"] == 1
            assert _lease(tx, 11) is None
            assert tx.tasks.finish(first.id, 2, now=later(11))
            second = _lease(tx, 11)
            assert second is not None
            assert second.payload["n"] == 2

    def test_a_task_is_tried_again_when_it_is_due(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx, n=1)
            task = _lease(tx, 0)
            assert task is not None
            assert tx.tasks.retry(task.id, 1, due_at=later(60), error="unreachable")
            (waiting,) = tx.tasks.page(limit=9)
            assert waiting == replace(
                task, state="queued", due_at=later(60), last_error="unreachable", leased_by="", lease_until=None
            )
            assert not tx.tasks.extend(task.id, 1, now=later(1), until=later(99))
            assert not tx.tasks.finish(task.id, 1, now=later(1))
            assert not enqueue(tx)
            assert _lease(tx, 59) is None
            again = _lease(tx, 60)
            assert again is not None
            assert (again.attempts, again.fencing_token) == (2, 2)

    def test_a_task_gives_way_to_one_that_was_queued_meanwhile(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx, n=1)
            task = _lease(tx, 0)
            assert task is not None
            enqueue(tx, n=2, now=later(1))
            assert tx.tasks.retry(task.id, 1, due_at=later(60), error="unreachable")
            (left,) = tx.tasks.page(limit=9)
            assert (left.payload["n"], left.state, left.due_at) == (2, "queued", later(1))

    def test_a_task_given_up_stays_until_it_is_queued_anew(self, store: MetadataStore) -> None:
        with store.write() as tx:
            enqueue(tx, n=1)
            task = _lease(tx, 0)
            assert task is not None
            assert tx.tasks.fail(task.id, 1, error="broken")
            assert not tx.tasks.fail(task.id, 1, error="broken")
            assert _lease(tx, 1000) is None
            (failed,) = tx.tasks.page(state="failed", limit=9)
            assert (failed.id, failed.last_error, failed.attempts) == (task.id, "broken", 1)
            assert tx.tasks.counts() == {("deliver", "failed"): 1}
            assert enqueue(tx, n=2)
            assert tx.tasks.counts() == {("deliver", "queued"): 1}

    def test_tasks_are_listed_by_id_and_counted(self, store: MetadataStore) -> None:
        with store.write() as tx:
            for number in (3, 1, 2):
                assert tx.tasks.enqueue(numbered_id(number), "run", f"k{number}", {}, now=later(number), trace_id="")
            assert _ids(tx.tasks.page(limit=2)) == [numbered_id(1), numbered_id(2)]
            assert _ids(tx.tasks.page(after=numbered_id(1), limit=9)) == [numbered_id(2), numbered_id(3)]
            assert tx.tasks.oldest_due(later(0.5)) is None
            assert tx.tasks.oldest_due(later(9)) == later(1)
            assert _lease(tx, 5) is not None
            assert tx.tasks.oldest_due(later(9)) == later(2)
            assert _ids(tx.tasks.page(state="queued", limit=9)) == [numbered_id(2), numbered_id(3)]
            assert _ids(tx.tasks.page(state="queued", after=numbered_id(2), limit=9)) == [numbered_id(3)]
            assert tx.tasks.counts() == {("run", "queued"): 2, ("run", "running"): 1}
            assert tx.tasks.page(state="finished", limit=9) == []

    def test_a_payload_that_is_not_json_is_refused(self, store: MetadataStore) -> None:
        with pytest.raises(InvalidInputError), store.write() as tx:
            enqueue(tx, made_of=object())
        with store.read() as tx:
            assert tx.tasks.counts() == {}

    # --- maintenance ---------------------------------------------------------------------------------------------

    def test_runs_of_maintenance_are_found_newest_first(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        runs = [_run(version.id, minutes, MaintenanceTask.COMPACT) for minutes in range(3)]
        foreign = _run(other.id, 9, MaintenanceTask.COMPACT)
        expiry = _run(version.id, 5, MaintenanceTask.EXPIRE)
        with store.write() as tx:
            for run in [*runs, foreign, expiry]:
                tx.maintenance.insert(run)
        with store.read() as tx:
            assert tx.maintenance.latest(version.id, MaintenanceTask.COMPACT) == runs[2]
            assert tx.maintenance.latest(version.id, MaintenanceTask.EXPIRE) == expiry
            assert tx.maintenance.latest(other.id, MaintenanceTask.EXPIRE) is None
            assert tx.maintenance.recent(MaintenanceTask.COMPACT, version.id, 2) == [runs[2], runs[1]]
            assert tx.maintenance.recent(MaintenanceTask.COMPACT) == [foreign, *reversed(runs)]

    def test_old_runs_of_maintenance_are_forgotten(self, store: MetadataStore) -> None:
        dataset, version = stored_dataset(store)
        with store.write() as tx:
            for minutes in range(105):
                tx.maintenance.insert(_run(version.id, minutes, MaintenanceTask.COMPACT))
            kept = tx.maintenance.recent(MaintenanceTask.COMPACT, version.id, 1000)
            assert len(kept) == 100
            assert kept[0].finished_at == NOW + timedelta(minutes=104)
            tx.datasets.purge(dataset.id)
            assert tx.maintenance.recent(MaintenanceTask.COMPACT) == []


def _run(version_id: UUID, minutes: int, task: MaintenanceTask) -> MaintenanceRun:
    return MaintenanceRun(uuid4(), version_id, task, NOW + timedelta(minutes=minutes), 1.5, 40, 2**40, 2, 7)


def _lease(tx: Transaction, seconds: float, *kinds: str) -> Task | None:
    """Lease a task for ten seconds."""
    now: datetime = later(seconds)
    return tx.tasks.lease("me", now=now, until=now + timedelta(seconds=10), kinds=kinds or ("deliver", "run"))


def _ids(tasks: list[Task]) -> list[UUID]:
    return [task.id for task in tasks]
