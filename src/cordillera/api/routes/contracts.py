"""Contracts of dataset versions."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from cordillera.api.parameters import Backend, Name
from cordillera.api.uploads import Document, body
from cordillera.client.backend import ContractDetails

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
