"""Rows of maintenance: what was done to which table, and how long it took."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from cordillera.spec.maintenance import MaintenanceRun, MaintenanceTask


class MaintenanceRows(Protocol):
    """Runs of maintenance. Of a dataset version and a task the newest hundred are kept."""

    def insert(self, run: MaintenanceRun) -> None:
        """Add a run."""

    def latest(self, version_id: UUID, task: MaintenanceTask) -> MaintenanceRun | None:
        """Return the newest run of a task on a dataset version."""

    def recent(self, task: MaintenanceTask, version_id: UUID | None = None, limit: int = 10) -> list[MaintenanceRun]:
        """Return the newest runs of a task, on one dataset version or on all, newest first."""
