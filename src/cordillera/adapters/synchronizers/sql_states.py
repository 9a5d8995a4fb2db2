"""What the SQLSTATE codes of PostgreSQL, and of databases that come from it, mean to a synchronizer."""

from __future__ import annotations

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


def meaning_of(code: str) -> type[CordilleraError]:
    """Return the error that a code stands for; ``NotAllowedError`` for one that is not known."""
    return _MEANING.get(code) or _MEANING.get(code[:2]) or NotAllowedError


def hint_for(kind: type[CordilleraError]) -> str:
    """Return what to do about an error."""
    return _HINTS.get(kind, "")
