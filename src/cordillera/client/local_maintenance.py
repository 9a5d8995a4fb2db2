"""Maintenance of a lake in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cordillera.app import Application
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    MaintenanceStatus,
    ManifestRewriteResult,
    OrphanRemoval,
    StatisticsRefresh,
)
from cordillera.spec.advice import LayoutAdvice
from cordillera.spec.durations import of_hours
from cordillera.spec.maintenance import CompactionOptions, MaintenancePolicy
from cordillera.spec.statistics import ColumnStatistics


class LocalMaintenance:
    """The part of ``LakeBackend`` that is about maintenance, on the services of an application."""

    app: Application

    def compact(self, name: str, options: CompactionOptions | None = None) -> CompactionResult:
        """Move rows into fewer, larger or better sorted files."""
        return self.app.maintenance.compact(name, options)

    def expire_snapshots(
        self, name: str, *, older_than_hours: float | None = None, keep_last: int | None = None, dry_run: bool = False
    ) -> ExpiryResult:
        """Forget old snapshots and remove the files that only they need."""
        age = None if older_than_hours is None else of_hours(older_than_hours)
        return self.app.maintenance.expire(name, older_than=age, keep_last=keep_last, dry_run=dry_run)

    def rewrite_manifests(self, name: str) -> ManifestRewriteResult:
        """Write a table's manifests anew, as few as its files need."""
        return self.app.maintenance.rewrite_manifests(name)

    def statistics(self, name: str) -> list[ColumnStatistics]:
        """Return what is known of a dataset's columns."""
        return list(self.app.statistics.statistics(name))

    def refresh_statistics(self, name: str, columns: Sequence[str] = ()) -> StatisticsRefresh:
        """Count the distinct values of columns as they are now."""
        return self.app.statistics.refresh(name, columns)

    def maintenance(self, name: str) -> MaintenanceStatus:
        """Return what maintenance a dataset needs, and what it will take."""
        return self.app.maintenance_policies.status(name)

    def configure_maintenance(self, name: str, properties: Mapping[str, str | None]) -> MaintenancePolicy:
        """Change what is done to a dataset without being asked."""
        return self.app.maintenance_policies.configure(name, properties)

    def advise(self, name: str) -> LayoutAdvice:
        """Return what could be done about a dataset's layout."""
        return self.app.advice.advise(name)

    def remove_orphans(
        self, *, older_than_hours: float = 72.0, dry_run: bool = True, force: bool = False
    ) -> OrphanRemoval:
        """Remove files that belong to no snapshot, or say which would go."""
        return self.app.orphans.remove(of_hours(older_than_hours), dry_run=dry_run, force=force)
