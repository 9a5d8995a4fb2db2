"""What PostgreSQL's errors mean to a synchronizer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cordillera.errors import (
    CordilleraError,
    DuplicateKeyError,
    InvalidConfigurationError,
    NotAllowedError,
    NullKeyError,
    StorageFullError,
    TargetDriftError,
    TargetUnreachableError,
    TypeMismatchError,
)

# By SQLSTATE, a whole code before its class (the first two characters). PostgreSQL manual, "PostgreSQL Error Codes".
_MEANING: dict[str, type[CordilleraError]] = {
    "08": TargetUnreachableError,  # connection exceptions
    "40": TargetUnreachableError,  # transaction rollback: deadlocks
    "53": TargetUnreachableError,  # insufficient resources …
    "53100": StorageFullError,  # … but a full disk needs somebody
    "55": TargetUnreachableError,  # a lock was not to be had in time, the object is in use
    "57": TargetUnreachableError,  # shutdown, cancelled, timed out
    "58": TargetUnreachableError,  # the server's own system errors
    "28": InvalidConfigurationError,
    "3D": InvalidConfigurationError,  # no such database
    "3F": InvalidConfigurationError,  # no such schema
    "25006": InvalidConfigurationError,  # a read-only server
    "42501": InvalidConfigurationError,  # insufficient privilege
    "22": TypeMismatchError,  # a value does not fit
    "54": TypeMismatchError,  # a limit: row or index entry too large, too many columns
    "23502": NullKeyError,
    "23505": DuplicateKeyError,
    "21000": DuplicateKeyError,  # a statement would change a row twice
    "42P01": TargetDriftError,  # no such table
    "42P07": TargetDriftError,  # the table is there already
    "42P10": TargetDriftError,  # no primary key that fits
    "42703": TargetDriftError,  # no such column
    "42701": TargetDriftError,  # the column is there already
    "42710": TargetDriftError,  # another object of that name
    "42804": TargetDriftError,  # another type
    "42809": TargetDriftError,  # a view, not a table
}
_HINTS: dict[type[CordilleraError], str] = {
    DuplicateKeyError: "Every key may come once in a delivery.",
    TargetDriftError: "Only Cordillera may change the table's columns and key; drop it and deliver it whole.",
    NotAllowedError: "Remove what depends on the table or column, or what restricts it, in the target.",
    StorageFullError: "Make room on the target's disk.",
}
_COPIED_COLUMN = re.compile(r"COPY .*?, line \d+, column (.+?): ")
_REFUSALS = (  # libpq gives no code for a refused connection, only the server's words
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
)


@contextmanager
def translated(target: str) -> Iterator[None]:
    """Raise the block's PostgreSQL errors as Cordillera's, naming ``target``.

    The original is not kept as the cause: its details quote rows.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _meaning_of(error, target) from None


def _meaning_of(error: psycopg.Error, target: str) -> CordilleraError:
    code = error.sqlstate
    if code is None:
        lost = isinstance(error, psycopg.OperationalError)
        kind: type[CordilleraError] = TargetUnreachableError if lost else NotAllowedError
        return kind(f"{target}: the connection was lost or misused: {_first_line(error)}")
    kind = _MEANING.get(code) or _MEANING.get(code[:2]) or NotAllowedError
    message = error.diag.message_primary or type(error).__name__
    copied = _COPIED_COLUMN.match(error.diag.context or "")
    place = f" in column {copied[1]!r}" if copied else ""
    return kind(f"{target}: {message}{place} (SQLSTATE {code}).", hint=_HINTS.get(kind, ""))


def connection_error(error: psycopg.Error, target: str) -> CordilleraError:
    """Return what a failed attempt to connect means."""
    words = _first_line(error)
    if any(refusal in words for refusal in _REFUSALS):
        return InvalidConfigurationError(
            f"{target} refused the connection: {words}", hint="Check the target's user, password and database."
        )
    return TargetUnreachableError(f"{target} cannot be reached: {words}", hint="Check that it runs and is reachable.")


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0]
