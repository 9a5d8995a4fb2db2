"""Rows of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.candidate import Candidate


class CandidateRows(Protocol):
    """Snapshots that contracts have refused; there are a few of a dataset version at most."""

    def insert(self, candidate: Candidate) -> None:
        """Add a candidate."""

    def of(self, version_id: UUID) -> list[Candidate]:
        """Return the candidates of a dataset version, newest first."""

    def due(self, now: datetime, limit: int) -> list[Candidate]:
        """Return candidates that have expired, those first that did so first."""

    def drop(self, version_id: UUID, branch: str) -> None:
        """Forget the candidate on a branch, if there is one."""

    def published(self, version_id: UUID, sequence_numbers: Sequence[int]) -> None:
        """Forget the candidates among snapshots: readers see them by now."""
