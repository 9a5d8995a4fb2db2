"""Who relies on dataset versions, and how far each has moved to the one that takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta

from cordillera.catalog.consumers import consumers_of
from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import DatasetVersion, Lifecycle
from cordillera.spec.consumer import Consumers, consumers
from cordillera.spec.contract import ServiceLevel, parse_contract
from cordillera.spec.names import parse_dataset_ref

OF_LATE = timedelta(days=30)
"""For how long somebody who has read a dataset version's files counts as one who reads them."""
_MOST_ENTRIES = 1_000


class ConsumptionService:
    """Tells who relies on dataset versions.

    Args:
        store: Knows subscriptions, jobs and who was given credentials.
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
            found = consumers(consumers_of(tx, target), later, self._reads(tx, target))
            if Privilege.ADMINISTER not in self._lookup.held(tx, target.dataset, target.version):
                found = tuple(one for one in found if self._lookup.authorizer.acts_for(tx, one.consumer))
            level = _promised(tx, target)
        named = successor.pinned_name if successor else ""
        return Consumers(target.pinned_name, named, _text(level.end), _text(level.end_of_life), found)

    def _reads(self, tx: Transaction, target: ResolvedDataset) -> Mapping[str, datetime]:
        """Return who got credentials of late to read the files, and nothing more, each with when that was last."""
        since, reads = self._clock.now() - OF_LATE, dict[str, datetime]()
        for entry in tx.audit.page(object_name=target.pinned_name, limit=_MOST_ENTRIES):
            if entry.at < since:
                break
            if entry.action == "credentials.vend" and not entry.details.get("write"):
                reads.setdefault(entry.principal, entry.at)
        return reads


def _successor(version: DatasetVersion, versions: list[DatasetVersion]) -> DatasetVersion | None:
    """Return what takes the place of a dataset version: the active one if it is a later one, else the next."""
    later = [one for one in versions if one.number > version.number and one.lifecycle is not Lifecycle.RETIRED]
    return next((one for one in later if one.lifecycle is Lifecycle.ACTIVE), later[0] if later else None)


def _promised(tx: Transaction, target: ResolvedDataset) -> ServiceLevel:
    document = tx.contracts.current(target.version.id)
    return parse_contract(document.text).service_level if document else ServiceLevel()


def _text(moment: date | None) -> str:
    return moment.isoformat() if moment else ""
