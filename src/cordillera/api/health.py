"""How a server does: for load balancers, orchestrators and Prometheus."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.responses import JSONResponse, Response

from cordillera.api.lake_metrics import LakeCollector
from cordillera.app import Application
from cordillera.errors import CordilleraError

_log = structlog.get_logger(__name__)


def router(app: Application) -> APIRouter:
    """Return the routes ``/healthz``, ``/readyz`` and ``/metrics`` of a lake's server."""
    routes = APIRouter(tags=["health"], include_in_schema=False)

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell that the process is alive."""
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> Response:
        """Tell whether requests can be answered: 503 with the reasons if not."""
        problems = _problems(app)
        status = "not ready" if problems else "ok"
        return JSONResponse({"status": status, "problems": problems}, 503 if problems else 200)

    @routes.get("/metrics")
    def metrics() -> Response:
        """Return the metrics of this process, and of the lake as it is now, in Prometheus' format.

        It takes somebody who may discover the whole lake.
        """
        app.operations.check_may_monitor()
        lake = CollectorRegistry()
        lake.register(LakeCollector(app))
        return Response(generate_latest(REGISTRY) + generate_latest(lake), media_type=CONTENT_TYPE_LATEST)

    return routes


def _problems(app: Application) -> list[str]:
    """Return what keeps requests from being answered, without details that are not for everybody."""
    checks: dict[str, Callable[[], object]] = {
        "The metadata database does not answer, or its schema is not current.": app.store.check_schema,
        "The metadata database describes no lake.": app.lake,
        "The storage cannot be reached.": lambda: app.storage.exists(f"{app.storage.root}/readyz"),
    }
    problems = []
    for problem, check in checks.items():
        try:
            check()
        except CordilleraError as error:
            _log.warning("not ready", problem=problem, error=str(error))
            problems.append(problem)
    return problems
