"""The upkeep of a dataset: its files, snapshots and statistics, and what is done about them unasked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from cordillera.client.backend import LakeBackend
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    MaintenanceStatus,
    ManifestRewriteResult,
    StatisticsRefresh,
)
from cordillera.spec.advice import LayoutAdvice
from cordillera.spec.durations import in_hours
from cordillera.spec.maintenance import (
    CompactionOptions,
    MaintenancePolicy,
    parse_strategy,
    policy_property,
    policy_value,
)
from cordillera.spec.statistics import ColumnStatistics

_SLICE_BYTES = 1024**3
"""What one request compacts, so that progress can be told and no request takes for ever."""


class DatasetMaintenance:
    """The part of ``Dataset`` that keeps its files in order."""

    _backend: LakeBackend
    name: str

    def compact(
        self,
        strategy: str = "bin-pack",
        *,
        columns: Sequence[str] = (),
        where: str | None = None,
        target_file_size: int | None = None,
        delete_ratio: float = 0.0,
        rewrite_all: bool | None = None,
        max_groups: int | None = None,
        max_bytes: int | None = None,
        progress: Callable[[CompactionResult], object] | None = None,
    ) -> CompactionResult:
        """Move rows into fewer, larger or better sorted files, beside readers and writers. No row changes.

        Args:
            strategy: ``bin-pack``, ``sort`` or ``z-order``.
            columns: What to sort or to order by; for sort by default the sort order, else the key.
            where: SQL condition; only files that may hold rows it is true for are rewritten.
            target_file_size: Bytes; by default the table's ``write.target-file-size-bytes``.
            delete_ratio: A file is rewritten once a larger share of its rows is deleted; 0 for any deleted row.
            rewrite_all: Rewrite files that need it for neither size nor deletes; by default when sorting.
            max_groups, max_bytes: End after so many groups of files, or bytes; the rest is left for another time.
            progress: Called with what has been done so far, and what is left, after every gigabyte.
        """
        options = CompactionOptions(
            parse_strategy(strategy), tuple(columns), where, target_file_size, delete_ratio, rewrite_all
        )
        parts: list[CompactionResult] = []
        while True:
            done = CompactionResult.total(parts)
            options = replace(
                options,
                max_groups=None if max_groups is None else max_groups - done.groups,
                max_bytes=_SLICE_BYTES if max_bytes is None else min(_SLICE_BYTES, max_bytes - done.bytes_rewritten),
                upto=done.upto if parts else None,
            )
            parts.append(self._backend.compact(self.name, options))
            done = CompactionResult.total(parts)
            if progress is not None:
                progress(done)
            enough = (max_groups is not None and done.groups >= max_groups) or (
                max_bytes is not None and done.bytes_rewritten >= max_bytes
            )
            if enough or not parts[-1].groups or not done.groups_left:
                return done

    def expire_snapshots(
        self, *, older_than: timedelta | None = None, keep_last: int | None = None, dry_run: bool = False
    ) -> ExpiryResult:
        """Forget old snapshots and remove the files that only they need. What branches and tags keep stays.

        Args:
            older_than: Younger snapshots stay; by default as the dataset's policy says. Reads and writes that began
                longer ago than this can fail.
            keep_last: So many stay of every branch; by default as the policy says.
            dry_run: Only say which would go.
        """
        hours = None if older_than is None else in_hours(older_than)
        return self._backend.expire_snapshots(self.name, older_than_hours=hours, keep_last=keep_last, dry_run=dry_run)

    def rewrite_manifests(self) -> ManifestRewriteResult:
        """Write Iceberg's manifests anew, as few as the files need, so that planning reads less."""
        return self._backend.rewrite_manifests(self.name)

    def statistics(self) -> list[ColumnStatistics]:
        """Return how many distinct values columns had when statistics were last refreshed, by whatever engine."""
        return self._backend.statistics(self.name)

    def refresh_statistics(self, columns: Sequence[str] = ()) -> StatisticsRefresh:
        """Count the distinct values of the key, the partition columns, those counted before and the columns given.

        Args:
            columns: Further columns; ``a.b`` for a field of a struct.
        """
        return self._backend.refresh_statistics(self.name, columns)

    def maintenance(self) -> MaintenanceStatus:
        """Return the maintenance policy, what of it is due, and how long it will take."""
        return self._backend.maintenance(self.name)

    def configure_maintenance(self, **policy: object) -> MaintenancePolicy:
        """Change what is done to the dataset without being asked.

        Args:
            policy: Fields of ``MaintenancePolicy``, for example ``small_files=64`` or
                ``max_snapshot_age=timedelta(days=7)``; None for the default.
        """
        properties = {policy_property(name): policy_value(value) for name, value in policy.items()}
        return self._backend.configure_maintenance(self.name, properties)

    def advise(self) -> LayoutAdvice:
        """Return what would serve the scans and merges of the last 30 days better: partitions, an order, larger files.

        Each proposal says what it stands on, what it would bring, and how to do it. Where there is no evidence, nothing
        is proposed, and ``note`` says why.
        """
        return self._backend.advise(self.name)
