"""How engines get at a table's files: where the storage is, and credentials for it where the lake makes some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel
from starlette.responses import Response

from cordillera.api.iceberg_rest.parameters import LEVEL_SEPARATOR, Lake, NamespaceName, TableName, levels_of
from cordillera.api.parameters import LongText, Text
from cordillera.app import Application
from cordillera.catalog.lookup import ResolvedDataset
from cordillera.errors import InvalidInputError
from cordillera.ports.credentials import StorageCredentials
from cordillera.spec.access import Privilege
from cordillera.spec.s3_request import S3Request

router = APIRouter(tags=["iceberg"])

_VENDED, _SIGNED = "vended-credentials", "remote-signing"


def _delegation(
    mechanisms: Annotated[
        str, Header(alias="X-Iceberg-Access-Delegation", description="Ways to the files that a client knows.")
    ] = "",
) -> frozenset[str]:
    return delegation_of(mechanisms)


def delegation_of(mechanisms: str) -> frozenset[str]:
    """Return those of the ways to a table's files that a client names which there are here."""
    return frozenset(one.strip() for one in mechanisms.split(",")) & {_VENDED, _SIGNED}


Delegation = Annotated[frozenset[str], Depends(_delegation)]
"""The ways to the table's files, without keys of its own, that the client asks for."""


class RequestToSign(BaseModel):
    """A request that a client is about to make of the storage."""

    region: Text
    uri: LongText
    method: Literal["PUT", "GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"]
    headers: dict[Text, list[LongText]]
    properties: dict[Text, Text] | None = None
    body: str | None = None
    provider: Text = "s3"


@router.post("/namespaces/{namespace}/tables/{table}/sign", summary="Sign a request for a table's files")
def sign_request(
    lake: Lake, namespace: NamespaceName, table: TableName, wanted: RequestToSign, response: Response
) -> dict[str, Any]:
    """The same request, signed, if it reads, writes, deletes or lists files of the table."""
    found = lake.catalog.dataset(f"{namespace}.{table}", Privilege.READ, Privilege.EXTERNAL_USE)
    if wanted.provider != "s3":
        raise InvalidInputError(f"Requests to {wanted.provider[:40]!r} are not signed.", hint="Leave the provider out.")
    headers = {name.lower(): tuple(values) for name, values in wanted.headers.items()}
    signed = lake.credentials.sign(found, S3Request(wanted.method, wanted.uri, headers))
    response.headers["Cache-Control"] = "no-store"
    return {"uri": signed.uri, "headers": {name: list(values) for name, values in signed.headers.items()}}


@router.get("/namespaces/{namespace}/tables/{table}/credentials", summary="Get credentials for a table's files")
def load_credentials(lake: Lake, namespace: NamespaceName, table: TableName, response: Response) -> dict[str, Any]:
    """Fresh ones, for when those that came with the table end."""
    found = lake.catalog.dataset(f"{namespace}.{table}", Privilege.READ, Privilege.EXTERNAL_USE)
    response.headers["Cache-Control"] = "no-store"
    made = lake.credentials.for_table(found)
    return {"storage-credentials": [] if made is None else [_credential(lake, made)]}


def file_access(lake: Application, found: ResolvedDataset, delegation: frozenset[str]) -> dict[str, Any]:
    """Return the parts of a loaded table that tell a client how to reach its files.

    Args:
        lake: The lake.
        found: The table.
        delegation: The ways without keys of its own that the client asks for.
    """
    made = lake.credentials.for_table(found) if _VENDED in delegation else None
    namespace, _, table = found.pinned_name.rpartition(".")
    levels = quote(LEVEL_SEPARATOR.join(levels_of(namespace)))
    address = f"v1/namespaces/{levels}/tables/{table}"
    if made is not None:
        return _with_credential(lake, made, {"client.refresh-credentials-endpoint": f"{address}/credentials"})
    if _SIGNED in delegation and lake.credentials.offer_signing(found):
        signing = {"s3.remote-signing-enabled": "true", "s3.signer": "S3V4RestSigner"}
        signing |= {"signer.endpoint": f"{address}/sign", "s3.signer.endpoint": f"{address}/sign"}
        return {"config": {**_reachable(lake), **signing}}
    return {"config": _reachable(lake)}


def staged_file_access(lake: Application, name: str, location: str, delegation: frozenset[str]) -> dict[str, Any]:
    """Return the same for a table to come, which is at its place already."""
    made = lake.credentials.for_staged(name, location) if _VENDED in delegation else None
    return {"config": _reachable(lake)} if made is None else _with_credential(lake, made, {})


def _with_credential(lake: Application, made: StorageCredentials, more: Mapping[str, str]) -> dict[str, Any]:
    credential = _credential(lake, made)
    # Older clients look for credentials in the configuration alone.
    return {"config": {**credential["config"], **more}, "storage-credentials": [credential]}


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
