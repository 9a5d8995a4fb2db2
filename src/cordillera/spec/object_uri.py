"""The rules for object URIs: what lies inside a storage root, and which names an object can have.

A URI is its root, a slash and a key, taken literally: no part is percent-decoded and ``#`` and ``?`` are
ordinary characters. So does everybody who reads locations out of Iceberg metadata (DuckDB, Spark, PyIceberg),
where ``%2F`` inside a partition folder is three characters of its name. One exception: PyIceberg's own FileIO
cuts a location at ``#`` and ``?``.

Every object has exactly one spelling (no empty or dot segments), because clean-up compares the URIs of a listing
with the URIs in metadata, and a second spelling of a live file would look like an orphan. One exception again:
Hadoop's file systems, and so Spark, write ``file:/`` for ``file:///``; what compares places has to know that.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from cordillera.errors import AccessDeniedError, CorruptDataError, InvalidInputError

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")  # SeaweedFS and Windows read a backslash as a slash
_UNFINISHED = re.compile(r".*\.tmp-[0-9a-f]{32}")


def canonical(uri: str) -> str:
    """Return the spelling of a URI that Cordillera uses: ``file:///`` for Hadoop's ``file:/``."""
    return f"file://{uri[5:]}" if uri.startswith("file:/") and not uri.startswith("file://") else uri


def object_key(root: str, uri: str) -> str:
    """Return the part of ``uri`` after ``root/``.

    Raises:
        AccessDeniedError: If the URI is not inside the root.
        InvalidInputError: If no object can have that name.
    """
    spelled = canonical(uri)
    if not spelled.startswith(f"{root}/"):
        raise AccessDeniedError(f"{uri!r} is outside the storage root {root!r}.")
    key = spelled[len(root) + 1 :]
    for segment in key.split("/"):
        _check_segment(segment, uri)
    return key


def folder_key(root: str, prefix: str) -> str:
    """Return the key of the folder ``prefix``, which may end in a slash; the root itself has the empty key.

    Raises:
        AccessDeniedError, InvalidInputError: As :func:`object_key`.
    """
    folder = canonical(prefix).removesuffix("/")
    return "" if folder == root else object_key(root, folder)


def unfinished_key(root: str, uri: str) -> str:
    """Return the part of ``uri`` after ``root/``, of a file that an object has while it is being written.

    Raises:
        AccessDeniedError: If the URI is not inside the root.
        InvalidInputError: If it is not the name of an unfinished file.
    """
    folder, _, name = uri.rpartition("/")
    key = "" if folder == root else object_key(root, folder)
    if not is_unfinished(name):
        raise InvalidInputError(f"{uri!r} is no unfinished file.")
    return f"{key}/{name}" if key else name


def is_object_key(key: str) -> bool:
    """Tell whether an object of Cordillera can have this key; listings pass over everything else."""
    return all(map(_is_legal_segment, key.split("/")))


def is_unfinished(name: str) -> bool:
    """Tell whether a file name is one that an object has while it is being written."""
    return _UNFINISHED.fullmatch(name) is not None


def check_range(uri: str, offset: int, length: int | None, size: int | None = None) -> None:
    """Make sure that a byte range makes sense, and that an object of ``size`` bytes (if given) has all of it.

    Raises:
        InvalidInputError: If ``offset`` or ``length`` is negative.
        CorruptDataError: If the object ends before the range does.
    """
    if offset < 0 or (length is not None and length < 0):
        raise InvalidInputError(f"The range (offset {offset}, length {length}) of {uri!r} is negative.")
    if size is not None and offset + (length or 0) > size:
        raise CorruptDataError(
            f"{uri!r} has {size} bytes; its range (offset {offset}, length {length}) goes beyond them.",
            hint="The object was cut short, or what describes it is wrong.",
        )


def _is_legal_segment(segment: str) -> bool:
    return unquote(segment) not in {"", ".", ".."} and not _FORBIDDEN.search(segment) and not is_unfinished(segment)


def _check_segment(segment: str, uri: str) -> None:
    if unquote(segment) in {".", ".."}:  # also encoded: a client that decodes would leave the root
        raise AccessDeniedError(f"{uri!r} could lead out of the storage root: it has a dot segment.")
    if not _is_legal_segment(segment):
        raise InvalidInputError(
            f"{uri!r} cannot name an object.",
            hint="Avoid empty parts, control characters, backslashes and the ending .tmp-<32 hex digits>.",
        )
