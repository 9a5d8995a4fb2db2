"""Object storage: where data files and metadata files live.

Objects are written once under paths nobody else uses and never changed, so a reader never sees half of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in a listing."""

    uri: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedObject(StoredObject):
    """What is stored of an object that is not published: its writer is at work, or has died.

    Attributes:
        uri: Where the bytes are, or, where that has no URI, what they were to become.
        size: Bytes stored so far.
        modified_at: When bytes were last added.
        upload_id: Tells it from others of the same URI, where there can be several.
    """

    upload_id: str = ""


class Storage(Protocol):
    """One storage root, addressed by absolute URIs (``file:///…`` or ``s3://bucket/…``).

    Every method raises ``StorageUnavailableError`` when a retry may help and ``StorageFullError`` when there is no
    room. A URI outside the root is refused with ``AccessDeniedError``.
    """

    @property
    def root(self) -> str:
        """The URI that every object of this storage begins with, without a closing slash."""

    def read(self, uri: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of an object, or ``length`` of them from ``offset``.

        Raises:
            CorruptDataError: If the object does not exist: whatever named it promised that it does.
        """

    def write(self, uri: str, data: bytes) -> None:
        """Create an object, durably; it is visible whole or not at all.

        Raises:
            AlreadyExistsError: If there is an object at ``uri``.
        """

    def open_input(self, uri: str) -> AbstractContextManager[pa.NativeFile]:
        """Open an object for random access.

        Raises:
            CorruptDataError: If the object does not exist.
        """

    def open_output(self, uri: str) -> AbstractContextManager[pa.NativeFile]:
        """Open a new object for streaming.

        It becomes visible, durably, when the block ends without an error; with an error nothing remains.
        """

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects; those already gone are passed over."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose URI begins with the folder ``prefix``, in no order."""

    def make_folder(self, prefix: str) -> None:
        """Let other programs write objects into the folder ``prefix``; of no effect where folders are no things."""

    def list_unfinished(self, prefix: str) -> Iterator[UnfinishedObject]:
        """Yield what is stored of unpublished objects under the folder ``prefix``, in no order."""

    def discard(self, unfinished: Iterable[UnfinishedObject]) -> None:
        """Remove what is stored of unpublished objects; those published or gone are passed over.

        A writer that is still at work on one fails with ``StorageUnavailableError``.
        """

    def together(self) -> Storage:
        """Return a view of this storage for objects that nothing refers to before ``settle``.

        It may leave it to ``settle`` to make them durable, all at once: disks are then waited for once. Until then they
        are there, whole, for whoever asks, and gone or damaged if the machine fails.
        """

    def settle(self) -> None:
        """Make durable what is not yet of the objects created through this view; none, where ``write`` did."""
