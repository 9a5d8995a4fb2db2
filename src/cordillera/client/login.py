"""Logging in at a server and out again, for whoever has a terminal and a browser."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from cordillera.access.service import NewToken
from cordillera.client.connection import Connection, checked_url
from cordillera.client.saved_logins import SavedLogin, forget_login, save_login, saved_login
from cordillera.errors import AuthenticationError, NotFoundError
from cordillera.spec.proof_key import challenge_of


@dataclass(frozen=True, slots=True)
class LoginBegun:
    """A login that has begun.

    Attributes:
        url: The server.
        verifier: What nobody else knows until the end.
        state: What the browser has to bring back.
    """

    url: str
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def page(self, port: int | None = None) -> str:
        """Return the page on which a person lets this terminal in.

        Args:
            port: Of this machine, where his browser brings the code; None to have it shown.
        """
        query = {"challenge": challenge_of(self.verifier)}
        if port is not None:
            query |= {"state": self.state, "port": str(port)}
        return f"{checked_url(self.url)}/login/terminal?{urlencode(query)}"

    def complete(self, code: str) -> tuple[SavedLogin, Path]:
        """Exchange the code for a session and keep that; return it and its file.

        Raises:
            AuthenticationError: If the server does not take the code.
        """
        server = Connection(self.url, token="")
        try:
            made = server.post(NewToken, "/session/code", {"code": code, "verifier": self.verifier})
        finally:
            server.close()
        login = SavedLogin(server.url, made.token.principal, made.secret, made.token.expires_at)
        return login, save_login(login)


def log_out(url: str) -> SavedLogin:
    """End the login at a server, there and here, and return what it was.

    Raises:
        NotFoundError: If there is none.
        ServerUnreachableError: If the server cannot be told; the login is kept then.
    """
    url = checked_url(url)
    login = saved_login(url)
    if login is None:
        raise NotFoundError(f"You are not logged in at {url}.", hint=f"Log in with: cordillera login --url {url}.")
    server = Connection(url, login.secret)
    try:
        with suppress(AuthenticationError):  # it has ended there
            server.request("POST", "/session/end")
    finally:
        server.close()
    forget_login(url)
    return login
