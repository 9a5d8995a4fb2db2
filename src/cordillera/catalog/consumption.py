"""Who relies on dataset versions, and how far each has moved to the one that takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

from cordillera.catalog.consumers import consumers_of
from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege, whole_principal
from cordillera.spec.catalog import DatasetVersion, Lifecycle
from cordillera.spec.consumer import Consumers, Reads, consumers
from cordillera.spec.contract import ServiceLevel, parse_contract
from cordillera.spec.names import parse_dataset_ref

OF_LATE = timedelta(days=30)
"""For how long somebody who has read a dataset version's files counts as one who reads them."""
_MOST_READERS = 1_000


class ConsumptionService:
    """Tells who relies on dataset versions.

    Args:
        store: Knows subscriptions, jobs and who has read what.
        lookup: Finds what whoever asks may see.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, clock: Clock) -> None:
        self._store, self._lookup, self._clock = store, lookup, clock

    def consumers(self, name: str) -> Consumers:
        """Return who relies on a dataset version, and how far each has moved to the next one that is not retired.

        Whoever administers the dataset sees all of them; others see whomever they speak for.

        Raises:
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
        """
        ref = parse_dataset_ref(name)
        with self._store.read() as tx:
            target = self._lookup.resolve(tx, ref)
            next_one = _successor(target.version, self._lookup.versions(tx, ref))
            successor = None if next_one is None else replace(target, version=next_one)
            later = None if successor is None else consumers_of(tx, successor)
            among = self._those_shown(tx, target)
            reads = self._reads(tx, target, among)
            later_reads = {} if successor is None else self._reads(tx, successor, among)
            found = consumers(consumers_of(tx, target), later, reads, later_reads)
            if among is not None:
                found = tuple(one for one in found if whole_principal(one.consumer) in among)
            level = _promised(tx, target)
        named = successor.pinned_name if successor else ""
        return Consumers(target.pinned_name, named, _text(level.end), _text(level.end_of_life), found)

    def _those_shown(self, tx: Transaction, target: ResolvedDataset) -> frozenset[str] | None:
        """Return the consumers that whoever asks is told of; None for all."""
        if Privilege.ADMINISTER in self._lookup.held(tx, target.dataset, target.version):
            return None
        viewer = self._lookup.viewer(tx)
        return None if viewer is None else viewer.principals

    def _reads(self, tx: Transaction, target: ResolvedDataset, among: frozenset[str] | None) -> Mapping[str, Reads]:
        """Return what of a dataset version was read of late by whom, of very many by those who did last."""
        since = (self._clock.now() - OF_LATE).date()
        return {one.principal: one for one in tx.reads.totals(target.version.id, since, _MOST_READERS, among)}


def _successor(version: DatasetVersion, versions: list[DatasetVersion]) -> DatasetVersion | None:
    """Return what takes the place of a dataset version: the active one if it is a later one, else the next."""
    later = [one for one in versions if one.number > version.number and one.lifecycle is not Lifecycle.RETIRED]
    return next((one for one in later if one.lifecycle is Lifecycle.ACTIVE), later[0] if later else None)


def _promised(tx: Transaction, target: ResolvedDataset) -> ServiceLevel:
    document = tx.contracts.current(target.version.id)
    return parse_contract(document.text).service_level if document else ServiceLevel()


def _text(moment: date | None) -> str:
    return moment.isoformat() if moment else ""
