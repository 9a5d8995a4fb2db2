"""Namespaces: a team's or domain's space."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import After, Backend, Limit, Text
from cordillera.codec import Page, page
from cordillera.spec.catalog import Namespace

router = APIRouter(prefix="/namespaces", tags=["namespaces"])


class NewNamespace(BaseModel):
    """A namespace to be made, within the one before the last dot of its name."""

    name: Text
    owner: Text = ""
    description: Text = ""
    properties: dict[Text, Text] = Field(default_factory=dict)


class NamespaceChange(BaseModel):
    """What is to change; null leaves a field as it is."""

    owner: Text | None = None
    description: Text | None = None
    properties: dict[Text, Text | None] = Field(
        default_factory=dict, description="Properties to set; null removes one, and those not named stay."
    )


@router.get("", summary="List namespaces")
def list_namespaces(
    backend: Backend,
    after: After = "",
    limit: Limit = 100,
    parent: Annotated[
        Text | None, Query(description="Only those directly within this one; empty for those within none.")
    ] = None,
) -> Page[Namespace]:
    """Namespaces by name."""
    return page(backend.namespaces(after, limit, parent=parent), limit, lambda found: found.name)


@router.post("", status_code=201, summary="Create a namespace")
def create_namespace(backend: Backend, wanted: NewNamespace) -> Namespace:
    """Make an empty namespace."""
    return backend.create_namespace(
        wanted.name, owner=wanted.owner, description=wanted.description, properties=wanted.properties
    )


@router.get("/{name}", summary="Show a namespace")
def show_namespace(backend: Backend, name: Text) -> Namespace:
    """One namespace."""
    return backend.namespace(name)


@router.patch("/{name}", summary="Change a namespace")
def update_namespace(backend: Backend, name: Text, change: NamespaceChange) -> Namespace:
    """Change the owner, the description, or properties."""
    return backend.update_namespace(
        name, owner=change.owner, description=change.description, properties=change.properties
    )


@router.delete("/{name}", status_code=204, summary="Delete a namespace")
def delete_namespace(backend: Backend, name: Text) -> None:
    """Remove a namespace that is empty."""
    backend.delete_namespace(name)
