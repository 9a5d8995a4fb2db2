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
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CordilleraError,
    CorruptDataError,
    InvalidConfigurationError,
    InvalidInputError,
    StorageFullError,
    StorageUnavailableError,
)
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

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_STREAM_FAILED = _FULL | {errno.EIO, errno.ESTALE, errno.EROFS}

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
        with _translated(uri), os.fdopen(_open_object(path), "rb") as file:
            check_range(uri, offset, length, os.fstat(file.fileno()).st_size)
            file.seek(offset)
            return file.read() if length is None else file.read(length)

    def write(self, uri: str, data: bytes) -> None:
        """Create an object, durably."""
        with (
            self._new_file(uri) as descriptor,
            _translated(uri),
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
        with _translated(uri):
            file = pa.OSFile(_open_object(path), "rb")
        with file, _stream_translated(uri):
            yield file

    @contextmanager
    def open_output(self, uri: str) -> Iterator[pa.NativeFile]:
        """Open a new object for streaming; a taken name is refused when the block ends, if not at once."""
        with (
            self._new_file(uri) as descriptor,
            _stream_translated(uri),
            pa.OSFile(os.dup(descriptor), "wb") as file,
        ):
            yield file

    def exists(self, uri: str) -> bool:
        """Tell whether there is an object at ``uri``."""
        path = self._path(uri)
        try:
            with _translated(uri):
                return stat.S_ISREG(os.stat(path).st_mode)
        except CorruptDataError:
            return False

    def delete(self, uris: Iterable[str]) -> None:
        """Remove objects, durably; empty directories stay, since another writer may be about to use them."""
        _remove((uri, self._path(uri)) for uri in uris)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects under the folder ``prefix``. Links are not followed, and are no objects."""
        return map(_stored_object, self._files(prefix, is_object_key))

    def make_folder(self, prefix: str) -> None:
        """Create a directory."""
        path = self._inside(folder_key(self._root, prefix), prefix)
        with _translated(prefix):
            _make_directory(path)

    def list_unfinished(self, prefix: str) -> Iterator[UnfinishedObject]:
        """Yield the unfinished files under the folder ``prefix``. Links are not followed."""
        return map(_unfinished_object, self._files(prefix, is_unfinished))

    def discard(self, unfinished: Iterable[UnfinishedObject]) -> None:
        """Remove unfinished files, durably."""
        _remove((one.uri, self._unfinished_path(one.uri)) for one in unfinished)

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
        with _translated(uri):
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "exists", path)
            _make_directory(directory)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield descriptor
            with _translated(uri):
                os.fsync(descriptor)
                _publish(unfinished, path)
        except BaseException:
            with suppress(OSError):  # gone already, or invisible litter: no reason to hide the error that led here
                os.unlink(unfinished)
            raise
        finally:
            os.close(descriptor)


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
            _translated(directory),
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
        with _translated(uri), suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(os.stat(path).st_mode):
                os.unlink(path)
                changed.add(os.path.dirname(path))
    for directory in changed:
        with _translated(directory), suppress(FileNotFoundError):
            _sync_directory(directory)


def _publish(unfinished: str, path: str) -> None:
    directory = os.path.dirname(path)
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise InvalidConfigurationError(
                f"The file system of {directory!r} has no hard links, which publishing needs.",
                hint="Put the storage root on another file system.",
            ) from error
        if isinstance(error, FileNotFoundError):
            raise StorageUnavailableError(
                f"What had been written of {path!r} was removed before it was done.", hint="Write it again."
            ) from error
        raise
    try:
        os.unlink(unfinished)
        _sync_directory(directory)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


def _make_directory(name: str) -> None:
    """Create a directory and those above it, each durably."""
    if os.path.isdir(name):  # as it mostly is
        return
    missing, directory = [], Path(name)
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    if not directory.is_dir():
        raise FileExistsError(errno.EEXIST, "an object stands where a folder is needed", str(directory))
    for created in reversed(missing):
        created.mkdir(exist_ok=True)
        _sync_directory(str(created.parent))


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _cordillera_error(uri, error) from error


@contextmanager
def _stream_translated(uri: str) -> Iterator[None]:
    """Translate the errors of a native stream used in the block, and leave those of its other work alone."""
    try:
        yield
    except OSError as error:
        if error.errno in _STREAM_FAILED and error.filename is None:
            raise _cordillera_error(uri, error) from error
        raise


def _cordillera_error(uri: str, error: OSError) -> CordilleraError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return StorageFullError(f"There is no room to write {uri!r} ({reason}).", hint="Free or add disk space.")
    if error.errno in _DENIED:
        return AccessDeniedError(
            f"The operating system refuses access to {uri!r} ({reason}).",
            hint="Check the owner and mode of the directory, and that its file system is mounted writable.",
        )
    if isinstance(error, FileExistsError):
        return AlreadyExistsError(f"{uri!r} exists already, or a part of its path does; objects are never overwritten.")
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return CorruptDataError(
            f"The object {uri!r} does not exist.",
            hint="Restore it from a backup; cordillera doctor tells what else is wrong.",
        )
    if error.errno == errno.ENAMETOOLONG:
        return InvalidInputError(f"{uri!r} is too long for a file name.")
    return StorageUnavailableError(
        f"The file system failed on {uri!r} ({reason}).",
        hint="Try again; if it stays, look at the disk and the system's log.",
    )
