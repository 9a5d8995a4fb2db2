"""API tokens."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cordillera.access.service import NewToken, SigningKey
from cordillera.api.parameters import Backend, Limit, Text
from cordillera.codec import Page, page
from cordillera.ports.metadata.access import Token

router = APIRouter(prefix="/tokens", tags=["tokens"])


class WantedToken(BaseModel):
    """A token to be made."""

    name: Text = Field(description="What it is for.")
    principal: Text = Field("", description="Who calls with it; the caller by default.")
    days: int | None = Field(90, ge=1, le=3650, description="How long it is valid; null for ever.")
    read_only: bool = Field(False, description="Whether nothing can be changed with it.")


@router.get("", summary="List tokens")
def list_tokens(backend: Backend, after: UUID | None = None, limit: Limit = 100) -> Page[Token]:
    """Tokens without their secrets."""
    found = page(backend.tokens(after, limit), limit, lambda token: token.id)
    return Page([_public(token) for token in found.items], found.next)


@router.post("", status_code=201, summary="Create a token")
def create_token(backend: Backend, wanted: WantedToken) -> NewToken:
    """Make a token. Its secret is shown this once."""
    made = backend.create_token(wanted.name, principal=wanted.principal, days=wanted.days, read_only=wanted.read_only)
    return replace(made, token=_public(made.token))


class WantedRotation(BaseModel):
    """A new secret for a token."""

    keep_hours: int = Field(24, ge=0, le=720, description="For how long the old secret is good too.")


@router.post("/{token_id}/rotate", summary="Give a token a new secret")
def rotate_token(backend: Backend, token_id: UUID, wanted: WantedRotation) -> NewToken:
    """The new secret is shown this once."""
    made = backend.rotate_token(token_id, keep_hours=wanted.keep_hours)
    return replace(made, token=_public(made.token))


@router.delete("/{token_id}", status_code=204, summary="Revoke a token")
def revoke_token(backend: Backend, token_id: UUID) -> None:
    """Make a token useless at once."""
    backend.revoke_token(token_id)


@router.post("/{token_id}/signing-key", summary="Show a token's signing key")
def signing_key(backend: Backend, token_id: UUID) -> SigningKey:
    """What requests to the Iceberg REST catalog are signed with in a token's name (AWS Signature Version 4)."""
    return backend.signing_key(token_id)


def _public(token: Token) -> Token:
    """Return a token without the hashes of its secrets, which are nobody's business."""
    return replace(token, hash="", previous_hash=None)
