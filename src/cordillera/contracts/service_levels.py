"""Service levels: how datasets stand to their promises about time, and telling when that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from cordillera.catalog.lookup import ResolvedDataset
from cordillera.catalog.trail import Trail
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.catalog import DatasetVersion, Lifecycle
from cordillera.spec.completion import CompletionUnit
from cordillera.spec.contract import ServiceLevel, parse_contract
from cordillera.spec.event import Topic
from cordillera.spec.freshness import Freshness, FreshnessState, assess
from cordillera.spec.service_level import Prediction, in_words, looked_at, predict

_AT_ONCE = 100
_COMPLETIONS = 100
_DELETED = timedelta(hours=1)
"""How long to leave a deleted dataset alone."""


@dataclass(frozen=True, slots=True)
class ServiceLevelStatus:
    """How a dataset version stands to its promise.

    Attributes:
        freshness: The promise, the partition that is waited for, and the state.
        prediction: When that is likely to be complete; None where too little is known.
        since: When the state was told of; None if it has not been yet.
        summary: All of it as a sentence.
    """

    dataset: str
    freshness: Freshness
    prediction: Prediction | None
    since: datetime | None
    summary: str


class ServiceLevelService:
    """Looks at datasets that promise something about time.

    Args:
        store: Keeps completions, contracts, and what was found at the last look.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._promised = lru_cache(maxsize=500)(_promised)

    def status(self, target: ResolvedDataset) -> ServiceLevelStatus:
        """Return how a dataset stands to its promise at this moment."""
        now = self._clock.now()
        with self._store.read() as tx:
            found, prediction, _ = self._assess(tx, target.version, now)
            watch = tx.service_levels.get(target.version.id)
        told = watch.since if watch is not None and watch.state is found.state else None
        return ServiceLevelStatus(target.name, found, prediction, told, in_words(found, prediction, now))

    def counts(self) -> Mapping[FreshnessState, int]:
        """Return how many dataset versions with a contract are in each state."""
        with self._store.read() as tx:
            return tx.service_levels.counts()

    def follow_up(self) -> int:
        """Look at what is due and tell of every change of state: one event each, in the transaction that notes it.

        Returns:
            How many dataset versions there were to look at.
        """
        now, seen = self._clock.now(), 0
        while due := self._due(now):
            for version_id in due:
                self._look_at(version_id, now)
            seen += len(due)
        return seen

    def _due(self, now: datetime) -> list[UUID]:
        with self._store.read() as tx:
            return tx.service_levels.due(now, _AT_ONCE)

    def _look_at(self, version_id: UUID, now: datetime) -> None:
        with self._store.write() as tx:
            before = tx.service_levels.lock(version_id)
            if before is None or before.look_at is None or before.look_at > now:
                return  # another worker was faster
            version = tx.dataset_versions.get(version_id)
            assert version is not None, "what is watched goes with its dataset version"
            dataset = tx.datasets.get_by_id(version.dataset_id)
            assert dataset is not None, "a dataset version is one of a dataset"
            if dataset.deleted_at is not None:
                tx.service_levels.put(replace(before, look_at=now + _DELETED))  # it may be restored
                return
            found, _, revision = self._assess(tx, version, now)
            after = looked_at(before, found, revision, now)
            tx.service_levels.put(after)
            if after.state is not before.state:
                payload = {**after.summary(), "before": before.state, "promise": found.promise}
                Trail(tx, now).event(Topic.SERVICE_LEVEL_CHANGED, dataset.full_name, version.id, payload)

    def _assess(
        self, tx: Transaction, version: DatasetVersion, now: datetime
    ) -> tuple[Freshness, Prediction | None, int]:
        """Return how completions compare with the promise, when the next is likely, and by which revision."""
        unit, document = CompletionUnit(version.completion_unit), tx.contracts.current(version.id)
        retired = version.lifecycle is Lifecycle.RETIRED
        promised = self._promised(document.text) if document and not retired else ServiceLevel()
        completions = tx.completions.page(version.id, None, _COMPLETIONS)
        found = assess(unit, promised, completions, now)
        return found, predict(unit, completions, found.due_partition), document.revision if document else 0


def _promised(text: str) -> ServiceLevel:
    return parse_contract(text).service_level
