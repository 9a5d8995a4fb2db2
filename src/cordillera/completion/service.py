"""Completions: asking which partitions are complete, and waiting for one."""

from __future__ import annotations

import time
from datetime import date

from cordillera.catalog.service import CatalogService
from cordillera.errors import WaitTimeoutError
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.completion import Completion, CompletionUnit, partition_label

_FIRST_LOOK_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 1.0


class CompletionService:
    """Answers questions about completions. They are declared by commits (``catalog.commits``).

    Args:
        store: Keeps completions.
        catalog: Resolves names.
    """

    def __init__(self, store: MetadataStore, catalog: CatalogService) -> None:
        self._store, self._catalog = store, catalog

    def latest(self, dataset: str, partition: str | date) -> Completion | None:
        """Return the newest completion of a partition, or None if it is not complete."""
        target = self._catalog.dataset(dataset, Privilege.DISCOVER)
        label = partition_label(CompletionUnit(target.version.completion_unit), partition, target.name)
        with self._store.read() as tx:
            return tx.completions.latest(target.version.id, label)

    def completions(self, dataset: str, before: str | None = None, limit: int = 100) -> list[Completion]:
        """Return the newest completion of each partition, highest label first."""
        target = self._catalog.dataset(dataset, Privilege.DISCOVER)
        with self._store.read() as tx:
            return tx.completions.page(target.version.id, before, limit)

    def history(self, dataset: str, partition: str | date) -> list[Completion]:
        """Return every completion of a partition, newest first."""
        target = self._catalog.dataset(dataset, Privilege.DISCOVER)
        label = partition_label(CompletionUnit(target.version.completion_unit), partition, target.name)
        with self._store.read() as tx:
            return tx.completions.history(target.version.id, label)

    def wait_until_complete(self, dataset: str, partition: str | date, timeout: float) -> Completion:
        """Return the completion of a partition as soon as there is one.

        Args:
            dataset: The dataset.
            partition: Its label, or a date in it.
            timeout: Seconds to wait.

        Raises:
            WaitTimeoutError: If it is not complete in time.
        """
        deadline, pause = time.monotonic() + timeout, _FIRST_LOOK_SECONDS
        while (found := self.latest(dataset, partition)) is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise WaitTimeoutError(
                    f"Partition {partition} of {dataset} did not become complete within {timeout:g} s.",
                    hint=f"See why with: cordillera completion explain {dataset} {partition}.",
                )
            time.sleep(min(pause, remaining))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return found
