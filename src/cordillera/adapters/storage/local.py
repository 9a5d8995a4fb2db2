"""Objects as files in a directory of this machine.

An object is written under an unfinished name in its own directory, made durable (fsync), and published with a
hard link, which fails if the name is taken: there is no moment in which a half-written or replaced object can
be seen. A process that is killed leaves at most a file with an unfinished name, which is no object.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from cordillera.adapters.storage.disk import Unsettled, link, make_directory, sync_directory
from cordillera.adapters.storage.local_errors import stream_translated, translated
from cordillera.errors import AccessDeniedError, CorruptDataError, InvalidConfigurationError
from cordillera.ports.storage import StoredObject, UnfinishedObject
from cordillera.spec.object_uri import (
    check_range,
    folder_key,
    is_object_key,
    is_unfinished,
    object_key,
    unfinished_key,
)

SCHEME = "file"

_Found = tuple[str, os.stat_result]
"""A file in a listing: its path, and what is known of it."""


class LocalStorage:
    """A directory as storage root. See :class:`cordillera.ports.storage.Storage` for the methods.

    Args:
        root: A path, or a ``file:///`` URI, taken literally (nothing is percent-decoded). It need not exist
            yet.

    Raises:
        InvalidConfigurationError: If the URI has a host or no absolute path, or the root is ``/`` itself.
    """

    def __init__(self, root: str) -> None:
        self._directory = str(_root_directory(root))
        self._root = f"{SCHEME}://{self._directory}"
        self._unsettled: Unsettled | None = None

    @property
    def root(self) -> str:
        """The root as a ``file:///`` URI."""
        return self._root

    def __repr__(self) -> str:
        return f"LocalStorage({self._root!r})"

    def read(self, uri: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of an object, or exactly ``length`` of them from ``offset``."""
        check_range(uri, offset, length)
        path = self._path(uri)
        with translated(uri), os.fdopen(_open_object(path), "rb") as file:
            check_range(uri, offset, length, os.fstat(file.fileno()).st_size)
            file.seek(offset)
            return file.read() if length is None else file.read(length)

    def write(self, uri: str, data: bytes) -> None:
        """Create an object, durably."""
        with (
            self._new_file(uri) as descriptor,
            translated(uri),
            os.fdopen(descriptor, "wb", closefd=False) as file,
        ):
            file.write(data)

    @contextmanager
    def open_input(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open an object for random access.

        A plain file, not a memory map: when a mapped file turns out to be shorter than it was (a failing
        disk, a meddling hand) the process dies of SIGBUS, where a read reports an error. Parquet is decoded
        into new memory either way.
        """
        path = self._path(uri)
        with translated(uri):
            file = pa.OSFile(_open_object(path), "rb")
        with file, stream_translated(uri):
            yield file

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open a new object for streaming; a taken name is refused when the block ends, if not at once."""
        with (
            self._new_file(uri) as descriptor,
            stream_translated(uri),
            pa.OSFile(os.dup(descriptor), "wb") as file,
        ):
            yield file

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""
        path = self._path(uri)
        try:
            with translated(uri):
                return stat.S_ISREG(os.stat(path).st_mode)
        except CorruptDataError:
            return False

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects, durably; empty directories stay, since another writer may be about to use them."""
        found = [(uri, self._path(uri)) for uri in uris]
        if self._unsettled is not None:
            self._unsettled.forget([path for _, path in found])
        _remove(found)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects under the folder ``prefix``. Links are not followed, and are no objects."""
        return map(_stored_object, self._files(prefix, is_object_key))

    def make_folder(self, prefix: str) -> None:
        """Create a directory."""
        path = self._inside(folder_key(self._root, prefix), prefix)
        with translated(prefix):
            make_directory(path)

    def list_unfinished(self, prefix: str) -> Iterator[UnfinishedObject]:
        """Yield the unfinished files under the folder ``prefix``. Links are not followed."""
        return map(_unfinished_object, self._files(prefix, is_unfinished))

    def discard(self, unfinished: Iterable[UnfinishedObject]) -> None:
        """Remove unfinished files, durably."""
        _remove((one.uri, self._unfinished_path(one.uri)) for one in unfinished)

    def together(self) -> LocalStorage:
        """Return a view whose small objects become durable when they are settled."""
        view = copy(self)
        view._unsettled = Unsettled()
        return view

    def settle(self) -> None:
        """Make durable what is not yet."""
        if self._unsettled is not None:
            self._unsettled.settle()

    def _files(self, prefix: str, wanted: Callable[[str], bool]) -> Iterator[_Found]:
        """Return the files under the folder ``prefix`` whose names are wanted."""
        return _walk(self._inside(folder_key(self._root, prefix), prefix), wanted)

    def _unfinished_path(self, uri: str) -> str:
        return self._inside(unfinished_key(self._root, uri), uri)

    def _path(self, uri: str) -> str:
        return self._inside(object_key(self._root, uri), uri)

    def _inside(self, key: str, uri: str) -> str:
        """Return the path of a key. The root itself may be, or lie behind, a link; below it no link may lead out.

        A text: every commit goes through here several times, and a ``Path`` takes longer than what is done with it.
        """
        path = f"{self._directory}/{key}" if key else self._directory
        if _has_link(self._directory, key.split("/") if key else []):  # there hardly ever is one
            inside = os.path.realpath(self._directory)
            if os.path.commonpath([inside, os.path.realpath(path)]) != inside:
                raise AccessDeniedError(
                    f"{uri!r} is outside the storage root {self._root!r}: it follows a link out of it."
                )
        return path

    @contextmanager
    def _new_file(self, uri: str) -> Iterator[int]:
        """Yield the descriptor of an unfinished file, which becomes the object when the block ends well."""
        path = self._path(uri)
        directory = os.path.dirname(path)
        unfinished = f"{directory}/.tmp-{uuid4().hex}"
        with translated(uri):
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "exists", path)
            make_directory(directory)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield descriptor
            with translated(uri):
                self._publish(uri, path, unfinished, descriptor)
        except BaseException:
            with suppress(OSError):  # gone already, or invisible litter: no reason to hide the error that led here
                os.unlink(unfinished)
            raise
        finally:
            os.close(descriptor)

    def _publish(self, uri: str, path: str, unfinished: str, descriptor: int) -> None:
        """Give a written file its name, and make both durable."""
        if self._unsettled is not None and self._unsettled.takes(descriptor):
            link(unfinished, path)
            os.unlink(unfinished)
            self._unsettled.add(path, uri, descriptor)
            return
        os.fsync(descriptor)
        link(unfinished, path)
        try:
            os.unlink(unfinished)
            sync_directory(os.path.dirname(path))
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(path)
            raise


def _has_link(top: str, names: Sequence[str]) -> bool:
    """Tell whether one of the names, each inside the one before, is a symbolic link."""
    for name in names:
        top = f"{top}/{name}"
        try:
            if stat.S_ISLNK(os.lstat(top).st_mode):
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # such as a name that is too long, or no access: whatever uses the path reports it
            return True
    return False


def _root_directory(root: str) -> Path:
    path = root.removeprefix(f"{SCHEME}://")
    if path.startswith(f"{SCHEME}:") or (path != root and not path.startswith("/")) or not path:
        raise InvalidConfigurationError(
            f"{root!r} is not a storage root.", hint="Write a path, or file:/// and an absolute path."
        )
    directory = Path(os.path.normpath(Path(path).absolute()))
    if directory == directory.parent:
        raise InvalidConfigurationError(
            "The root directory '/' cannot be a storage root.", hint="Name a directory in it."
        )
    return directory


def _open_object(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, "not a regular file", path)
    return descriptor


def _walk(top: str, wanted: Callable[[str], bool]) -> Iterator[_Found]:
    pending = [top]
    while pending:
        directory = pending.pop()
        # Whatever vanishes meanwhile was deleted, or published, meanwhile.
        with (
            translated(directory),
            suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(directory) as entries,
        ):
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if is_object_key(entry.name):
                        pending.append(entry.path)
                elif wanted(entry.name) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        yield entry.path, entry.stat(follow_symlinks=False)


def _stored_object(found: _Found) -> StoredObject:
    path, status = found
    return StoredObject(f"{SCHEME}://{path}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _unfinished_object(found: _Found) -> UnfinishedObject:
    path, status = found
    return UnfinishedObject(f"{SCHEME}://{path}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _remove(files: Iterable[tuple[str, str]]) -> None:
    """Remove files, durably; what is none, or is gone, is passed over."""
    changed: set[str] = set()
    for uri, path in files:
        with translated(uri), suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(os.stat(path).st_mode):
                os.unlink(path)
                changed.add(os.path.dirname(path))
    for directory in changed:
        with translated(directory), suppress(FileNotFoundError):
            sync_directory(directory)
