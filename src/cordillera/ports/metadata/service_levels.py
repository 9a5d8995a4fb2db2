"""Rows of how dataset versions stand to their promises about time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.freshness import FreshnessState
from cordillera.spec.service_level import ServiceLevelWatch


class ServiceLevelRows(Protocol):
    """What was found at the last look at each dataset version that has a contract."""

    def watch(self, version_id: UUID, now: datetime) -> None:
        """Have a dataset version looked at, from now on."""

    def look_again(self, version_id: UUID) -> None:
        """Have a dataset version looked at, if it is watched."""

    def get(self, version_id: UUID) -> ServiceLevelWatch | None:
        """Return what was found."""

    def lock(self, version_id: UUID) -> ServiceLevelWatch | None:
        """Return what was found, locked."""

    def put(self, watch: ServiceLevelWatch) -> None:
        """Store what was found."""

    def due(self, now: datetime, limit: int) -> list[UUID]:
        """Return the dataset versions that have to be looked at."""

    def counts(self) -> Mapping[FreshnessState, int]:
        """Return how many dataset versions are in each state."""
