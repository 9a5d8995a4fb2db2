"""Maintenance of a lake behind a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cordillera.client.connection import Connection, path
from cordillera.codec import Page, to_plain
from cordillera.maintenance.results import (
    CompactionResult,
    ExpiryResult,
    MaintenanceStatus,
    ManifestRewriteResult,
    OrphanRemoval,
    StatisticsRefresh,
)
from cordillera.spec.advice import LayoutAdvice
from cordillera.spec.maintenance import CompactionOptions, MaintenancePolicy
from cordillera.spec.statistics import ColumnStatistics


class RemoteMaintenance:
    """The part of ``LakeBackend`` that is about maintenance, over the HTTP API."""

    _server: Connection

    def compact(self, name: str, options: CompactionOptions | None = None) -> CompactionResult:
        """Move rows into fewer, larger or better sorted files."""
        address = path("datasets", name) + "/compact"
        return self._server.post(CompactionResult, address, to_plain(options or CompactionOptions()))

    def expire_snapshots(
        self, name: str, *, older_than_hours: float | None = None, keep_last: int | None = None, dry_run: bool = False
    ) -> ExpiryResult:
        """Forget old snapshots and remove the files that only they need."""
        body = {"older_than_hours": older_than_hours, "keep_last": keep_last, "dry_run": dry_run}
        return self._server.post(ExpiryResult, path("datasets", name) + "/expire-snapshots", body)

    def rewrite_manifests(self, name: str) -> ManifestRewriteResult:
        """Write a table's manifests anew, as few as its files need."""
        return self._server.post(ManifestRewriteResult, path("datasets", name) + "/rewrite-manifests")

    def statistics(self, name: str) -> list[ColumnStatistics]:
        """Return what is known of a dataset's columns."""
        return self._server.get(Page[ColumnStatistics], path("datasets", name) + "/statistics").items

    def refresh_statistics(self, name: str, columns: Sequence[str] = ()) -> StatisticsRefresh:
        """Count the distinct values of columns as they are now."""
        address = path("datasets", name) + "/refresh-statistics"
        return self._server.post(StatisticsRefresh, address, {"columns": list(columns)})

    def maintenance(self, name: str) -> MaintenanceStatus:
        """Return what maintenance a dataset needs, and what it will take."""
        return self._server.get(MaintenanceStatus, path("datasets", name) + "/maintenance")

    def configure_maintenance(self, name: str, properties: Mapping[str, str | None]) -> MaintenancePolicy:
        """Change what is done to a dataset without being asked."""
        address, body = path("datasets", name) + "/maintenance", {"properties": dict(properties)}
        return self._server.post(MaintenancePolicy, address, body, method="PATCH")

    def advise(self, name: str) -> LayoutAdvice:
        """Return what could be done about a dataset's layout."""
        return self._server.get(LayoutAdvice, path("datasets", name) + "/advice")

    def remove_orphans(
        self, *, older_than_hours: float = 72.0, dry_run: bool = True, force: bool = False
    ) -> OrphanRemoval:
        """Remove files that belong to no snapshot, or say which would go."""
        body = {"older_than_hours": older_than_hours, "dry_run": dry_run, "force": force}
        return self._server.post(OrphanRemoval, "/lake/orphans/remove", body)
