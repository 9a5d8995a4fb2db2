"""The API as an application."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request, Security
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from cordillera import __version__
from cordillera.api import health
from cordillera.api.auth import AccessRules
from cordillera.api.errors import install_error_handlers
from cordillera.api.event_streams import EventStreams
from cordillera.api.iceberg_rest import catalog, file_access, oauth, scans, tables
from cordillera.api.iceberg_rest import views as iceberg_views
from cordillera.api.iceberg_rest.errors import ICEBERG_ERRORS
from cordillera.api.iceberg_rest.errors import PREFIX as ICEBERG
from cordillera.api.middleware import RequestMiddleware
from cordillera.api.parameters import ERRORS
from cordillera.api.routes import (
    access,
    access_requests,
    branches,
    candidates,
    completions,
    contract_proposals,
    contracts,
    datasets,
    deputies,
    destinations,
    jobs,
    lake_keys,
    lineage,
    maintenance,
    namespaces,
    operations,
    rows,
    session,
    subscriptions,
    tokens,
    transactions,
    views,
)
from cordillera.app import Application
from cordillera.client.local import LocalBackend
from cordillera.codec import API_PREFIX

_DESCRIPTION = """Everything that can be asked of a lake.

Lists come in pages: `{"items": […], "next": …}`, continued by giving `next` as `after` or `before`. Errors have one
shape: `{"error": {"code", "message", "hint", "details", "trace_id"}}`. Rows travel as Arrow IPC streams.
"""
_DOMAINS = (
    operations, namespaces, datasets, rows, branches, maintenance, contracts, candidates, contract_proposals,
    completions, subscriptions, jobs, lineage, tokens, session, transactions, access, access_requests, views,
    lake_keys, destinations, deputies,
)  # fmt: skip
_bearer = HTTPBearer(auto_error=False, description="An API token: `cdl_…`.")


def create_api(app: Application, rules: AccessRules) -> FastAPI:
    """Return the API of a lake.

    Args:
        app: The lake; whoever opened it closes it.
        rules: How callers are recognised.
    """
    server = FastAPI(
        title=f"Cordillera: {app.lake().name}",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=None,  # FastAPI would make it in the event loop
        docs_url=None,  # these pages would load their code from a CDN
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    server.state.lake = app
    server.state.backend = LocalBackend(app, behind_server=True)
    server.state.access_rules = rules
    server.state.stopping = _never
    server.state.event_streams = EventStreams(app.operations, app.settings.event_streams)
    server.add_middleware(RequestMiddleware, rules=rules, most_bytes=app.settings.max_request_mb * 1_000_000)
    install_error_handlers(server)
    server.include_router(_iceberg())  # first, since engines ask most often
    api = APIRouter(prefix=API_PREFIX, responses=ERRORS, dependencies=[Security(_bearer)])
    for domain in _DOMAINS:
        api.include_router(domain.router)
    api.include_router(contract_proposals.awaited)
    server.include_router(api)
    server.include_router(oauth.router)
    server.include_router(health.router(app))
    server.add_api_route(f"{API_PREFIX}/openapi.json", _description, include_in_schema=False)
    return server


def _description(request: Request) -> JSONResponse:
    """Describe the API. The first time it takes a second or two: in a thread, so that other requests go on."""
    return JSONResponse(request.app.openapi())


def _iceberg() -> APIRouter:
    """Return the routes of the Iceberg REST catalog, in the order in which a request's is looked for."""
    iceberg = APIRouter(
        prefix=ICEBERG,
        responses=ICEBERG_ERRORS,
        dependencies=[Security(_bearer)],
        generate_unique_id_function=lambda one: f"iceberg_{one.name}",
    )
    iceberg.include_router(tables.router)
    iceberg.include_router(catalog.router)
    iceberg.include_router(file_access.router)
    iceberg.include_router(scans.router)
    iceberg.include_router(iceberg_views.router)
    return iceberg


def _operation_id(route: APIRoute) -> str:
    return route.name


def _never() -> bool:
    return False
