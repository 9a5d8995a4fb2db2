"""The web pages, as one router for the server to include."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from cordillera.web import (
    access,
    activity,
    contracts,
    datasets,
    deputies,
    destinations,
    home,
    lake_keys,
    session,
    subscriptions,
    terminal,
    workflows,
)
from cordillera.web.rendering import STATIC_FOLDER

_GROUPS = (
    home,
    contracts,
    datasets,
    subscriptions,
    workflows,
    access,
    deputies,
    activity,
    lake_keys,
    destinations,
    session,
    terminal,
)


class _Assets(StaticFiles):
    """Style, scripts and icon. Their URLs name their content, so that browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if scope["query_string"]:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def create_router() -> APIRouter:
    """Return every page, at the root of the server."""
    router = APIRouter()
    for group in _GROUPS:
        router.include_router(group.router)
    router.mount("/static", _Assets(directory=STATIC_FOLDER))
    return router
