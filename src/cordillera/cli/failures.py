"""Telling the person what went wrong, and ending with the exit code that says so to a script."""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from typer import Abort, TyperException

from cordillera.cli.session import OutputFormat, current_session
from cordillera.errors import CommitInDoubtError, CordilleraError, InvalidInputError

UNEXPECTED = 1
DOCTOR_WARNING = 8
DOCTOR_ERROR = 9
INTERRUPTED = 130

EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, "done"),
    (UNEXPECTED, "something unexpected, a set-up problem, or declined"),
    (2, "the command, an option or the input does not make sense"),
    (3, "something named does not exist"),
    (4, "it exists already, or its state does not allow the change"),
    (5, "rows break the dataset's contract"),
    (6, "not identified, or not permitted"),
    (7, "stored data or a target is not what it should be"),
    (DOCTOR_WARNING, "doctor: there are warnings"),
    (DOCTOR_ERROR, "doctor, catalog verify: there are errors"),
    (CommitInDoubtError.exit_code, "it is not known whether a commit was done: look before you repeat it"),
    (75, "a passing problem: the same command may succeed later"),
    (INTERRUPTED, "interrupted with Ctrl-C"),
)


def report(error: Exception) -> int:
    """Show an error on stderr and return its exit code. A traceback is shown with ``--debug`` only."""
    if current_session().debug:
        traceback.print_exception(error)
    if isinstance(error, Abort):
        print("Nothing was changed.", file=sys.stderr)
        return UNEXPECTED
    if isinstance(error, CordilleraError):
        _print(error)
        return error.exit_code
    if isinstance(error, TyperException):
        _print_usage_error(error)
        return error.exit_code
    _print(_unexpected(error))
    return UNEXPECTED


def _print(error: CordilleraError) -> None:
    if current_session().output is OutputFormat.JSON:
        body = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
        print(json.dumps({"error": body}, ensure_ascii=False, default=str), file=sys.stderr)
        return
    print(f"Error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"Hint: {error.hint}", file=sys.stderr)


def _print_usage_error(error: TyperException) -> None:
    """Show a mistake in the command line; Typer knows what is wrong, the context which command was meant."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if not message:
        return  # the help text has been shown instead
    if context is None:
        _print(InvalidInputError(message))
        return
    commands = getattr(context.command, "commands", None)
    choice = f"Commands: {', '.join(commands)}. " if commands else ""
    _print(InvalidInputError(message, hint=f"{choice}See: {context.command_path} --help."))


def _unexpected(error: Exception) -> CordilleraError:
    """Describe an error nobody foresaw in one line, and keep its traceback in the log file."""
    from cordillera.logs import redact_text

    first = (str(error).splitlines() or [""])[0]
    message = redact_text(f"Something unexpected went wrong: {type(error).__name__}: {first}")
    if current_session().debug:
        return CordilleraError(message, hint="Please report it with the traceback above.")
    file = _log_traceback(redact_text("".join(traceback.format_exception(error))))
    where = f"The traceback is in {file}; --debug shows it." if file else "Run it again with --debug for the traceback."
    return CordilleraError(message, hint=where)


def _log_traceback(text: str) -> Path | None:
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    file = Path(home) / "cordillera" / "errors.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as log:
            log.write(f"--- {datetime.now(UTC).isoformat()}\n{text}\n")
    except OSError:
        return None
    return file
