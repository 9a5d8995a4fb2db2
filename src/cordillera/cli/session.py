"""The running command's shared options: where the lake is and how results are shown; and opening that lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cordillera.context import acting
from cordillera.errors import InvalidConfigurationError, LakeNotFoundError

if TYPE_CHECKING:
    from cordillera.client import Lake

_SETTINGS_FILE = "cordillera.toml"  # of cordillera.settings, which is slow to import


class OutputFormat(StrEnum):
    """How results are shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Session:
    """The shared options of the running command.

    Attributes:
        lake: The lake's folder, where one was named.
        url: The lake's server, where one was named.
        token_file: File with the API token for the server.
        output: How results are shown.
        quiet: Whether messages and progress are left out.
        debug: Whether tracebacks and detailed logs are shown.
    """

    lake: Path | None = None
    url: str = ""
    token_file: Path | None = None
    output: OutputFormat = OutputFormat.TABLE
    quiet: bool = False
    debug: bool = False


_NO_OPTIONS = Session()
_current: ContextVar[Session] = ContextVar("cordillera_cli_session")


def current_session() -> Session:
    """Return the shared options of the running command."""
    return _current.get(_NO_OPTIONS)


def use_session(session: Session) -> None:
    """Make these the shared options of the running command."""
    _current.set(session)


@contextmanager
def new_session(session: Session) -> Iterator[None]:
    """Begin with ``session``; what commands set is forgotten behind the block."""
    reset = _current.set(session)
    try:
        yield
    finally:
        _current.reset(reset)


def configure_logging(*, talkative: bool = False) -> None:
    """Send logs to stderr; stdout carries results only.

    Args:
        talkative: Log what is normal, too: for commands that run until they are told to stop.
    """
    import logging

    from cordillera.logs import configure_logging as configure

    session = current_session()
    normal = logging.INFO if talkative else logging.WARNING
    configure(level=logging.DEBUG if session.debug else logging.ERROR if session.quiet else normal)


@contextmanager
def open_lake() -> Iterator[Lake]:
    """Open the lake that the command is about, in its folder or through its server, for the length of the block.

    Raises:
        LakeNotFoundError: If no lake was named and none is near.
        ServerUnreachableError, AuthenticationError: If the server does not answer or does not know the token.
    """
    import cordillera

    session = current_session()
    opened = cordillera.connect(session.url, _token(session)) if session.url else cordillera.open(lake_folder())
    with opened as lake, acting():  # one trace for all that the command does
        yield lake


def lake_folder() -> Path:
    """Return the lake's folder: the one that was named, else this folder or the nearest above it with a lake.

    Raises:
        LakeNotFoundError: Naming the places that were looked at.
    """
    named = current_session().lake
    if named is not None:
        return named
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / _SETTINGS_FILE).is_file():
            return folder
    raise LakeNotFoundError(
        f"There is no lake in {here} or above it, and none is named by --lake (CORDILLERA_LAKE) or --url "
        "(CORDILLERA_URL).",
        hint="Create one with: cordillera init.",
    )


def _token(session: Session) -> str | None:
    if session.token_file is None:
        return None  # the client looks into CORDILLERA_TOKEN itself
    hint = "Make a token with: cordillera token create NAME."
    try:
        token = session.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidConfigurationError(
            f"The token file {session.token_file} cannot be read: {reason}.", hint=hint
        ) from error
    if not token:
        raise InvalidConfigurationError(f"The token file {session.token_file} is empty.", hint=hint)
    return token
