"""Names and directories on this machine's disk, and waiting until they are on it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from threading import Lock

from cordillera.adapters.storage.local_errors import translated
from cordillera.errors import InvalidConfigurationError, StorageUnavailableError

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_THREADS = 3
_MOST_FILES, _MOST_BYTES = 32, 2**20
"""So many files wait to become durable together at most, and none larger: the disk is to begin with those at once."""


class Unsettled:
    """Files that have their names and are still to become durable, all at once: the disk is waited for once."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._files: dict[str, tuple[str, int]] = {}

    def __del__(self) -> None:
        self.forget(list(self._files))

    def takes(self, descriptor: int) -> bool:
        """Tell whether one more file, of a descriptor, may wait."""
        return len(self._files) < _MOST_FILES and os.fstat(descriptor).st_size <= _MOST_BYTES

    def add(self, path: str, uri: str, descriptor: int) -> None:
        """Have a file wait."""
        with self._guard:
            self._files[path] = uri, os.dup(descriptor)

    def forget(self, paths: Sequence[str]) -> None:
        """Let files go that are not needed any more."""
        with self._guard:
            for _, descriptor in [self._files.pop(path) for path in paths if path in self._files]:
                os.close(descriptor)

    def settle(self) -> None:
        """Make the files, and their names, durable."""
        with self._guard:
            files, self._files = self._files, {}
        waiting = list(files.values())
        try:
            for directory in {os.path.dirname(path) for path in files}:
                with translated(directory):
                    waiting.append((directory, _open_directory(directory)))
            _sync_all(waiting)
        finally:
            for _, descriptor in waiting:
                os.close(descriptor)


@cache
def _syncers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="cordillera-sync")


os.register_at_fork(after_in_child=_syncers.cache_clear)  # threads stay behind


def _sync_all(waiting: Sequence[tuple[str, int]]) -> None:
    """Wait for the disk, for all at the same time; what other threads have no time for is done here."""
    jobs = [(one, _syncers().submit(_sync, one)) for one in waiting[1:]]
    try:
        for one in waiting[:1]:
            _sync(one)
        for one, job in jobs:
            if job.cancel():
                _sync(one)
            else:
                job.result()
    finally:
        for _, job in jobs:
            job.cancel()
        wait(job for _, job in jobs)  # before the descriptors become those of other files


def _sync(one: tuple[str, int]) -> None:
    uri, descriptor = one
    with translated(uri):
        os.fsync(descriptor)


def link(unfinished: str, path: str) -> None:
    """Give a file its name, unless that is taken."""
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise InvalidConfigurationError(
                f"The file system of {os.path.dirname(path)!r} has no hard links, which publishing needs.",
                hint="Put the storage root on another file system.",
            ) from error
        if isinstance(error, FileNotFoundError):
            raise StorageUnavailableError(
                f"What had been written of {path!r} was removed before it was done.", hint="Write it again."
            ) from error
        raise


def make_directory(name: str) -> None:
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
        sync_directory(str(created.parent))


def sync_directory(directory: str) -> None:
    """Make the names in a directory durable."""
    descriptor = _open_directory(directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_directory(directory: str) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
