"""Credentials for the files of datasets, for engines that read and write them in place."""

from __future__ import annotations

from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.ports.clock import Clock
from cordillera.ports.credentials import CredentialVendor, StorageCredentials
from cordillera.ports.metadata import MetadataStore


class CredentialService:
    """Hands out credentials for one table each, and keeps account of it.

    Args:
        store: Where that is noted.
        vendor: Makes them; None where the storage has none to make.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, vendor: CredentialVendor | None, clock: Clock) -> None:
        self._store, self._vendor, self._clock = store, vendor, clock

    def for_table(self, name: str, location: str) -> StorageCredentials | None:
        """Return credentials for a table's files, or None where engines need none or have to bring their own.

        Args:
            name: The dataset, or what is to become one.
            location: The folder of its files.

        Raises:
            StorageUnavailableError, InvalidConfigurationError: If none can be made.
        """
        if self._vendor is None:
            return None
        made = self._vendor.vend(location, current().principal, write=True)
        with self._store.write() as tx:
            details = {"access_key": made.access_key, "expires_at": made.expires_at.isoformat(), "write": True}
            Trail(tx, self._clock.now()).audit("credentials.vend", "dataset", name, details)
        return made
