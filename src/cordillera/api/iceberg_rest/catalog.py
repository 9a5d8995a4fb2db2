"""Configuration and namespaces of the Iceberg REST catalog."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from cordillera.api.iceberg_rest.parameters import Lake, NamespaceName, PageSize, PageToken, listed, with_token
from cordillera.api.parameters import Text
from cordillera.errors import InvalidInputError, InvalidNameError, NotFoundError
from cordillera.spec.catalog import Namespace

router = APIRouter(tags=["iceberg"])

ENDPOINTS = (
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/transactions/commit",
)
"""What this catalog can do, in the terms of the specification."""
_OWNER, _COMMENT = "owner", "comment"


class NewNamespace(BaseModel):
    """A namespace to be made."""

    namespace: list[Text]
    properties: dict[Text, Text] = Field(default_factory=dict)


class PropertyChanges(BaseModel):
    """Properties to set and to remove."""

    removals: list[Text] = Field(default_factory=list)
    updates: dict[Text, Text] = Field(default_factory=dict)


@router.get("/config", summary="Show the catalog's configuration")
def config(
    lake: Lake, warehouse: Annotated[Text, Query(description="The lake's name, if any.")] = ""
) -> dict[str, Any]:
    """What a client has to know before it begins."""
    info = lake.lake()
    if warehouse and warehouse not in (info.name, str(info.id), lake.storage.root):
        raise NotFoundError(f"There is no warehouse {warehouse!r} here.", hint=f"This is the lake {info.name!r}.")
    return {"defaults": {}, "overrides": {}, "endpoints": list(ENDPOINTS)}


@router.get("/namespaces", summary="List namespaces")
def list_namespaces(
    lake: Lake, page_token: PageToken = None, page_size: PageSize = 100, parent: Text = ""
) -> dict[str, Any]:
    """Namespaces by name; none has another within."""
    if parent:
        lake.catalog.namespace(parent)
        return {"namespaces": []}
    found, token = listed(lake.catalog.namespaces, lambda one: one.name, page_token, page_size)
    return with_token({"namespaces": [[one.name] for one in found]}, token)


@router.post("/namespaces", summary="Create a namespace")
def create_namespace(lake: Lake, wanted: NewNamespace) -> dict[str, Any]:
    """Make an empty namespace."""
    if len(wanted.namespace) != 1:
        raise InvalidNameError(
            f"{'.'.join(wanted.namespace)[:100]!r} is no name of a namespace.", hint="Namespaces have one level."
        )
    _check_known(wanted.properties)
    owner, comment = wanted.properties.get(_OWNER, ""), wanted.properties.get(_COMMENT, "")
    return _described(lake.catalog.create_namespace(wanted.namespace[0], owner=owner, description=comment))


@router.get("/namespaces/{namespace}", summary="Show a namespace")
def load_namespace(lake: Lake, namespace: NamespaceName) -> dict[str, Any]:
    """A namespace's properties."""
    return _described(lake.catalog.namespace(namespace))


@router.head("/namespaces/{namespace}", status_code=204, summary="Tell whether a namespace exists")
def namespace_exists(lake: Lake, namespace: NamespaceName) -> Response:
    """Nothing, or an error."""
    lake.catalog.namespace(namespace)
    return Response(status_code=204)


@router.delete("/namespaces/{namespace}", status_code=204, summary="Delete a namespace")
def drop_namespace(lake: Lake, namespace: NamespaceName) -> Response:
    """Remove a namespace that is empty."""
    lake.catalog.delete_namespace(namespace)
    return Response(status_code=204)


@router.post("/namespaces/{namespace}/properties", summary="Change a namespace's properties")
def update_properties(lake: Lake, namespace: NamespaceName, changes: PropertyChanges) -> dict[str, Any]:
    """Set or remove the owner or the comment."""
    if both := sorted(set(changes.removals) & changes.updates.keys()):
        raise InvalidInputError(f"The property {both[0]!r} cannot be both set and removed.")
    _check_known(changes.updates)
    before = _properties(lake.catalog.namespace(namespace))
    removed = [name for name in changes.removals if name in before]
    values = {**changes.updates, **dict.fromkeys(removed, "")}
    lake.catalog.update_namespace(namespace, owner=values.get(_OWNER), description=values.get(_COMMENT))
    missing = [name for name in changes.removals if name not in before]
    return {"updated": sorted(changes.updates), "removed": removed, "missing": missing}


def _check_known(properties: dict[str, str]) -> None:
    if unknown := sorted(properties.keys() - {_OWNER, _COMMENT}):
        raise InvalidInputError(
            f"A namespace cannot have the property {unknown[0]!r}.", hint=f"It has {_OWNER} and {_COMMENT}."
        )


def _properties(namespace: Namespace) -> dict[str, str]:
    found = {_OWNER: namespace.owner, _COMMENT: namespace.description}
    return {name: value for name, value in found.items() if value}


def _described(namespace: Namespace) -> dict[str, Any]:
    return {"namespace": [namespace.name], "properties": _properties(namespace)}
