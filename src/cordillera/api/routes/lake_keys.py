"""The lake's own keys."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Limit, Text
from cordillera.codec import Page, page
from cordillera.spec.lake_key import MOST_KEEP_HOURS, KeyPurpose, LakeKey

router = APIRouter(prefix="/lake/keys", tags=["lake"])


class WantedKey(BaseModel):
    """A key to sign in the place of another."""

    purpose: Text = Field(description=f"What for: {', '.join(KeyPurpose)}.", examples=["access-tokens"])
    keep_hours: int = Field(
        24, ge=0, le=MOST_KEEP_HOURS, description="For how long what the old key has signed still holds."
    )


@router.get("", summary="List the lake's own keys")
def list_lake_keys(backend: Backend, after: UUID | None = None, limit: Limit = 100) -> Page[LakeKey]:
    """Keys without their secrets, retired ones too."""
    return page(backend.lake_keys(after, limit), limit, lambda key: key.id)


@router.post("/rotate", status_code=201, summary="Let another key sign")
def rotate_lake_key(backend: Backend, wanted: WantedKey) -> LakeKey:
    """Make a key that signs for a purpose from now on, in every process."""
    return backend.rotate_lake_key(wanted.purpose, keep_hours=wanted.keep_hours)


@router.post("/{key_id}/retire", summary="Retire a key")
def retire_lake_key(backend: Backend, key_id: UUID) -> LakeKey:
    """Let nothing hold any more that a key has signed before another took its place."""
    return backend.retire_lake_key(key_id)
