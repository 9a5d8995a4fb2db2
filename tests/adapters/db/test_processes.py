from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from uuid import UUID

from cordillera.adapters.db import open_metadata_store
from cordillera.testing.metadata_races_suite import try_to_advance
from cordillera.testing.metadata_samples import append_event, namespace, stored_dataset

PROCESSES, COMMITS = 4, 50


def test_no_commit_of_any_process_is_lost(url: str) -> None:
    store = open_metadata_store(url)
    _, version = stored_dataset(store)
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(PROCESSES)
    processes = [spawn.Process(target=_commit, args=(url, version.id, ready)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    with store.read() as tx:
        after = tx.dataset_versions.get(version.id)
        numbers = [one.sequence_number for one in tx.snapshots.page(version.id, None, 1000)]
        events = [event.payload["sequence_number"] for event in tx.events.page(limit=1000)]
    assert after is not None
    assert (after.sequence_number, after.rows) == (PROCESSES * COMMITS, PROCESSES * COMMITS)
    assert numbers == events == list(range(PROCESSES * COMMITS, 0, -1))
    store.close()


def test_a_process_that_dies_leaves_nothing_and_blocks_nobody(url: str) -> None:
    store = open_metadata_store(url)
    _, version = stored_dataset(store)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_write_and_hang, args=(url, version.id, theirs))
    process.start()
    assert ours.poll(60), "the process did not get to its transaction"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with store.write() as tx:
        assert tx.namespaces.get("half") is None
        tx.namespaces.insert(namespace("half"))
        assert tx.events.page(limit=9) == []
        append_event(tx, version.id)
    store.close()


def _commit(url: str, version_id: UUID, ready: object) -> None:
    store = open_metadata_store(url)
    ready.wait(60)
    for _ in range(COMMITS):
        while not try_to_advance(store, version_id):
            pass
    store.close()


def _write_and_hang(url: str, version_id: UUID, ready: Connection) -> None:
    store = open_metadata_store(url)
    with store.write() as tx:
        tx.namespaces.insert(namespace("half"))
        append_event(tx, version_id)
        ready.send("in the transaction")
        signal.pause()
