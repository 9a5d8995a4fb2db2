"""The one way in which a page becomes an answer: as HTML, or as the JSON of the data it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, wraps
from pathlib import Path
from typing import Any

import orjson
import structlog
from fastapi import APIRouter
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cordillera.api.auth import COOKIE
from cordillera.client.backend import LakeBackend
from cordillera.codec import to_plain
from cordillera.context import current
from cordillera.errors import CordilleraError
from cordillera.spec.counting import counted
from cordillera.web import formatting
from cordillera.web.levels import level_of
from cordillera.web.links import link, with_query

STATIC_FOLDER = Path(__file__).parent / "static"
_JSON_ENDING = ".json"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Vary": "Accept, Cookie",
}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its data is what the template gets, and what the JSON form holds.

    Attributes:
        title: The page's title.
        template: File name of the template.
        data: What the page shows.
        status: The HTTP status.
        section: The entry of the navigation that it belongs to.
    """

    title: str
    template: str
    data: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    section: str = ""


class _DatasetNameConvertor(Convertor[str]):
    """A qualified name in a path: its dot keeps ``/datasets/sales.json``, a dataset, apart from ``….json``.

    A dataset ``json`` of a namespace within others has no page: ``/datasets/sales.europe.json`` is another's JSON.
    """

    regex = r"[^/.]+(?:\.[^/.]+)+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("qualified", _DatasetNameConvertor())


class PageRouter(APIRouter):
    """A router whose handlers return pages. Every page is served under its path and, as JSON, under path + ``.json``.

    A handler takes the request first. It may return any other response too, for example a redirection.
    """

    def page(
        self, path: str, *, methods: tuple[str, ...] = ("GET",)
    ) -> Callable[[Callable[..., Page | Response]], Callable[..., Page | Response]]:
        """Register a handler for a page."""

        def register(handler: Callable[..., Page | Response]) -> Callable[..., Page | Response]:
            @wraps(handler)
            def respond(request: Request, **values: Any) -> Response:
                return _respond(request, lambda: handler(request, **values))

            for form in (f"{path}{_JSON_ENDING}", path):
                self.add_api_route(form, respond, methods=list(methods), include_in_schema=False, response_model=None)
            return handler

        return register


def backend_of(request: Request) -> LakeBackend:
    """Return the lake behind a request."""
    backend: LakeBackend = request.app.state.backend
    return backend


def wants_json(request: Request) -> bool:
    """Tell whether a page is wanted in its JSON form: by its ending, or by the Accept header."""
    accept = request.headers.get("accept", "")
    return request.url.path.endswith(_JSON_ENDING) or ("application/json" in accept and "text/html" not in accept)


def render(request: Request, page: Page) -> Response:
    """Return a page in the form that is wanted."""
    if wants_json(request):
        body = orjson.dumps(to_plain({"title": page.title, "data": page.data}))
        return Response(body, page.status, _HEADERS, "application/json")
    shown = {**page.data, "title": page.title, "section": page.section, "frame": _frame(request, page.status)}
    return HTMLResponse(_templates().get_template(page.template).render(shown), page.status, _HEADERS)


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page shows around its data. ``logged_in`` says whether there is a cookie to forget."""

    lake: str
    principal: str
    logged_in: bool
    now: datetime
    path: str
    query: Mapping[str, str]
    base_url: str
    json_href: str


def failure_page(error: CordilleraError, status: int) -> Page:
    """Return the page for an error."""
    shown = {
        "status": status,
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "ask": {name: error.details[name] for name in ("on", "privilege")} if "on" in error.details else {},
        "trace_id": current().trace_id,
    }
    title = {403: "Not allowed", 404: "Not found"}.get(
        status, "Something went wrong" if status >= 500 else "Not possible"
    )
    return Page(title, "failure.html", shown, status)


def _respond(request: Request, handler: Callable[[], Page | Response]) -> Response:
    """Answer a request; a bug becomes a page that tells where to look."""
    try:
        answer = handler()
        return render(request, answer) if isinstance(answer, Page) else answer
    except CordilleraError:
        raise  # the application answers every expected error in one place
    except Exception:
        _log.exception("page failed", path=request.url.path)
        error = CordilleraError(
            "The page could not be made because of an error in the server.",
            hint="The server's log has the details under the trace id.",
        )
        return render(request, failure_page(error, 500))


def _frame(request: Request, status: int) -> Frame:
    path, query = request.url.path, request.url.query
    return Frame(
        lake=_lake_name(request),
        principal=getattr(request.state, "principal", ""),
        logged_in=COOKIE in request.cookies,
        now=datetime.now(UTC),
        path=path,
        query=dict(request.query_params),
        base_url=str(request.base_url).rstrip("/"),
        json_href=f"{path}{_JSON_ENDING}?{query}".rstrip("?") if request.method == "GET" and status < 400 else "",
    )


def _lake_name(request: Request) -> str:
    """Return the lake's name; a lake whose database does not answer still gets its error page."""
    state = request.app.state
    if not hasattr(state, "lake_name"):
        try:
            state.lake_name = backend_of(request).info().name
        except CordilleraError:
            return "lake"
    name: str = state.lake_name
    return name


@cache
def _static(name: str) -> str:
    """Return the URL of a static file. It names the content, so that browsers may keep the file for good."""
    digest = hashlib.sha256((STATIC_FOLDER / name).read_bytes()).hexdigest()
    return f"/static/{name}?{digest[:12]}"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("cordillera.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=formatting.breakable,
        duration=formatting.duration,
        highlighted=formatting.highlighted,
        host=formatting.host,
        level=level_of,
        number=formatting.number,
        plain=formatting.plain,
        shortened=formatting.shortened,
        size=formatting.size,
        utc=formatting.utc,
    )
    environment.globals.update(
        counted=counted,
        link=link,
        relative=formatting.relative,
        static=_static,
        with_query=with_query,
    )
    return environment
