"""The server process: API, pages and workers on one lake, in one process."""

from __future__ import annotations

import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from cordillera.api.app import create_api
from cordillera.api.auth import AccessRules, is_loopback
from cordillera.api.connections import PatientProtocol
from cordillera.api.limits import RequestLimit
from cordillera.app import Application, open_lake
from cordillera.context import local_principal
from cordillera.errors import AlreadyExistsError, InvalidConfigurationError
from cordillera.spec.access import Privilege
from cordillera.spec.wanted_grant import WantedGrant
from cordillera.web.failures import install_failure_pages
from cordillera.web.pages import create_router
from cordillera.worker import workers as running_workers

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8470
FIRST_TOKEN = "first login"  # noqa: S105 - a name, not a secret

_log = structlog.get_logger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_SECONDS = 60
"""How long requests in flight may take once the server has been told to stop."""
_BACKLOG = 2048


def create_server(app: Application, *, host: str = DEFAULT_HOST, insecure_local: bool = False) -> FastAPI:
    """Return the API and the pages of a lake as one ASGI application.

    Args:
        app: The lake; whoever opened it closes it.
        host: What the server is going to be bound to; on loopback it answers to this machine's own names alone.
        insecure_local: Let requests without a token act as the user who runs the server (on loopback only).

    Raises:
        InvalidConfigurationError: If ``insecure_local`` is asked for on an address that others can reach.
    """
    requests = RequestLimit(app.settings.requests_per_second)
    server = create_api(app, AccessRules(app.access, app.workloads, is_loopback(host), insecure_local, requests))
    server.include_router(create_router())
    install_failure_pages(server)
    return server


def serve(
    lake: str | Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    workers: int = 1,
    insecure_local: bool = False,
) -> None:
    """Serve a lake until SIGINT or SIGTERM. Call it in the main thread, with logging configured.

    It ends when the requests in flight and the tasks in hand are done; a second signal ends it at once. It keeps no
    state: any number of servers may share one PostgreSQL and one storage.

    Args:
        lake: The lake's folder.
        host: Address to bind; others than loopback belong behind a proxy that speaks TLS.
        port: Port to bind; 0 for any free one.
        workers: Threads that do background work; 0 leaves it to other processes.
        insecure_local: Let requests without a token act as the user who runs the server (on loopback only).

    Raises:
        LakeNotFoundError: If there is no lake in the folder.
        InvalidConfigurationError: If address and options cannot work together, or the port is taken.
    """
    with open_lake(lake) as app:
        server = create_server(app, host=host, insecure_local=insecure_local)
        with listen(host, port) as listener:
            url = _url(host, listener)
            if not is_loopback(host):
                _log.warning("tokens travel unencrypted unless a proxy in front of this server speaks TLS", url=url)
            if not insecure_local:
                _introduce(app, url)
            gc.freeze()  # what is there by now stays: looking through it for garbage would stop every request for 0.1 s
            with running_workers(app, workers):
                _log.info("serving", url=url, lake=app.lake().name, workers=workers)
                with _signals_survived():
                    make_engine(server).run(sockets=[listener])
                _log.info("stopping: the tasks in hand are finished first")


def make_engine(server: FastAPI) -> uvicorn.Server:
    """Return what answers a server's requests, ready to ``run``; once told to exit it finishes those in flight."""
    config = uvicorn.Config(
        server,
        http=PatientProtocol,
        ws="none",
        forwarded_allow_ips=server.state.lake.settings.trusted_proxies,
        log_config=None,
        access_log=False,  # the middleware logs requests, with their principal and trace
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    engine = uvicorn.Server(config)
    server.state.stopping = lambda: engine.should_exit
    return engine


@contextmanager
def _signals_survived() -> Iterator[None]:
    """Keep the signals that end uvicorn from ending the process: uvicorn sends itself each again when it is done."""
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that takes connections; port 0 is any free one.

    Raises:
        InvalidConfigurationError: If the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio only switches Nagle's algorithm off where TCP is named; with it, every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise InvalidConfigurationError(
            f"The server cannot listen on {host} port {port}: {error}.", hint="Choose another with --host and --port."
        ) from error
    return listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _introduce(app: Application, url: str) -> None:
    """Make the first token of a lake that has none, so that somebody can log in, and show it this once.

    Whoever starts the server can do everything with the lake, and so can that token.
    """
    if app.access.tokens(limit=1):
        return
    try:
        made = app.access.create_token(FIRST_TOKEN, principal=local_principal())
        app.grants.grant(
            WantedGrant(made.token.principal, Privilege.ADMINISTER, "lake", reason="starts the lake's server")
        )
    except AlreadyExistsError:
        return  # another server on the same lake started at the same moment
    sys.stdout.write(
        f"The lake had no token. This one is for {made.token.principal}, for 90 days, and is shown only now:\n\n"
        f"    {made.secret}\n\nLog in at {url}/login\n"
    )
    sys.stdout.flush()
