"""Configuration and namespaces of the Iceberg REST catalog."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from cordillera.api.iceberg_rest.errors import iceberg_error
from cordillera.api.iceberg_rest.parameters import (
    LEVEL_SEPARATOR,
    Lake,
    NamespaceName,
    PageSize,
    PageToken,
    levels_of,
    listed,
    namespace_of,
    with_token,
)
from cordillera.api.parameters import Text
from cordillera.errors import InvalidInputError, NotFoundError
from cordillera.spec.catalog import Namespace
from cordillera.spec.names import check_namespace_name

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
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/sign",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/plan",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}/plan/{plan-id}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/tasks",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/tables/rename",
    "GET /v1/{prefix}/namespaces/{namespace}/views",
    "POST /v1/{prefix}/namespaces/{namespace}/views",
    "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/register-view",
    "POST /v1/{prefix}/views/rename",
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
    """Namespaces by name: those within none, or those directly within the one that is named."""

    def load(after: str, limit: int) -> list[Namespace]:
        return lake.namespaces.page(after, limit, parent=namespace_of(parent.split(LEVEL_SEPARATOR)) if parent else "")

    found, token = listed(load, lambda one: one.name, page_token, page_size)
    return with_token({"namespaces": [levels_of(one.name) for one in found]}, token)


@router.post("/namespaces", summary="Create a namespace")
def create_namespace(lake: Lake, wanted: NewNamespace) -> dict[str, Any]:
    """Make an empty namespace."""
    name = check_namespace_name(namespace_of(wanted.namespace))
    properties = dict(wanted.properties)
    owner, comment = properties.pop(_OWNER, ""), properties.pop(_COMMENT, "")
    made = lake.namespaces.create(name, owner=owner, description=comment, properties=properties)
    return _described(made)


@router.get("/namespaces/{namespace}", summary="Show a namespace")
def load_namespace(lake: Lake, namespace: NamespaceName) -> dict[str, Any]:
    """A namespace's properties."""
    return _described(lake.namespaces.get(namespace))


@router.head("/namespaces/{namespace}", status_code=204, summary="Tell whether a namespace exists")
def namespace_exists(lake: Lake, namespace: NamespaceName) -> Response:
    """Nothing, or an error."""
    lake.namespaces.get(namespace)
    return Response(status_code=204)


@router.delete("/namespaces/{namespace}", status_code=204, summary="Delete a namespace")
def drop_namespace(lake: Lake, namespace: NamespaceName) -> Response:
    """Remove a namespace that is empty."""
    lake.namespaces.delete(namespace)
    return Response(status_code=204)


@router.post("/namespaces/{namespace}/properties", summary="Change a namespace's properties")
def update_properties(lake: Lake, namespace: NamespaceName, changes: PropertyChanges) -> Any:
    """Set and remove properties; owner and comment are the namespace's owner and description."""
    if both := sorted(set(changes.removals) & changes.updates.keys()):
        error = InvalidInputError(f"The property {both[0]!r} cannot be both set and removed.")
        return iceberg_error(error, status=422, kind="UnprocessableEntityException")
    before = _properties(lake.namespaces.get(namespace))
    removals = list(dict.fromkeys(changes.removals))
    values: dict[str, str | None] = {**changes.updates, **dict.fromkeys(name for name in removals if name in before)}
    owner, comment = (values.pop(name) or "" if name in values else None for name in (_OWNER, _COMMENT))
    lake.namespaces.update(namespace, owner=owner, description=comment, properties=values)
    return {
        "updated": sorted(changes.updates),
        "removed": [name for name in removals if name in before],
        "missing": [name for name in removals if name not in before],
    }


def _properties(namespace: Namespace) -> dict[str, str]:
    found = {_OWNER: namespace.owner, _COMMENT: namespace.description}
    return {**namespace.properties, **{name: value for name, value in found.items() if value}}


def _described(namespace: Namespace) -> dict[str, Any]:
    return {"namespace": levels_of(namespace.name), "properties": _properties(namespace)}
