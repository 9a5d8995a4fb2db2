"""Views of the Iceberg REST catalog."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pyiceberg.schema import Schema
from starlette.responses import Response

from cordillera.api.iceberg_rest.parameters import (
    Identifier,
    Lake,
    NamespaceName,
    PageSize,
    PageToken,
    Renaming,
    ViewName,
    levels_of,
    listed,
    with_token,
)
from cordillera.api.parameters import LongText, Text
from cordillera.catalog.views import ResolvedView
from cordillera.commit_codec import check_depth
from cordillera.errors import InvalidInputError
from cordillera.spec.access import Privilege
from cordillera.spec.commit import AddSchema, SetProperties
from cordillera.spec.view_changes import LAST_ADDED, AddViewVersion, SetCurrentViewVersion
from cordillera.spec.view_metadata import ViewVersion
from cordillera.view_codec import view_requirements_from_plain, view_updates_from_plain

router = APIRouter(tags=["iceberg"])


class NewView(BaseModel):
    """A view to be made."""

    model_config = ConfigDict(populate_by_name=True)

    name: Text
    location: Text | None = None
    columns: dict[str, Any] = Field(alias="schema")
    view_version: dict[str, Any] = Field(alias="view-version")
    properties: dict[Text, LongText] = Field(default_factory=dict)


class ViewCommit(BaseModel):
    """What an engine believes about a view, and what it wants to change."""

    identifier: Identifier | None = None
    requirements: list[dict[str, Any]] = Field(default_factory=list)
    updates: list[dict[str, Any]]


class ViewRegistration(BaseModel):
    """A view that is there."""

    model_config = ConfigDict(populate_by_name=True)

    name: Text
    metadata_location: Text = Field(alias="metadata-location")


@router.get("/namespaces/{namespace}/views", summary="List views")
def list_views(
    lake: Lake, namespace: NamespaceName, page_token: PageToken = None, page_size: PageSize = 100
) -> dict[str, Any]:
    """Views of a namespace by name."""

    def load(after: str, limit: int) -> Any:
        return lake.views.views(namespace, after, limit)

    found, token = listed(load, lambda one: str(one.full_name), page_token, page_size)
    return with_token({"identifiers": [{"namespace": levels_of(namespace), "name": one.name} for one in found]}, token)


@router.post("/namespaces/{namespace}/views", summary="Create a view")
def create_view(lake: Lake, namespace: NamespaceName, wanted: NewView) -> Response:
    """Make a view."""
    name = f"{namespace}.{wanted.name}"
    if wanted.location is not None:
        raise InvalidInputError(
            f"The view {name} cannot be put at {wanted.location[:200]!r}: the lake chooses where views live.",
            hint="Leave the location out.",
        )
    check_depth([wanted.columns, wanted.view_version])
    try:
        schema = Schema.model_validate(wanted.columns)
        version = ViewVersion.from_dict({**wanted.view_version, "schema-id": LAST_ADDED})
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"The view {name} cannot be read: {str(error)[:300]}.") from error
    defined = (AddSchema(schema), AddViewVersion(version), SetCurrentViewVersion())
    return _loaded(lake.views.create(name, (*defined, SetProperties(wanted.properties))))


@router.post("/namespaces/{namespace}/register-view", summary="Register a view")
def register_view(lake: Lake, namespace: NamespaceName, wanted: ViewRegistration) -> Response:
    """Make a view of a metadata file that lies in the lake's storage, and belongs to no view."""
    return _loaded(lake.views.register(f"{namespace}.{wanted.name}", wanted.metadata_location))


@router.get("/namespaces/{namespace}/views/{view}", summary="Load a view")
def load_view(lake: Lake, namespace: NamespaceName, view: ViewName) -> Response:
    """A view's metadata."""
    return _loaded(lake.views.view(f"{namespace}.{view}"))


@router.head("/namespaces/{namespace}/views/{view}", status_code=204, summary="Tell whether a view exists")
def view_exists(lake: Lake, namespace: NamespaceName, view: ViewName) -> Response:
    """Nothing, or an error."""
    lake.views.view(f"{namespace}.{view}", Privilege.DISCOVER)
    return Response(status_code=204)


@router.post("/namespaces/{namespace}/views/{view}", summary="Replace a view")
def replace_view(lake: Lake, namespace: NamespaceName, view: ViewName, wanted: ViewCommit) -> Response:
    """Change a view."""
    requirements = view_requirements_from_plain(wanted.requirements)
    return _loaded(lake.views.change(f"{namespace}.{view}", requirements, view_updates_from_plain(wanted.updates)))


@router.delete("/namespaces/{namespace}/views/{view}", status_code=204, summary="Drop a view")
def drop_view(lake: Lake, namespace: NamespaceName, view: ViewName) -> Response:
    """Remove a view."""
    lake.views.drop(f"{namespace}.{view}")
    return Response(status_code=204)


@router.post("/views/rename", status_code=204, summary="Rename a view")
def rename_view(lake: Lake, wanted: Renaming) -> Response:
    """Call a view otherwise, or move it to another namespace."""
    lake.views.rename(wanted.source.dotted, wanted.destination.dotted)
    return Response(status_code=204)


def _loaded(found: ResolvedView) -> Response:
    answer = {
        "metadata-location": found.view.metadata_location,
        "metadata": orjson.Fragment(found.metadata.to_json()),
        "config": {},
    }
    return Response(orjson.dumps(answer), media_type="application/json")
