"""Rows of completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from cordillera.spec.completion import Completion
from cordillera.spec.completion_rule import PartitionState, RuleInForce


class CompletionRows(Protocol):
    """Completions of partitions, every revision kept."""

    def insert(self, completions: Sequence[Completion]) -> None:
        """Add completions that were declared together: of one dataset version, as of one snapshot, by one, at one time.

        Raises:
            AlreadyExistsError: If a partition has its revision already.
        """

    def latest(self, version_id: UUID, partition: str) -> Completion | None:
        """Return the newest completion of a partition."""

    def latest_of(self, version_id: UUID, partitions: Sequence[str]) -> dict[str, Completion]:
        """Return the newest completion of each of many partitions; those never completed are absent."""

    def page(self, version_id: UUID, before: str | None, limit: int) -> list[Completion]:
        """Return the newest completion of each partition, highest label first, labels below ``before`` where given."""

    def history(self, version_id: UUID, partition: str) -> list[Completion]:
        """Return every completion of a partition, newest first."""


class CompletionRuleRows(Protocol):
    """Completion rules, at most one for a dataset version, and what is known of the partitions they are about."""

    def put(self, rule: RuleInForce) -> None:
        """Store a rule, in the place of the one there was."""

    def get(self, version_id: UUID, *, lock: bool = False) -> RuleInForce | None:
        """Return the rule of a dataset version, locked for this transaction if asked."""

    def remove(self, version_id: UUID) -> bool:
        """Remove a rule, and what was counted for it; what was announced stays. False if there is none."""

    def restart(self, version_id: UUID) -> None:
        """Forget what was counted; what was announced stays."""

    def following(self, datasets: Sequence[str]) -> list[tuple[UUID, str]]:
        """Return the dataset versions whose rules name datasets (full names) as upstream, by id, each with the name."""

    def states(self, version_id: UUID, partitions: Sequence[str]) -> dict[str, PartitionState]:
        """Return what is known of partitions; those of which nothing is are absent."""

    def put_states(self, states: Sequence[PartitionState]) -> None:
        """Store what is known of partitions of one dataset version."""

    def due(self, version_id: UUID, limit: int) -> list[PartitionState]:
        """Return partitions that are to be looked at, lowest label first."""

    def make_due(self, version_id: UUID, first: str = "", before: str | None = None) -> None:
        """Have the open partitions looked at whose labels are ``first`` or higher, and below ``before`` where given."""

    def open_page(self, version_id: UUID, before: str | None, limit: int) -> list[PartitionState]:
        """Return partitions that are not complete, or have changed since, highest label first."""
