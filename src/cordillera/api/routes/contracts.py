"""Contracts of dataset versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from cordillera.api.parameters import Backend, Limit, Name
from cordillera.api.uploads import Document, body
from cordillera.client.contract_backend import ContractDetails, ContractRevision
from cordillera.codec import Page, page
from cordillera.spec.contract import ContractChange

YAML = "application/yaml"

router = APIRouter(prefix="/datasets/{name}/contract", tags=["contracts"])


@router.get("", summary="Show a contract")
def show_contract(backend: Backend, name: Name) -> ContractDetails:
    """The contract in force, with what is noteworthy about it."""
    return backend.contract(name)


@router.put(
    "", summary="Put a contract", openapi_extra=body(YAML, description="An ODCS 3.1 document; it is kept as it is.")
)
def put_contract(backend: Backend, name: Name, text: Document) -> ContractDetails:
    """Put a contract in force. Writes and schema changes that break it are refused from then on."""
    return backend.put_contract(name, text)


@router.get(
    "/draft",
    summary="Draft a contract",
    response_class=Response,
    responses={200: {"description": "An ODCS document.", "content": {YAML: {"schema": {"type": "string"}}}}},
)
def draft_contract(backend: Backend, name: Name) -> Response:
    """An ODCS document that describes the dataset as it is, to begin a contract from."""
    return Response(backend.draft_contract(name), media_type=YAML)


@router.post(
    "/diff",
    summary="Compare with the contract",
    openapi_extra=body(YAML, description="An ODCS 3.1 document, compared with the one in force."),
)
def diff_contract(backend: Backend, name: Name, text: Document) -> list[ContractChange]:
    """What the document would change about the contract in force: each difference once, and whom it breaks."""
    return backend.diff_contract(name, text)


@router.get("/revisions", summary="List a contract's revisions")
def list_contract_revisions(
    backend: Backend,
    name: Name,
    before: Annotated[int | None, Query(ge=1, description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[ContractRevision]:
    """The documents that were put, newest first, each with what it changed."""
    return page(backend.contract_revisions(name, before, limit), limit, lambda revision: revision.revision)
