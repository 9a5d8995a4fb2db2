"""Views: queries that are read like datasets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import After, Backend, Limit, LongText, Text
from cordillera.client.backend import ViewDetails
from cordillera.codec import Page, page
from cordillera.spec.catalog import View

router = APIRouter(prefix="/views", tags=["views"])
_Name = Annotated[Text, Path(description="A view as `namespace.view`.")]


class NewView(BaseModel):
    """A view to be made, or to get another definition."""

    name: Text = Field(description="`namespace.view`")
    sql: LongText = Field(description="One SELECT in DuckDB's dialect; tables are written `namespace.name`.")
    dialects: dict[Text, LongText] = Field(default_factory=dict, description="The same in other dialects, by name.")
    description: Text | None = Field(None, description="What it is about; null leaves it as it is.")
    owner: Text = Field("", description="Owner of a new view; empty takes the namespace's.")
    replace: bool = Field(False, description="Whether a view of the name, if there is one, gets this definition.")


class ViewRenaming(BaseModel):
    """What a view is to be called."""

    new_name: Text = Field(description="`namespace.view`; both may be others.")


@router.get("", summary="List views")
def list_views(
    backend: Backend,
    namespace: Annotated[Text | None, Query(description="Only of this namespace.")] = None,
    after: After = "",
    limit: Limit = 100,
) -> Page[View]:
    """Views by full name."""
    return page(backend.views(namespace, after, limit), limit, lambda found: found.full_name)


@router.post("", status_code=201, summary="Create a view")
def create_view(backend: Backend, wanted: NewView) -> ViewDetails:
    """Make a view of a query; its columns are those of the query's result."""
    return backend.create_view(
        wanted.name,
        wanted.sql,
        dialects=wanted.dialects,
        description=wanted.description,
        owner=wanted.owner,
        replace=wanted.replace,
    )


@router.get("/{name}", summary="Show a view")
def show_view(backend: Backend, name: _Name) -> ViewDetails:
    """One view, with its columns and its SQL."""
    return backend.view(name)


@router.post("/{name}/rename", summary="Call a view otherwise")
def rename_view(backend: Backend, name: _Name, wanted: ViewRenaming) -> View:
    """Give a view another name, in its namespace or another."""
    return backend.rename_view(name, wanted.new_name)


@router.delete("/{name}", summary="Drop a view")
def drop_view(backend: Backend, name: _Name) -> View:
    """Remove a view; the datasets that it reads stay."""
    return backend.drop_view(name)
