"""Credentials for the files of datasets, for engines that read and write them in place."""

from __future__ import annotations

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.credentials import CredentialVendor, StorageCredentials
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege
from cordillera.spec.names import DatasetRef, parse_dataset_ref


class CredentialService:
    """Hands out credentials for one table each, and keeps account of it.

    They allow what whoever asks may do: to read, and to write if he may; nothing to who has no ``external_use``.

    Args:
        store: Where that is noted.
        lookup: Knows who may do what.
        vendor: Makes them; None where the storage has none to make.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, vendor: CredentialVendor | None, clock: Clock) -> None:
        self._store, self._lookup, self._vendor, self._clock = store, lookup, vendor, clock

    def for_table(self, name: str, location: str) -> StorageCredentials | None:
        """Return credentials for a table's files, or None where engines need none or have to bring their own, as those
        have to that whoever asks uses without being allowed to.

        Args:
            name: The dataset, or what is to become one.
            location: The folder of its files.

        Raises:
            StorageUnavailableError, InvalidConfigurationError: If none can be made.
        """
        if self._vendor is None:
            return None
        with self._store.read() as tx:
            held = self._held(tx, parse_dataset_ref(name))
        if not {Privilege.EXTERNAL_USE, Privilege.READ} <= held:
            return None
        write = Privilege.WRITE in held
        made = self._vendor.vend(location, current().principal, write=write)
        with self._store.write() as tx:
            details = {"access_key": made.access_key, "expires_at": made.expires_at.isoformat(), "write": write}
            Trail(tx, self._clock.now()).audit("credentials.vend", "dataset", name, details)
        return made

    def _held(self, tx: Transaction, ref: DatasetRef) -> frozenset[Privilege]:
        """Return what whoever asks may do with a dataset; with one to come, whoever may create it may do it all."""
        dataset = tx.datasets.get(ref.namespace, ref.name)
        if dataset is not None:
            return self._lookup.held(tx, dataset)
        held = self._lookup.authorizer.on_namespace(tx, tx.namespaces.get(ref.namespace))
        return held | {Privilege.READ, Privilege.WRITE} if Privilege.CREATE in held else held
