"""What a database says went wrong, in Cordillera's words. Statements and parameters never get into a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from cordillera.errors import (
    AlreadyExistsError,
    CommitInDoubtError,
    CordilleraError,
    CorruptDataError,
    InvalidConfigurationError,
    InvalidInputError,
    MetadataStoreBusyError,
    NotFoundError,
    StorageFullError,
)

MIGRATE_HINT = "Run cordillera migrate."
_RETRY_HINT = "Try again."
_READ_ONLY = "The transaction was opened for reading; it cannot write or lock."


def read_only_error() -> InvalidInputError:
    """Return the error of a write in a transaction for reading."""
    return InvalidInputError(_READ_ONLY, hint="Open it with write().")


def translate(error: Exception, database: str) -> CordilleraError:
    """Return the error to raise for one that came out of SQLAlchemy, a driver, or the preparation of a statement.

    Args:
        error: What was caught.
        database: What to call the database in the message; without a password.
    """
    if isinstance(error, exc.DBAPIError):
        code = getattr(error.orig, "sqlite_errorname", None)
        if code:
            return _of_sqlite(code, str(error.orig), database)
        return _of_postgres(getattr(error.orig, "sqlstate", None), error, database)
    if isinstance(error, exc.TimeoutError):
        return MetadataStoreBusyError(
            f"Every connection to the metadata database {database} is taken.", hint=_RETRY_HINT
        )
    cause = error.orig if isinstance(error, exc.StatementError) else error
    if isinstance(cause, CordilleraError):
        return cause
    if isinstance(cause, (TypeError, ValueError, OverflowError, AttributeError)):  # what a value had to be turned into
        return InvalidInputError(
            f"A value cannot be kept in the metadata database: {type(cause).__name__}.",
            hint="Give ids and other values in the types that their functions name.",
        )
    return CordilleraError(f"The metadata database {database} refused a statement: {type(cause).__name__}.")


def translate_commit(error: Exception, database: str) -> CordilleraError:
    """Return the error to raise for one that came out of a commit, which may have happened unless it was refused."""
    if isinstance(error, exc.DBAPIError) and not _is_refusal(error):
        return CommitInDoubtError(
            f"The metadata database {database} was lost during a commit that may have happened: {_first_line(error)}.",
            hint="Look whether it did before you repeat it.",
        )
    return translate(error, database)


@contextmanager
def translating(database: str, translation: Callable[[Exception, str], CordilleraError] = translate) -> Iterator[None]:
    """Raise what SQLAlchemy raises in the block as Cordillera's errors."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise translation(error, database) from error


def _is_refusal(error: exc.DBAPIError) -> bool:
    """Tell whether the database has answered that it did not do something. SQLite may have done what it could not
    make durable: a crash at that moment can bring it back."""
    if code := getattr(error.orig, "sqlite_errorname", None):
        return not code.startswith("SQLITE_IOERR")
    state = getattr(error.orig, "sqlstate", None)
    return state is not None and not state.startswith(("08", "57P"))


def _of_sqlite(code: str, text: str, database: str) -> CordilleraError:
    if code == "SQLITE_ERROR" and "no such table" in text:
        return _not_migrated(database)
    if code.startswith("SQLITE_CONSTRAINT"):
        return _broken_constraint(foreign_key=code == "SQLITE_CONSTRAINT_FOREIGNKEY")
    known: dict[str, CordilleraError] = {
        "SQLITE_BUSY": MetadataStoreBusyError(
            f"The metadata database {database} is locked by another writer.", hint=_RETRY_HINT
        ),
        "SQLITE_IOERR": MetadataStoreBusyError(
            f"The metadata database {database} could not be read or written: {text}.",
            hint="Try again; if it stays, see whether its disk is full or failing.",
        ),
        "SQLITE_FULL": _disk_full(database),
        "SQLITE_READONLY": InvalidConfigurationError(
            f"The metadata database {database} cannot be written: {text}.", hint="Check the file's permissions."
        ),
        "SQLITE_CANTOPEN": InvalidConfigurationError(
            f"The metadata database {database} cannot be opened.", hint="Check that its folder exists."
        ),
        "SQLITE_CORRUPT": CorruptDataError(
            f"The metadata database {database} is damaged: {text}.",
            hint="Restore it from a backup; SQLite's own .recover may save what is left.",
        ),
        "SQLITE_NOTADB": CorruptDataError(
            f"The file {database} is not an SQLite database.",
            hint="Put the lake's database back, or correct metadata_url.",
        ),
        "SQLITE_TOOBIG": InvalidInputError("A value is too large for the metadata database."),
    }
    known["SQLITE_LOCKED"] = known["SQLITE_BUSY"]
    for name, error in known.items():  # extended codes begin with the plain one: SQLITE_BUSY_SNAPSHOT
        if code.startswith(name):
            return error
    return CordilleraError(f"The metadata database {database} refused a statement: {code}: {text}.")


def _of_postgres(state: str | None, error: exc.DBAPIError, database: str) -> CordilleraError:
    if state == "25006":
        return read_only_error()
    if state == "42P01":
        return _not_migrated(database)
    if state in ("53100", "53400"):
        return _disk_full(database)
    if state in ("40001", "40P01"):
        return MetadataStoreBusyError("Another transaction was in the way.", hint=_RETRY_HINT)
    if state in ("55P03", "57014"):
        return MetadataStoreBusyError(f"The metadata database {database} did not answer in time.", hint=_RETRY_HINT)
    if state is None or state[:2] in ("08", "53", "57"):
        return _unreachable(error, database)
    if state[:2] == "23":
        return _broken_constraint(foreign_key=state == "23503")
    if state[:2] in ("22", "54"):
        return InvalidInputError(f"A value cannot be kept in the metadata database: {_first_line(error)}.")
    return CordilleraError(f"The metadata database {database} refused a statement: {state}: {_first_line(error)}.")


def _unreachable(error: exc.DBAPIError, database: str) -> CordilleraError:
    refused = isinstance(error, (exc.ProgrammingError, exc.NotSupportedError))
    if refused and error.statement is None:  # the driver refuses a setting of the URL
        return InvalidConfigurationError(f"The metadata database {database} cannot be reached as configured.")
    if refused or isinstance(error, exc.DataError):  # the driver refuses a value
        return InvalidInputError(f"A value cannot be kept in the metadata database: {_first_line(error)}.")
    return MetadataStoreBusyError(
        f"The metadata database {database} cannot be reached: {_first_line(error)}.", hint=_RETRY_HINT
    )


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0].rstrip(".")


def _not_migrated(database: str) -> CordilleraError:
    return InvalidConfigurationError(f"The metadata database {database} lacks tables.", hint=MIGRATE_HINT)


def _disk_full(database: str) -> CordilleraError:
    return StorageFullError(
        f"The disk of the metadata database {database} is full; nothing was committed.",
        hint="Free or add disk space, then try again.",
    )


def _broken_constraint(*, foreign_key: bool) -> CordilleraError:
    if foreign_key:
        return NotFoundError("What was to be stored belongs to an object that does not exist (any more).")
    return AlreadyExistsError("What was to be stored exists already.")
