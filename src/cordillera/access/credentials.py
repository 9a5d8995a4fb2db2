"""Credentials for the files of datasets, for engines that read and write them in place."""

from __future__ import annotations

from cordillera.catalog.lookup import Lookup, ResolvedDataset
from cordillera.catalog.trail import Trail
from cordillera.context import current
from cordillera.errors import AccessDeniedError, InvalidInputError
from cordillera.ports.clock import Clock
from cordillera.ports.credentials import CredentialVendor, RequestSigner, SignedRequest, StorageCredentials
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.scan_observer import ScanObserver
from cordillera.spec.access import Privilege
from cordillera.spec.names import parse_dataset_ref
from cordillera.spec.s3_request import S3Request

_NEEDED = frozenset({Privilege.READ, Privilege.EXTERNAL_USE})


class CredentialService:
    """Hands out credentials for one table each, and keeps account of it.

    They allow what whoever asks may do: to read, and to write if he may; nothing to who has no ``external_use``.

    Args:
        store: Where that is noted.
        lookup: Knows who may do what.
        vendor: Makes them; None where the storage has none to make.
        signer: Signs requests of those that have none; None where there is nothing to sign.
        observer: Is told who gets a way to read files.
        clock: Time.
    """

    def __init__(
        self,
        store: MetadataStore,
        lookup: Lookup,
        vendor: CredentialVendor | None,
        signer: RequestSigner | None,
        observer: ScanObserver,
        clock: Clock,
    ) -> None:
        self._store, self._lookup, self._observer, self._clock = store, lookup, observer, clock
        self._vendor, self._signer = vendor, signer

    def offer_signing(self, target: ResolvedDataset) -> bool:
        """Tell whether requests for a table's files are signed for whoever asks, who will make some if so."""
        if self._signer is None:
            return False
        with self._store.read() as tx:
            held = self._lookup.held(tx, tx.datasets.get_by_id(target.dataset.id), target.version)
        if not held >= _NEEDED:
            return False
        self._note_read(target, held)
        return True

    def sign(self, target: ResolvedDataset, request: S3Request) -> SignedRequest:
        """Return a request for a table's files with a signature by which the storage answers it.

        Raises:
            AccessDeniedError: If whoever asks may not do that, or it is about something else than these files.
            InvalidInputError: If there is nothing to sign here, or the request makes no sense.
        """
        if self._signer is None:
            raise InvalidInputError(
                "The lake's storage takes no signed requests.", hint="Read the files where they are, or the rows."
            )
        with self._store.read() as tx:
            dataset = tx.datasets.get_by_id(target.dataset.id)
            held = self._lookup.held(tx, dataset, target.version)
            if dataset is not None:
                self._lookup.require(tx, dataset, *_NEEDED, version=target.version)
        signed = self._signer.sign(request, target.version.location, write=_may_write(held))
        if signed is None:
            raise AccessDeniedError(
                f"{current().principal} may read the files of {target.name}, and not write or delete any.",
                hint=f"Ask its owner, {target.dataset.owner}, to grant write on it; a token may be for reading alone.",
            )
        return signed

    def for_table(self, target: ResolvedDataset) -> StorageCredentials | None:
        """Return credentials for a table's files, or None where engines need none or have to bring their own, as those
        have to that whoever asks uses without being allowed to.

        Args:
            target: The dataset version that is the table. What may be done is found out by its id: it may have another
                name by now, and another dataset its.

        Raises:
            StorageUnavailableError, InvalidConfigurationError: If none can be made.
        """
        with self._store.read() as tx:
            held = self._lookup.held(tx, tx.datasets.get_by_id(target.dataset.id), target.version)
        made = self._vend(target.pinned_name, target.version.location, held)
        if made is not None:
            self._note_read(target, held)
        return made

    def for_staged(self, name: str, location: str) -> StorageCredentials | None:
        """Return credentials for the place of a table to come: whoever may create it may do it all.

        Args:
            name: What the dataset is to be called.
            location: The folder made for it.

        Raises:
            StorageUnavailableError, InvalidConfigurationError: If none can be made.
        """
        with self._store.read() as tx:
            namespace = self._lookup.namespace(tx, parse_dataset_ref(name).namespace, Privilege.CREATE)
            held = self._lookup.authorizer.on_namespace(tx, namespace)
        return self._vend(name, location, held | {Privilege.READ, Privilege.WRITE})

    def _note_read(self, target: ResolvedDataset, held: frozenset[Privilege]) -> None:
        """Take note of a read, where nothing else can be meant by asking for a way to the files."""
        if not _may_write(held):
            self._observer.read(target.version.id)

    def _vend(self, name: str, location: str, held: frozenset[Privilege]) -> StorageCredentials | None:
        if self._vendor is None or not held >= _NEEDED:
            return None
        write = _may_write(held)
        made = self._vendor.vend(location, current().principal, write=write)
        with self._store.write() as tx:
            details = {"access_key": made.access_key, "expires_at": made.expires_at.isoformat(), "write": write}
            Trail(tx, self._clock.now()).audit("credentials.vend", "dataset", name, details)
        return made


def _may_write(held: frozenset[Privilege]) -> bool:
    return Privilege.WRITE in held and not current().read_only
