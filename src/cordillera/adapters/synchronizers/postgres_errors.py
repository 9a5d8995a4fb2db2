"""What PostgreSQL's errors mean to a synchronizer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cordillera.adapters.synchronizers.sql_states import hint_for, meaning_of
from cordillera.errors import (
    CordilleraError,
    InvalidConfigurationError,
    NotAllowedError,
    TargetUnreachableError,
)

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
    kind = meaning_of(code)
    message = error.diag.message_primary or type(error).__name__
    copied = _COPIED_COLUMN.match(error.diag.context or "")
    place = f" in column {copied[1]!r}" if copied else ""
    return kind(f"{target}: {message}{place} (SQLSTATE {code}).", hint=hint_for(kind))


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
