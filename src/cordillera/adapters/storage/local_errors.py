"""What the operating system raises, as errors of Cordillera."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CordilleraError,
    CorruptDataError,
    InvalidInputError,
    StorageFullError,
    StorageUnavailableError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_STREAM_FAILED = _FULL | {errno.EIO, errno.ESTALE, errno.EROFS}


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raise errors of the system as Cordillera's."""
    try:
        yield
    except OSError as error:
        raise _cordillera_error(uri, error) from error


@contextmanager
def stream_translated(uri: str) -> Iterator[None]:
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
