"""Completions of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from cordillera.client.backend import LakeBackend
from cordillera.spec.completion import Completion
from cordillera.spec.completion_rule import CompletionRule, PartitionExplanation, PartitionState, RuleInForce


class DatasetCompletions:
    """The part of ``Dataset`` that is about completions."""

    _backend: LakeBackend
    name: str

    def complete(self, partition: str | date, *, idempotency_key: str | None = None) -> Completion:
        """Declare a partition complete as of the current snapshot; again restates it."""
        return self._backend.complete(self.name, partition, idempotency_key=idempotency_key)

    def complete_all(self, partitions: Sequence[str | date], *, idempotency_key: str | None = None) -> list[Completion]:
        """Declare up to a thousand partitions complete as of the current snapshot, all of them or none.

        It takes little longer than one does. A partition that is named twice is declared once.
        """
        return self._backend.complete_all(self.name, partitions, idempotency_key=idempotency_key)

    def completion(self, partition: str | date) -> Completion | None:
        """Return the newest completion of a partition, or None."""
        return self._backend.completion(self.name, partition)

    def completions(self, before: str | None = None, limit: int = 100) -> list[Completion]:
        """Return completions, highest partition label first."""
        return self._backend.completions(self.name, before, limit)

    def wait_until_complete(self, partition: str | date, timeout: float) -> Completion:
        """Wait for a partition to become complete, at most ``timeout`` seconds."""
        return self._backend.wait_until_complete(self.name, partition, timeout)

    def explain_completion(self, partition: str | date) -> PartitionExplanation:
        """Return how a partition stands: complete, restated, or what it waits for."""
        return self._backend.explain_completion(self.name, partition)

    def put_completion_rule(self, rule: CompletionRule) -> RuleInForce:
        """Say when partitions are complete, so that nobody need declare them; workers follow the rule from then on."""
        return self._backend.put_completion_rule(self.name, rule)

    def completion_rule(self) -> RuleInForce | None:
        """Return the completion rule, or None."""
        return self._backend.completion_rule(self.name)

    def remove_completion_rule(self) -> None:
        """Remove the completion rule; what is complete stays so."""
        self._backend.remove_completion_rule(self.name)

    def announce(self, partition: str | date, rows: int, totals: Mapping[str, str] | None = None) -> PartitionState:
        """Say how many rows a partition will hold, and its control totals (column → sum, as decimal text).

        A rule with ``announced=True`` calls the partition complete when exactly that is there.
        """
        return self._backend.announce(self.name, partition, rows, totals)
