"""Who wants to know of scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from cordillera.spec.scan_statistics import ScanReport


class ScanObserver(Protocol):
    """Is told of every scan that somebody asked for, once it is planned."""

    def scanned(self, version_id: UUID, report: Callable[[], ScanReport]) -> None:
        """Take note of a scan of a dataset version. Costs it next to nothing, and never fails; ``report`` may."""

    def read(self, version_id: UUID) -> None:
        """Take note that whoever acts reads a dataset version in another way; likewise."""
