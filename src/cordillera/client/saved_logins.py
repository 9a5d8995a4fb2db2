"""Logins at servers, as ``cordillera login`` keeps them: a file for each server, which nobody else can read."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from cordillera.codec import decode
from cordillera.errors import CordilleraError, InvalidConfigurationError


@dataclass(frozen=True, slots=True)
class SavedLogin:
    """A login at a server.

    Attributes:
        url: The server.
        principal: As whom.
        secret: The token that stands for him.
        expires_at: When that ends, as the server said.
    """

    url: str
    principal: str
    secret: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"SavedLogin({self.url!r}, {self.principal!r}, secret=…)"


def saved_login(url: str) -> SavedLogin | None:
    """Return the login at a server; None if there is none.

    Raises:
        InvalidConfigurationError: If its file cannot be read, or others can read it.
    """
    file = _file(url)
    try:
        with file.open("rb") as opened:
            if os.name == "posix" and stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise InvalidConfigurationError(
                    f"Others can read the login at {url} in {file}.",
                    hint=f"Log in again: cordillera login --url {url}. Somebody may have used it.",
                )
            found = decode(SavedLogin, opened.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidConfigurationError(f"The login in {file} cannot be read: {error.strerror}.") from error
    except InvalidConfigurationError:
        raise
    except CordilleraError as error:
        raise InvalidConfigurationError(
            f"The login in {file} is damaged.", hint=f"Log in again: cordillera login --url {url}."
        ) from error
    return found if found.url == url else None


def save_login(login: SavedLogin) -> Path:
    """Keep a login in the place of the one before, and return the file."""
    import orjson

    from cordillera.codec import to_plain

    file = _file(login.url)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=file.parent, prefix="new-", delete=False) as new:  # nobody else can read it
        new.write(orjson.dumps(to_plain(login)))
    Path(new.name).replace(file)
    return file


def forget_login(url: str) -> None:
    """Keep no login at a server any more."""
    with suppress(FileNotFoundError):
        _file(url).unlink()


def _file(url: str) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "cordillera" / "logins" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"
