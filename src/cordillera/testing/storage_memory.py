"""Object storage in memory, and a wrapper that makes any storage fail where a test wants it to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from uuid import uuid4

import pyarrow as pa

from cordillera.errors import (
    AlreadyExistsError,
    CorruptDataError,
    StorageFullError,
    StorageUnavailableError,
)
from cordillera.ports.storage import Storage, StoredObject, UnfinishedObject
from cordillera.spec.object_uri import check_range, folder_key, object_key


class MemoryStorage:
    """Objects in a dictionary, with the rules of real storage. Safe to use from several threads.

    Args:
        root: The URI that every object begins with.
        now: Tells the modification time of a new object.
    """

    def __init__(self, root: str = "memory://lake", now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._root = root.rstrip("/")
        self._now = now
        self._lock = Lock()
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._unfinished: dict[str, tuple[str, pa.BufferOutputStream, datetime]] = {}

    @property
    def root(self) -> str:
        """The URI that every object of this storage begins with."""
        return self._root

    def read(self, uri: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of an object, or exactly ``length`` of them from ``offset``."""
        check_range(uri, offset, length)
        data = self._data(uri)
        check_range(uri, offset, length, len(data))
        return data[offset:] if length is None else data[offset : offset + length]

    def write(self, uri: str, data: bytes) -> None:
        """Create an object."""
        key = object_key(self._root, uri)
        with self._lock:
            if key in self._objects:
                raise AlreadyExistsError(f"{uri!r} exists already; objects are never overwritten.")
            self._objects[key] = (bytes(data), self._now())

    @contextmanager
    def open_input(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open an object for random access."""
        with pa.BufferReader(self._data(uri)) as file:
            yield file

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open a new object for streaming."""
        key, upload_id = object_key(self._root, uri), uuid4().hex
        with pa.BufferOutputStream() as file:
            self._unfinished[upload_id] = (key, file, self._now())
            try:
                yield file
            finally:
                discarded = self._unfinished.pop(upload_id, None) is None
            if discarded:
                raise StorageUnavailableError(f"What had been written of {uri!r} was removed before it was done.")
            self.write(uri, file.getvalue().to_pybytes())

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""
        return object_key(self._root, uri) in self._objects

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects; those already gone are passed over."""
        for uri in uris:
            with self._lock:
                self._objects.pop(object_key(self._root, uri), None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects that are under the folder ``prefix`` at this moment."""
        folder = folder_key(self._root, prefix)
        with self._lock:
            objects = dict(self._objects)
        return (
            StoredObject(f"{self._root}/{key}", len(data), modified_at)
            for key, (data, modified_at) in objects.items()
            if not folder or key.startswith(f"{folder}/")
        )

    def make_folder(self, prefix: str) -> None:
        """Do nothing but check the name: there are no folders."""
        folder_key(self._root, prefix)

    def list_unfinished(self, prefix: str) -> Iterator[UnfinishedObject]:
        """Yield the streams that are open under the folder ``prefix`` at this moment."""
        folder = folder_key(self._root, prefix)
        return (
            UnfinishedObject(f"{self._root}/{key}", 0 if file.closed else file.tell(), begun_at, upload_id)
            for upload_id, (key, file, begun_at) in list(self._unfinished.items())
            if not folder or key.startswith(f"{folder}/")
        )

    def discard(self, unfinished: Iterable[UnfinishedObject]) -> None:
        """Forget streams that are open."""
        for one in unfinished:
            object_key(self._root, one.uri)
            self._unfinished.pop(one.upload_id, None)

    def together(self) -> MemoryStorage:
        """Return itself: objects are durable at once."""
        return self

    def settle(self) -> None:
        """Do nothing."""

    def _data(self, uri: str) -> bytes:
        found = self._objects.get(object_key(self._root, uri))
        if found is None:
            raise CorruptDataError(f"The object {uri!r} does not exist.")
        return found[0]


class FaultyStorage:
    """Passes everything on to ``storage``, except for the failures that were asked for.

    A write is one object, whether it is created by ``write`` or by ``open_output``. Every failure leaves
    nothing behind, as the port demands; ``fail_write`` and ``fail_after`` strike once.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = Lock()
        self._writes_left: int | None = None
        self._bytes_left: int | None = None
        self._capacity: int | None = None

    def fail_write(self, nth: int = 1) -> None:
        """Let the ``nth`` write from now on (1 is the next) end with ``StorageUnavailableError``."""
        with self._lock:
            self._writes_left = nth

    def fail_after(self, size: int) -> None:
        """Let the write that exceeds the next ``size`` bytes fail midway: ``StorageUnavailableError``."""
        with self._lock:
            self._bytes_left = size

    def limit(self, capacity: int | None) -> None:
        """Let there be room for ``capacity`` bytes, then ``StorageFullError``; None lifts the limit."""
        with self._lock:
            self._capacity = capacity

    @property
    def root(self) -> str:
        """The URI that every object of the storage begins with."""
        return self._storage.root

    def read(self, uri: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of an object, or exactly ``length`` of them from ``offset``."""
        return self._storage.read(uri, offset, length)

    def write(self, uri: str, data: bytes) -> None:
        """Create an object, or fail."""
        self._spend(uri, len(data), len(data))
        self._end_write(uri)
        self._storage.write(uri, data)

    @contextmanager
    def open_input(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open an object for random access."""
        with self._storage.open_input(uri) as file:
            yield file

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open a new object for streaming, or fail while it is written or at its end."""
        with self._storage.open_output(uri) as inner:
            meter = _Meter(inner, lambda size, total: self._spend(uri, size, total))
            with pa.PythonFile(meter, "w") as file:
                yield file
            self._end_write(uri)

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""
        return self._storage.exists(uri)

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects; those already gone are passed over."""
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
        """Return itself: objects are durable at once."""
        return self

    def settle(self) -> None:
        """Do nothing."""

    def _spend(self, uri: str, size: int, total: int) -> None:
        """Account for ``size`` more bytes of an object that has ``total`` with them."""
        with self._lock:
            if self._bytes_left is not None:
                self._bytes_left -= size
                if self._bytes_left < 0:
                    self._bytes_left = None
                    raise StorageUnavailableError(f"A failure was asked for while {uri!r} was written.")
            if self._capacity is not None:
                stored = sum(found.size for found in self._storage.list(self.root))
                if stored + total > self._capacity:
                    raise StorageFullError(f"There is no room for {uri!r} in {self._capacity} bytes.")

    def _end_write(self, uri: str) -> None:
        with self._lock:
            if self._writes_left is None:
                return
            self._writes_left -= 1
            if self._writes_left == 0:
                self._writes_left = None
                raise StorageUnavailableError(f"A failure was asked for at the end of {uri!r}.")


class _Meter:
    """A writable file that announces each write before passing it on."""

    def __init__(self, inner: pa.NativeFile, announce: Callable[[int, int], None]) -> None:
        self._inner = inner
        self._announce = announce
        self._total = 0
        self.closed = False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._total += size
        self._announce(size, self._total)
        self._inner.write(data)
        return size

    def flush(self) -> None:
        self._inner.flush()

    def close(self) -> None:
        self.closed = True
