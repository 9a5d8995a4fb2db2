"""Contracts of dataset versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from cordillera.api.parameters import Backend, Limit, Name
from cordillera.api.uploads import Document, body
from cordillera.client.contract_backend import ContractDetails, ContractRevision
from cordillera.codec import Page, page
from cordillera.contracts.service_levels import ServiceLevelStatus
from cordillera.spec.contract import ContractChange, ContractCheck

YAML = "application/yaml"

router = APIRouter(tags=["contracts"])
of_dataset = APIRouter(prefix="/datasets/{name}/contract")
_DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "An ODCS document.", "content": {YAML: {"schema": {"type": "string"}}}}
}


@router.post(
    "/contracts/check", summary="Check a contract", openapi_extra=body(YAML, description="An ODCS 3.1 document.")
)
def check_contract(backend: Backend, text: Document) -> ContractCheck:
    """All that is wrong with a document, by line; where nothing is, what is not enforced, and what each rule costs."""
    return backend.check_contract(text)


@of_dataset.get("", summary="Show a contract")
def show_contract(backend: Backend, name: Name) -> ContractDetails:
    """The contract in force, with what is noteworthy about it."""
    return backend.contract(name)


@of_dataset.put(
    "", summary="Put a contract", openapi_extra=body(YAML, description="An ODCS 3.1 document; it is kept as it is.")
)
def put_contract(backend: Backend, name: Name, text: Document) -> ContractDetails:
    """Put a contract in force. Writes and schema changes that break it are refused from then on."""
    return backend.put_contract(name, text)


@of_dataset.get(
    "/draft",
    summary="Draft a contract",
    response_class=Response,
    responses=_DOCUMENT,
)
def draft_contract(backend: Backend, name: Name) -> Response:
    """An ODCS document that describes the dataset as it is, to begin a contract from."""
    return Response(backend.draft_contract(name), media_type=YAML)


@of_dataset.get("/document", summary="Export a contract", response_class=Response, responses=_DOCUMENT)
def export_contract(backend: Backend, name: Name) -> Response:
    """The document in force, byte for byte as it was put."""
    return Response(backend.contract(name).text.encode(), media_type=YAML)


@of_dataset.post(
    "/diff",
    summary="Compare with the contract",
    openapi_extra=body(YAML, description="An ODCS 3.1 document, compared with the one in force."),
)
def diff_contract(backend: Backend, name: Name, text: Document) -> list[ContractChange]:
    """What the document would change about the contract in force: each difference once, and whom it breaks."""
    return backend.diff_contract(name, text)


@of_dataset.get("/sla", summary="Show a service level")
def show_service_level(backend: Backend, name: Name) -> ServiceLevelStatus:
    """How the dataset stands to its promises about time, by the completions of the partitions they expect."""
    return backend.service_level(name)


@of_dataset.get("/revisions", summary="List a contract's revisions")
def list_contract_revisions(
    backend: Backend,
    name: Name,
    before: Annotated[int | None, Query(ge=1, description="The `next` of the page before.")] = None,
    limit: Limit = 100,
) -> Page[ContractRevision]:
    """The documents that were put, newest first, each with what it changed."""
    return page(backend.contract_revisions(name, before, limit), limit, lambda revision: revision.revision)


router.include_router(of_dataset)
