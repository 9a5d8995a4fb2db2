"""Completions: in this process, and over the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from time import monotonic

from cordillera.app import Application
from cordillera.client.backend import DatasetDetails
from cordillera.client.connection import Connection, path, segment_text
from cordillera.codec import LONGEST_WAIT_SECONDS, Page, decode, to_plain
from cordillera.errors import WaitTimeoutError
from cordillera.spec.completion import Completion, CompletionUnit, partition_label
from cordillera.spec.completion_rule import CompletionRule, PartitionExplanation, PartitionState, RuleInForce


class LocalCompletions:
    """The part of ``LakeBackend`` that is about completions, on the services of an application."""

    app: Application

    def complete(self, name: str, partition: str | date, *, idempotency_key: str | None = None) -> Completion:
        """Declare a partition complete."""
        return self.complete_all(name, [partition], idempotency_key=idempotency_key)[0]

    def complete_all(
        self, name: str, partitions: Sequence[str | date], *, idempotency_key: str | None = None
    ) -> list[Completion]:
        """Declare partitions complete together."""
        return self.app.declarations.complete(name, partitions, idempotency_key=idempotency_key)

    def completion(self, name: str, partition: str | date) -> Completion | None:
        """Return the newest completion of a partition, or None."""
        return self.app.completions.latest(name, partition)

    def completions(self, name: str, before: str | None = None, limit: int = 100) -> list[Completion]:
        """Return a page of completions, highest label first."""
        return self.app.completions.completions(name, before, limit)

    def wait_until_complete(self, name: str, partition: str | date, timeout: float) -> Completion:
        """Return the completion of a partition as soon as there is one."""
        return self.app.completions.wait_until_complete(name, partition, timeout)

    def explain_completion(self, name: str, partition: str | date) -> PartitionExplanation:
        """Return how a partition stands, and why it is not complete."""
        return self.app.completion_rules.explain(name, partition)

    def put_completion_rule(self, name: str, rule: CompletionRule) -> RuleInForce:
        """Set the completion rule of a dataset version."""
        return self.app.completion_rules.put(name, rule)

    def completion_rule(self, name: str) -> RuleInForce | None:
        """Return the completion rule of a dataset version, or None."""
        return self.app.completion_rules.get(name)

    def remove_completion_rule(self, name: str) -> None:
        """Remove the completion rule of a dataset version."""
        self.app.completion_rules.remove(name)

    def announce(
        self, name: str, partition: str | date, rows: int, totals: Mapping[str, str] | None = None
    ) -> PartitionState:
        """Say what a partition will hold."""
        return self.app.completion_rules.announce(name, partition, rows, totals)


class RemoteCompletions:
    """The part of ``LakeBackend`` that is about completions, over the HTTP API."""

    _server: Connection

    def complete(self, name: str, partition: str | date, *, idempotency_key: str | None = None) -> Completion:
        """Declare a partition complete."""
        body = {"partition": self._label(name, partition)}
        return self._server.post(Completion, path("datasets", name) + "/completions", body, key=idempotency_key)

    def complete_all(
        self, name: str, partitions: Sequence[str | date], *, idempotency_key: str | None = None
    ) -> list[Completion]:
        """Declare partitions complete together."""
        body = {"partitions": self._labels(name, partitions)}
        address = path("datasets", name) + "/completions/batch"
        return self._server.post(Page[Completion], address, body, key=idempotency_key).items

    def completion(self, name: str, partition: str | date) -> Completion | None:
        """Return the newest completion of a partition, or None."""
        return self._completion(name, self._label(name, partition))

    def completions(self, name: str, before: str | None = None, limit: int = 100) -> list[Completion]:
        """Return a page of completions, highest label first."""
        address = path("datasets", name) + "/completions"
        return self._server.get(Page[Completion], address, before=before, limit=limit).items

    def wait_until_complete(self, name: str, partition: str | date, timeout: float) -> Completion:
        """Return the completion of a partition as soon as there is one."""
        label, deadline = self._label(name, partition), monotonic() + timeout
        while True:
            remaining = max(deadline - monotonic(), 0.0)
            found = self._completion(name, label, wait=min(remaining, LONGEST_WAIT_SECONDS))
            if found is not None:
                return found
            if monotonic() >= deadline:
                raise WaitTimeoutError(
                    f"Partition {partition} of {name} did not become complete within {timeout:g} s.",
                    hint=f"See why with: cordillera completion explain {name} {partition}.",
                )

    def explain_completion(self, name: str, partition: str | date) -> PartitionExplanation:
        """Return how a partition stands, and why it is not complete."""
        return self._server.get(PartitionExplanation, self._partition(name, partition))

    def put_completion_rule(self, name: str, rule: CompletionRule) -> RuleInForce:
        """Set the completion rule of a dataset version."""
        return self._server.post(RuleInForce, self._rule(name), to_plain(rule), method="PUT")

    def completion_rule(self, name: str) -> RuleInForce | None:
        """Return the completion rule of a dataset version, or None."""
        answer = self._server.request("GET", self._rule(name))
        return None if answer == b"null" else decode(RuleInForce, answer)

    def remove_completion_rule(self, name: str) -> None:
        """Remove the completion rule of a dataset version."""
        self._server.request("DELETE", self._rule(name))

    def announce(
        self, name: str, partition: str | date, rows: int, totals: Mapping[str, str] | None = None
    ) -> PartitionState:
        """Say what a partition will hold."""
        body = {"rows": rows, "totals": dict(totals or {})}
        return self._server.post(PartitionState, self._partition(name, partition), body, method="PUT")

    def _rule(self, name: str) -> str:
        return path("datasets", name) + "/completion-rule"

    def _partition(self, name: str, partition: str | date) -> str:
        return f"{path('datasets', name)}/partitions/{segment_text(self._label(name, partition))}"

    def _completion(self, name: str, label: str, wait: float | None = None) -> Completion | None:
        address = f"{path('datasets', name)}/completions/{segment_text(label)}"
        answer = self._server.request("GET", address, parameters={"wait": wait})
        return None if answer == b"null" else decode(Completion, answer)

    def _label(self, name: str, partition: str | date) -> str:
        """Return the label of a partition; what label a date has depends on how the dataset is cut."""
        return self._labels(name, [partition])[0]

    def _labels(self, name: str, partitions: Sequence[str | date]) -> list[str]:
        if all(isinstance(partition, str) for partition in partitions):
            return [str(partition) for partition in partitions]
        unit = CompletionUnit(self._server.get(DatasetDetails, path("datasets", name)).version.completion_unit)
        return [partition_label(unit, partition, name) for partition in partitions]
