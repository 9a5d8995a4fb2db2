"""``cordillera login``, ``logout`` and ``whoami``: in whose name a person at a terminal works at a server."""

from __future__ import annotations

import sys
import webbrowser
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import Place, command
from cordillera.cli.output import View, show, show_outcome
from cordillera.cli.session import current_session, open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import InvalidConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from cordillera.client.login import LoginBegun

app = typer.Typer()
_WAIT_SECONDS = 300.0
_WHO: View = {
    "principal": "principal",
    "member_of": "member_of",
    "operator": "operator",
    "read_only": "read_only",
    "expires_at": "expires_at",
}
_LOGIN: View = {"url": "url", "principal": "principal", "expires_at": "expires_at"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A login without its secret."""

    url: str
    principal: str
    expires_at: datetime | None


@command(
    app,
    "login",
    example="cordillera login --url https://lake.example.com\ncordillera login --no-browser",
    place=Place.SERVER,
)
def login(
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open no browser: use any, and type the code that it shows.")
    ] = False,
) -> None:
    """Log in at a server as whoever you are in your browser. Commands about the server act in your name from then on.

    The login ends by itself, at the time when the browser's does; `cordillera logout` ends it at once.
    """
    from cordillera.client.login import LoginBegun

    begun = LoginBegun(_server())
    code = _typed_code(begun) if no_browser else _brought_code(begun)
    made, file = begun.complete(code)
    until = f" until {made.expires_at:%Y-%m-%d %H:%M} UTC" if made.expires_at is not None else ""
    shown = _Shown(made.url, made.principal, made.expires_at)
    show_outcome(f"Logged in at {made.url} as {made.principal}{until}; kept in {file}.", shown, _LOGIN)


@command(app, "logout", example="cordillera logout --url https://lake.example.com", place=Place.SERVER)
def logout() -> None:
    """End the login at a server, there and here."""
    from cordillera.client.login import log_out

    ended = log_out(_server())
    announce(f"{ended.principal} is logged out at {ended.url}.")


@command(app, "whoami", example="cordillera whoami")
def whoami() -> None:
    """Show in whose name commands act, and what groups and roles that is in."""
    with open_lake() as lake:
        found = lake.whoami()
    show(found, _WHO)


def _server() -> str:
    url = current_session().url
    if not url:
        raise InvalidConfigurationError(
            "No server is named by --url or CORDILLERA_URL.",
            hint="Name it: cordillera login --url https://lake.example.com. A lake's folder needs no login.",
        )
    return url


def _brought_code(begun: LoginBegun) -> str:
    """Have a browser on this machine bring the code."""
    from cordillera.cli.loopback import Loopback

    with Loopback(begun.state) as waiting:
        page = begun.page(waiting.port)
        opened = webbrowser.open(page)
        announce(f"{'Let this terminal in' if opened else 'Open this'} in your browser:\n  {page}")
        return waiting.wait(_WAIT_SECONDS)


def _typed_code(begun: LoginBegun) -> str:
    """Have the person type the code; it is of no use to anybody but this process."""
    announce(f"Open this in a browser, and copy the code that it shows here:\n  {begun.page()}")
    print("Code: ", end="", file=sys.stderr, flush=True)
    code = sys.stdin.readline().strip()
    if not code:
        raise InvalidInputError("There was no code.", hint="Begin again with: cordillera login.")
    return code
