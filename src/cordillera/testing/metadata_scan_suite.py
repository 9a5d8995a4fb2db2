"""What a metadata store must promise of scan statistics and of who reads, as tests."""

# ruff: noqa: D102 # tests are named by what they show

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread
from uuid import uuid4

from cordillera.ports.metadata import MetadataStore
from cordillera.spec.consumer import Reads
from cordillera.spec.scan_statistics import ALL_COLUMNS, ColumnScans, ColumnUse
from cordillera.testing.metadata_samples import NOW, stored_dataset

TODAY = NOW.date()
YESTERDAY = TODAY - timedelta(days=1)
_ALL = ColumnScans(ALL_COLUMNS, ColumnUse.ANY, 3, 0, 30, 20, 2**40, 2**39)
_RANGE = ColumnScans(7, ColumnUse.RANGE, 2, 1, 20, 10, 2**39, 2**38, measured=2, fraction=0.25)
_EQUAL = ColumnScans(7, ColumnUse.EQUALITY, 1, 1, 10, 1, 2**39, 2**35, values=4)


class ScanSuite:
    """Sums over scans and reads."""

    def test_reads_add_up_by_principal_and_the_latest_come_first(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        dataset, other = stored_dataset(store, "sales.other")
        earlier = NOW - timedelta(hours=1)
        ana, bob = Reads("user:ana", 2, 2**40, NOW), Reads("user:bob", 1, 7, earlier)
        for day, reads in ((YESTERDAY, [ana]), (TODAY, [bob, ana]), (TODAY, [Reads("user:ana", 1, 0, earlier)])):
            with store.write() as tx:
                tx.reads.add(day, {version.id: reads, other.id: [bob], uuid4(): [ana]})
        both = Reads("user:ana", 5, 2**41, NOW)
        with store.write() as tx:
            assert tx.reads.totals(version.id, YESTERDAY, 9) == [both, bob]
            assert tx.reads.totals(version.id, YESTERDAY, 1) == [both]
            assert tx.reads.totals(version.id, TODAY, 9, {"user:ana", "user:x"}) == [Reads("user:ana", 3, 2**40, NOW)]
            assert tx.reads.totals(version.id, TODAY, 9, ()) == []
            assert tx.reads.forget(TODAY) == 2
            tx.datasets.purge(dataset.id)
            assert tx.reads.totals(other.id, YESTERDAY, 9) == []
            assert [one.reads for one in tx.reads.totals(version.id, YESTERDAY, 9)] == [3, 1]

    def test_scan_statistics_add_up_over_calls_and_days(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        for day in (YESTERDAY, TODAY, TODAY):
            with store.write() as tx:
                tx.scans.add(day, {version.id: [_RANGE, _ALL], other.id: [_EQUAL]})
        with store.read() as tx:
            twice = [_ALL.plus(_ALL), _RANGE.plus(_RANGE)]
            assert tx.scans.totals(version.id, TODAY) == twice
            assert tx.scans.totals(version.id, YESTERDAY) == [twice[0].plus(_ALL), twice[1].plus(_RANGE)]
            assert tx.scans.totals(other.id, TODAY) == [_EQUAL.plus(_EQUAL)]
            assert tx.scans.totals(version.id, TODAY + timedelta(days=1)) == []

    def test_uses_of_a_column_are_counted_apart(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        with store.write() as tx:
            tx.scans.add(TODAY, {version.id: [_RANGE, _EQUAL]})
        with store.read() as tx:
            assert tx.scans.totals(version.id, TODAY) == [_EQUAL, _RANGE]

    def test_old_scan_statistics_are_forgotten(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        with store.write() as tx:
            tx.scans.add(YESTERDAY, {version.id: [_RANGE, _ALL]})
            tx.scans.add(TODAY, {version.id: [_EQUAL]})
        with store.write() as tx:
            assert tx.scans.forget(TODAY) == 2
            assert tx.scans.totals(version.id, YESTERDAY) == [_EQUAL]

    def test_scan_statistics_go_with_their_dataset(self, store: MetadataStore) -> None:
        dataset, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        with store.write() as tx:
            tx.scans.add(TODAY, {version.id: [_EQUAL]})
            tx.datasets.purge(dataset.id)
        with store.write() as tx:
            assert tx.scans.totals(version.id, TODAY) == []
            tx.scans.add(TODAY, {version.id: [_EQUAL], uuid4(): [_ALL], other.id: [_RANGE]})
            assert tx.scans.totals(version.id, TODAY) == []
            assert tx.scans.totals(other.id, TODAY) == [_RANGE]

    def test_scan_statistics_of_writers_at_once_add_up(self, store: MetadataStore) -> None:
        _, version = stored_dataset(store)
        _, other = stored_dataset(store, "sales.other")
        ready = Barrier(4)

        def add(turned: bool) -> None:
            ready.wait()
            counts = {version.id: [_RANGE, _ALL], other.id: [_EQUAL]}
            for _ in range(10):
                with store.write() as tx:
                    tx.scans.add(TODAY, dict(reversed(counts.items())) if turned else counts)

        threads = [Thread(target=add, args=(number % 2 == 0,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with store.read() as tx:
            totals = [*tx.scans.totals(version.id, TODAY), *tx.scans.totals(other.id, TODAY)]
        assert [one.scans for one in totals] == [40 * _ALL.scans, 40 * _RANGE.scans, 40 * _EQUAL.scans]
        assert [one.fraction for one in totals] == [0.0, 10.0, 0.0]
