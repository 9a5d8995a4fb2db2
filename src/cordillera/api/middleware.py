"""What happens around every request: its trace, its caller, its size, its errors, its line in the log."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from urllib.parse import quote, urlsplit

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cordillera.api.auth import (
    AccessRules,
    Caller,
    caller_of,
    check_origin,
    check_reads,
    is_asset,
    is_public,
    signature_of,
)
from cordillera.api.connections import sent, within
from cordillera.api.errors import AnswerBrokenOff, BodyRefused, answer_to, internal_error, too_large
from cordillera.api.iceberg_rest.direct import Direct, direct
from cordillera.api.iceberg_rest.errors import PREFIX as ICEBERG
from cordillera.arrow_stream import ARROW_STREAM
from cordillera.codec import API_PREFIX
from cordillera.context import acting, new_trace_id
from cordillera.errors import AuthenticationError, CordilleraError, UnsupportedEncodingError
from cordillera.spec.request_signature import RequestSignature

ANONYMOUS = "anonymous"
_NOBODY = Caller(ANONYMOUS)
MOST_JSON_BYTES = 10_000_000
"""Largest body that is held in memory; only Arrow streams of rows may be larger."""

_log = structlog.get_logger(__name__)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_ROWS_PATH = re.compile(rf"{API_PREFIX}/(datasets/[^/]+/(rows|merges)(/explanation)?|transactions)")


class RequestMiddleware:
    """Wraps the application.

    Args:
        app: The application.
        rules: How callers are recognised.
        most_bytes: Largest body of rows.
    """

    def __init__(self, app: ASGIApp, rules: AccessRules, most_bytes: int) -> None:
        self._app, self._rules, self._most_bytes = app, rules, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace_id = trace_id_of(scope)
        answer = _Answer(send, trace_id, cacheable=is_asset(scope["path"]))
        with acting(ANONYMOUS, trace_id):
            try:
                await self._admit(Request(scope, receive), answer)
            except ClientDisconnect:
                _log.info("the client went away", method=scope["method"], path=scope["path"])
            except AnswerBrokenOff:
                raise
            except Exception as error:
                _log.exception("request failed", method=scope["method"], path=scope["path"])
                if answer.started:
                    raise AnswerBrokenOff from error
                await internal_error(Request(scope))(scope, receive, answer)

    async def _admit(self, request: Request, send: _Answer) -> None:
        scope, most_bytes, began = request.scope, self._most_bytes_of(request), time.monotonic()
        receive, answer = within(request.receive, most_bytes), None
        try:
            check_origin(request, self._rules)
            _check_announced(request, most_bytes)
            if is_public(scope["path"]):
                caller = _NOBODY
            elif (signature := signature_of(request)) is not None:
                caller, receive = await self._signer(request, signature, receive)
            elif (at_once := direct(request)) is not None:
                body = b""
                if scope["method"] == "POST":
                    body = await Request(scope, receive).body()
                    receive = _again(body, receive)
                caller, answer = await run_in_threadpool(self._answered, request, at_once, body)
            else:
                caller = await run_in_threadpool(self._recognised, request)
        except BodyRefused as refused:
            await _refusal(request, refused.error)(scope, receive, send)
            return
        except CordilleraError as error:
            await _refusal(request, error)(scope, receive, send)
            return
        with _acting(caller):
            if isinstance(answer, CordilleraError):
                answer = await request.app.exception_handlers[CordilleraError](request, answer)
            await (answer or self._app)(scope, receive, send)
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=send.status,
                seconds=round(time.monotonic() - began, 4),
            )

    def _recognised(self, request: Request) -> Caller:
        """Return who makes a request that he may make."""
        return self._let_in(request, caller_of(request))

    def _let_in(self, request: Request, caller: Caller) -> Caller:
        self._rules.requests.check(caller.principal)
        check_reads(request, caller)
        request.state.caller = caller
        request.state.principal = caller.principal  # pages show it
        return caller

    def _answered(
        self, request: Request, at_once: Direct, body: bytes
    ) -> tuple[Caller, Response | CordilleraError | None]:
        """Return who makes a request, and the answer or why there is none, both found in one turn of a thread."""
        caller = self._recognised(request)
        with _acting(caller):
            try:
                return caller, at_once(request.app.state.lake, body)
            except CordilleraError as error:
                return caller, error

    async def _signer(self, request: Request, signature: RequestSignature, receive: Receive) -> tuple[Caller, Receive]:
        """Return who has signed a request, and what gives its body once more: the signature covers it."""
        rules: AccessRules = request.app.state.access_rules
        signer = await run_in_threadpool(rules.signer, request, signature)  # strangers' bodies are not read
        body = await Request(request.scope, receive).body()
        caller = await run_in_threadpool(rules.authenticate_signed, request, signature, body, signer)
        return self._let_in(request, caller), _again(body, receive)

    def _most_bytes_of(self, request: Request) -> int:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind == ARROW_STREAM and request.method == "POST" and _ROWS_PATH.fullmatch(request.scope["path"]):
            return self._most_bytes
        return min(MOST_JSON_BYTES, self._most_bytes)


class _Answer:
    """Sends an answer on, with the headers every answer has."""

    def __init__(self, send: Send, trace_id: str, *, cacheable: bool) -> None:
        self._send, self._trace_id, self._cacheable = send, trace_id, cacheable
        self.status: int | None = None

    @property
    def started(self) -> bool:
        """Whether the client has seen a part of the answer."""
        return self.status is not None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Trace-Id"] = self._trace_id
            headers["X-Content-Type-Options"] = "nosniff"
            if not self._cacheable:
                headers.setdefault("Cache-Control", "no-store")
        await sent(self._send, message)


def _acting(caller: Caller) -> AbstractContextManager[object]:
    return acting(caller.principal, operator=caller.operator, read_only=caller.read_only)


def trace_id_of(scope: Scope) -> str:
    """Return the trace a request belongs to: the caller's, if its ``traceparent`` header is valid, else a new one."""
    given = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
    found = _TRACEPARENT.fullmatch(given)
    return found[1] if found else new_trace_id()


def _refusal(request: Request, error: CordilleraError) -> Response:
    """Return the answer to a request that is not let in: a person is led to the login page, and from there back."""
    by_person = "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith(
        (API_PREFIX, ICEBERG)
    )
    if isinstance(error, AuthenticationError) and by_person:
        return RedirectResponse(f"/login?next={quote(_page_of(request))}", status_code=303)
    return answer_to(request, error)


def _page_of(request: Request) -> str:
    """Return the page that a person wants to see: for a form that was sent, the one it is on."""
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    if request.method not in ("GET", "HEAD"):
        try:
            page = urlsplit(request.headers.get("referer", ""))
        except ValueError:
            return "/"
        if page.netloc != request.headers.get("host", ""):
            return "/"
        path, query = page.path or "/", page.query
    return f"{path}?{query}" if query else path


def _again(body: bytes, receive: Receive) -> Receive:
    """Return ``receive`` for a body that was read already."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _check_announced(request: Request, most_bytes: int) -> None:
    """Refuse a body for what its headers say of it.

    Raises:
        RequestTooLargeError: If it is to be larger than it may be.
        UnsupportedEncodingError: If it is compressed: its real size would be known only when it fills the memory.
    """
    length, encoding = request.headers.get("content-length", ""), request.headers.get("content-encoding", "identity")
    if length.isdigit() and int(length) > most_bytes:
        raise too_large(most_bytes)
    if encoding.strip().lower() != "identity":
        raise UnsupportedEncodingError(
            f"A body in the encoding {encoding[:60]!r} is not taken.",
            hint="Send it as it is; Arrow streams may be compressed within (IpcWriteOptions).",
        )
