"""Rows of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from cordillera.spec.completion import Completion


class CompletionRows(Protocol):
    """Completions of partitions, every revision kept."""

    def insert(self, completion: Completion) -> None:
        """Add a completion; raises ``AlreadyExistsError`` if the partition has that revision."""

    def latest(self, version_id: UUID, partition: str) -> Completion | None:
        """Return the newest completion of a partition."""

    def latest_of(self, version_id: UUID, partitions: Sequence[str]) -> dict[str, Completion]:
        """Return the newest completion of each of many partitions; those never completed are absent."""

    def page(self, version_id: UUID, before: str | None, limit: int) -> list[Completion]:
        """Return the newest completion of each partition, highest label first, labels below ``before`` where given."""

    def history(self, version_id: UUID, partition: str) -> list[Completion]:
        """Return every completion of a partition, newest first."""
