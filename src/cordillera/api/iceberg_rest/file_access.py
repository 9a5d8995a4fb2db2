"""How engines get at a table's files: where the storage is, and credentials for it where the lake makes some."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from starlette.responses import Response

from cordillera.api.iceberg_rest.parameters import Lake, NamespaceName, TableName
from cordillera.app import Application
from cordillera.ports.credentials import StorageCredentials
from cordillera.spec.access import Privilege

router = APIRouter(tags=["iceberg"])

_VENDED = "vended-credentials"


def _wants_credentials(
    mechanisms: Annotated[
        str, Header(alias="X-Iceberg-Access-Delegation", description="Ways to the files that a client knows.")
    ] = "",
) -> bool:
    return _VENDED in [one.strip() for one in mechanisms.split(",")]


WantsCredentials = Annotated[bool, Depends(_wants_credentials)]
"""Whether the client asks for credentials to the table's files."""


@router.get("/namespaces/{namespace}/tables/{table}/credentials", summary="Get credentials for a table's files")
def load_credentials(lake: Lake, namespace: NamespaceName, table: TableName, response: Response) -> dict[str, Any]:
    """Fresh ones, for when those that came with the table end."""
    found = lake.catalog.dataset(f"{namespace}.{table}", Privilege.READ, Privilege.EXTERNAL_USE)
    response.headers["Cache-Control"] = "no-store"
    made = lake.credentials.for_table(found)
    return {"storage-credentials": [] if made is None else [_credential(lake, made)]}


def file_access(lake: Application, name: str, made: StorageCredentials | None) -> dict[str, Any]:
    """Return the parts of a loaded table that tell a client how to reach its files.

    Args:
        lake: The lake.
        name: The table, as ``namespace.table``.
        made: Credentials for its files, if the client gets some.
    """
    if made is None:
        return {"config": _reachable(lake)}
    namespace, table = name.split(".")
    refresh = {"client.refresh-credentials-endpoint": f"v1/namespaces/{namespace}/tables/{table}/credentials"}
    credential = _credential(lake, made)
    # Older clients look for credentials in the configuration alone.
    return {"config": {**credential["config"], **refresh}, "storage-credentials": [credential]}


def _credential(lake: Application, made: StorageCredentials) -> dict[str, Any]:
    return {"prefix": f"{made.prefix}/", "config": {**_reachable(lake), **_plain(made)}}


def _plain(made: StorageCredentials) -> dict[str, str]:
    return {
        "s3.access-key-id": made.access_key,
        "s3.secret-access-key": made.secret_key,
        "s3.session-token": made.session_token,
        "s3.session-token-expires-at-ms": str(int(made.expires_at.timestamp() * 1000)),
    }


def _reachable(lake: Application) -> dict[str, str]:
    """Return where the storage is, without anything secret."""
    options = lake.settings.storage_options()
    if not options:
        return {}
    known = {"s3.endpoint": options.get("endpoint"), "s3.region": options.get("region")}
    known |= {"client.region": options.get("region")}
    known |= {"s3.path-style-access": options.get("path_style")} if "endpoint" in options else {}
    return {name: value for name, value in known.items() if value}
