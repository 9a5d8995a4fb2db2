"""Statistics of columns: counted on request or by policy, and registered with the table for every engine to use."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from cordillera.catalog.commits import REFUSALS, CommitRequest, CommitService
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.errors import InvalidInputError, SnapshotNotFoundError
from cordillera.maintenance.results import StatisticsRefresh
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.counting import counted
from cordillera.spec.maintenance import (
    Advice,
    MaintenancePolicy,
    MaintenanceRun,
    MaintenanceTask,
    TableCounters,
    predicted_seconds,
    statistics_due,
)
from cordillera.spec.statistics import ColumnStatistics, TableStatistics
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.distinct_counts import CountedStatistics, bytes_of, count_distinct, counted_columns


class StatisticsService:
    """Counts distinct values.

    Args:
        store: Keeps how long it took.
        catalog: Resolves names.
        tables: Reads columns.
        commits: Registers statistics files.
        clock: Time and ids.
    """

    def __init__(
        self,
        store: MetadataStore,
        catalog: CatalogService,
        tables: TableService,
        commits: CommitService,
        clock: Clock,
    ) -> None:
        self._store, self._catalog, self._tables = store, catalog, tables
        self._commits, self._clock = commits, clock

    def statistics(self, name: str) -> tuple[ColumnStatistics, ...]:
        """Return what is known of a dataset's columns, from the newest statistics that there are."""
        metadata = self._tables.load(self._catalog.dataset(name, Privilege.READ).version)
        newest = TableStatistics.newest(metadata)
        return newest.columns(metadata) if newest else ()

    def refresh(self, name: str, columns: Sequence[str] = ()) -> StatisticsRefresh:
        """Count the distinct values of columns as they are now, beside readers and writers.

        Only those columns are read, and where files have only been added since the last time, only of those.

        Args:
            name: The dataset.
            columns: Columns besides those of the key and the partitioning, and those that were counted before.

        Raises:
            UnknownColumnError: If one does not exist.
            InvalidInputError: If there is no column to count, or one has no plain values.
            SnapshotNotFoundError: If the snapshot that was counted has expired meanwhile.
        """
        begun = monotonic()
        target = self._catalog.dataset(name, Privilege.ALTER, Privilege.READ)
        metadata = self._tables.load(target.version)
        chosen = counted_columns(metadata, target.name, columns)
        if not chosen:
            raise InvalidInputError(
                f"{target.name} has neither a key nor a partitioning whose values could be counted.",
                hint="Name columns.",
            )
        snapshot, newest = metadata.current_snapshot, TableStatistics.newest(metadata)
        if snapshot is None:
            return StatisticsRefresh()
        if newest and newest.snapshot is snapshot and set(chosen) <= set(newest.distinct):
            return StatisticsRefresh(newest.columns(metadata))
        done = count_distinct(self._tables.io, metadata, snapshot, chosen)
        self._register(target, done)
        seconds = monotonic() - begun
        self._record(target, metadata, done, seconds)
        return StatisticsRefresh(self.statistics(target.pinned_name), done.files_read, done.bytes_read, seconds)

    def advice(self, target: ResolvedDataset, policy: MaintenancePolicy, earlier: Sequence[MaintenanceRun]) -> Advice:
        """Return whether statistics are to be counted again, and what it takes at most: to read all of the columns."""
        metadata = self._tables.load(target.version)
        columns, live = counted_columns(metadata, target.name), self._tables.io.files.live(metadata.current_snapshot)
        size, counters = bytes_of(columns, live), TableCounters.of(metadata)
        due = statistics_due(policy, counters)
        return Advice(
            MaintenanceTask.REFRESH_STATISTICS,
            bool(due and columns),
            due or f"{counted(counters.uncounted, 'row')} came or went since distinct values were counted",
            len(live) if columns else 0,
            size,
            predicted_seconds(MaintenanceTask.REFRESH_STATISTICS, size, earlier),
        )

    def _register(self, target: ResolvedDataset, done: CountedStatistics) -> None:
        update = done.update
        try:
            with self._commits.attempts(target.version.id) as attempts:
                for attempt in attempts:
                    with attempt:
                        now = self._catalog.dataset(target.pinned_name, Privilege.ALTER)
                        if self._tables.load(now.version).snapshot_by_id(update.snapshot_id) is None:
                            raise SnapshotNotFoundError(
                                f"The snapshot of {target.name} whose values were counted has expired meanwhile.",
                                hint="Do it again.",
                            )
                        self._commits.commit(now, CommitRequest(updates=(update,)))
        except REFUSALS:  # not after other errors: what may have been committed is never removed
            self._tables.io.storage.delete([update.path])
            raise

    def _record(
        self, target: ResolvedDataset, metadata: TableMetadata, done: CountedStatistics, seconds: float
    ) -> None:
        run = MaintenanceRun(
            id=self._clock.new_id(),
            dataset_version_id=target.version.id,
            task=MaintenanceTask.REFRESH_STATISTICS,
            finished_at=self._clock.now(),
            seconds=seconds,
            files_rewritten=0,
            bytes_rewritten=done.bytes_read,
            files_written=1,
            files_left=TableCounters.of(metadata).files,
        )
        with self._store.write() as tx:
            tx.maintenance.insert(run)
