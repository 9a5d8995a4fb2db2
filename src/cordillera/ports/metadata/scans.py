"""Rows of scan statistics: what scans of a table asked for and read, and who read it, summed up by day."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Protocol
from uuid import UUID

from cordillera.spec.consumer import Reads
from cordillera.spec.scan_statistics import ColumnScans


class ScanRows(Protocol):
    """Sums over scans by dataset version, day, column and use."""

    def add(self, day: date, counts: Mapping[UUID, Sequence[ColumnScans]]) -> None:
        """Add to the sums of a day, by dataset version. Those of a dataset version that is gone are dropped."""

    def totals(self, version_id: UUID, since: date) -> list[ColumnScans]:
        """Return the sums over all days from ``since`` on, by column and use."""

    def forget(self, before: date) -> int:
        """Remove the sums of earlier days; return how many."""


class ReadRows(Protocol):
    """Sums over reads by dataset version, principal and day."""

    def add(self, day: date, reads: Mapping[UUID, Sequence[Reads]]) -> None:
        """Add to the sums of a day, by dataset version. Those of a dataset version that is gone are dropped."""

    def totals(self, version_id: UUID, since: date, limit: int, among: Collection[str] | None = None) -> list[Reads]:
        """Return the sums over all days from ``since`` on, by principal, who read last first.

        Args:
            version_id: The dataset version.
            since: The first day.
            limit: Most principals.
            among: Only these; None for all.
        """

    def forget(self, before: date) -> int:
        """Remove the sums of earlier days; return how many."""
