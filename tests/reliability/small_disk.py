"""A file system of a few megabytes. Only the process that mounts it sees it, so it goes when that process ends."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.processes import started

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_RECURSIVE, _PRIVATE = 0x4000, 0x40000
_REFUSED = 77


def on_a_small_disk(body: Callable[..., None], folder: Path, *arguments: object, megabytes: int = 4) -> None:
    """Run ``body(disk, folder, *arguments)`` in a process that has a disk of its own."""
    with started(_mounted, body, folder, megabytes, arguments, folder=folder) as process:
        code = process.wait()
        if code == _REFUSED:
            pytest.skip(f"this machine lets nobody mount a file system: {process.written()}")
        assert code == 0, process.written()[-6000:]


def _mounted(body: Callable[..., None], folder: Path, megabytes: int, arguments: tuple[object, ...]) -> int:
    disk = folder / "disk"
    disk.mkdir()
    try:
        _unshare()
        _check(_LIBC.mount(b"tmpfs", bytes(disk), b"tmpfs", 0, f"size={megabytes}m".encode()))
    except PermissionError as error:
        sys.stdout.write(str(error))
        sys.stdout.flush()
        return _REFUSED
    body(disk, folder, *arguments)
    return 0


def _unshare() -> None:
    user, group = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(_NEW_MOUNTS | (_NEW_USER if user else 0)))
    if user:  # within a user namespace of its own, anybody may mount
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _check(_LIBC.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fill(disk: Path, *, room: int) -> Path:
    """Use up the disk but for ``room`` bytes, and return the file that takes the rest."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
        file.truncate(file.tell() - room)
    return ballast
