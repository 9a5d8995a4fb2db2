"""Loads of tables and commits to them in the form that engines mostly send, answered without the framework's detours.

They come by the hundred a second, and FastAPI takes longer to find a route among two hundred and to resolve its
parameters than the catalog takes for a load. So the plain ones are told here by their path and headers, and are given
to the same functions. Whatever has any other form is left to its route, which knows what to say about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from cordillera.api.iceberg_rest.errors import PREFIX
from cordillera.api.iceberg_rest.file_access import delegation_of
from cordillera.api.iceberg_rest.parameters import LEVEL_SEPARATOR
from cordillera.api.iceberg_rest.tables import Commit, Shown, commit, load_table
from cordillera.app import Application

Direct: TypeAlias = Callable[[Application, bytes], Response | None]
"""Answers a request, given its body, in the name of whoever acts; None if its route has to."""

_NAME = r"[A-Za-z0-9_-]{1,255}"
_TABLE = re.compile(rf"{PREFIX}/namespaces/({_NAME}(?:{LEVEL_SEPARATOR}{_NAME})*)/tables/({_NAME})")
_SHOWN: dict[bytes, Shown] = {b"": "all", b"snapshots=all": "all", b"snapshots=refs": "refs"}
MOST_BYTES = 64 * 1024
"""Longest body that is read before it is known who sends it; the server has taken as much anyway."""


def direct(request: Request) -> Direct | None:
    """Return what answers a request; None if its route has to."""
    scope, headers = request.scope, request.headers
    found = _TABLE.fullmatch(scope["path"])
    if found is None:
        return None
    namespace, table = found[1].replace(LEVEL_SEPARATOR, "."), found[2]
    match scope["method"]:
        case "GET" if (shown := _SHOWN.get(scope["query_string"])) is not None:
            delegation = delegation_of(headers.get("x-iceberg-access-delegation", ""))
            known = headers.get("if-none-match", "")
            return lambda lake, _body: load_table(lake, namespace, table, delegation, shown, known)
        case "POST" if not scope["query_string"] and _has_small_json(request) and "idempotency-key" not in headers:
            return lambda lake, body: _commit(lake, namespace, table, body)
        case _:
            return None


def _has_small_json(request: Request) -> bool:
    length, kind = (request.headers.get(name, "") for name in ("content-length", "content-type"))
    return kind == "application/json" and length.isdecimal() and int(length) <= MOST_BYTES


def _commit(lake: Application, namespace: str, table: str, body: bytes) -> Response | None:
    try:
        wanted = Commit.model_validate_json(body)
    except ValidationError:
        return None
    return commit(lake, namespace, table, wanted, body, None)
