"""A storage that remembers what was written through it, so that a write that fails half-way can be taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import pyarrow as pa

from cordillera.errors import CordilleraError
from cordillera.ports.storage import Storage, StoredObject, UnfinishedObject


class Journal:
    """Passes everything on to a storage. See :class:`cordillera.ports.storage.Storage` for the methods.

    Args:
        storage: Where objects really are.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._written: list[str] = []

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Remove what the block has written if it fails."""
        first = len(self._written)
        try:
            yield
        except BaseException:
            with suppress(CordilleraError):  # what cannot be removed is for the doctor to find; why it failed matters
                self._storage.delete(self._written[first:])
            raise

    @property
    def written(self) -> tuple[str, ...]:
        """What was written through it."""
        return tuple(self._written)

    @property
    def root(self) -> str:
        """The URI that every object of the storage begins with."""
        return self._storage.root

    def read(self, uri: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object."""
        return self._storage.read(uri, offset, length)

    def write(self, uri: str, data: bytes) -> None:
        """Create an object."""
        self._storage.write(uri, data)
        self._written.append(uri)

    def open_input(self, uri: str) -> AbstractContextManager[pa.NativeFile]:
        """Open an object for random access."""
        return self._storage.open_input(uri)

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open a new object for streaming."""
        with self._storage.open_output(uri) as file:
            yield file
        self._written.append(uri)

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""
        return self._storage.exists(uri)

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects."""
        self._storage.delete(uris)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects under the folder ``prefix``."""
        return self._storage.list(prefix)

    def make_folder(self, prefix: str) -> None:
        """Let other programs write objects into a folder."""
        self._storage.make_folder(prefix)

    def list_unfinished(self, prefix: str) -> Iterator[UnfinishedObject]:
        """Yield what is stored of unpublished objects."""
        return self._storage.list_unfinished(prefix)

    def discard(self, unfinished: Iterable[UnfinishedObject]) -> None:
        """Remove what is stored of unpublished objects."""
        self._storage.discard(unfinished)

    def together(self) -> Storage:
        """Return itself: what it passes things on to decides when they are durable."""
        return self

    def settle(self) -> None:
        """Make durable what was written through it."""
        self._storage.settle()
