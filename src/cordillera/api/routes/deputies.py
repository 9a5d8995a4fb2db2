"""Deputies: who decides for owners while they are away."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from cordillera.api.parameters import Backend, Limit, Text
from cordillera.api.routes.access import PRINCIPAL_HELP, Principal
from cordillera.codec import Page, page
from cordillera.spec.deputy import Deputy, Duty, WantedDeputy

router = APIRouter(prefix="/access/deputies", tags=["access"])


class NewDeputy(BaseModel):
    """Somebody who is to stand in for an owner."""

    deputy: Text = Field(description=PRINCIPAL_HELP, examples=["user:ben"])
    ends_at: AwareDatetime = Field(description="Until when; in a year at most.")
    owner: Text = Field("", description="For whom; empty for whoever calls.")
    duties: list[Duty] = Field(list(Duty), description="What he may decide.", max_length=len(Duty))
    on: Text = Field("lake", description="The object inside of which: `lake`, `namespace:NAME`, `NAMESPACE.DATASET`.")
    starts_at: AwareDatetime | None = Field(None, description="From when; null for at once.")
    reason: Text = ""


@router.get("", summary="List deputies")
def list_deputies(
    backend: Backend, owner: Principal = "", deputy: Principal = "", after: UUID | None = None, limit: Limit = 100
) -> Page[Deputy]:
    """One's own deputies, and those that one is; those whose time is over too."""
    return page(backend.deputies(owner=owner, deputy=deputy, after=after, limit=limit), limit, lambda one: one.id)


@router.post("", status_code=201, summary="Name a deputy")
def add_deputy(backend: Backend, wanted: NewDeputy) -> Deputy:
    """Have somebody decide for an owner, beside him, in some duties, about what is inside an object, for a time."""
    return backend.add_deputy(WantedDeputy(**{**wanted.model_dump(), "duties": tuple(wanted.duties)}))


@router.post("/{deputy_id}/end", summary="End a deputy's time")
def end_deputy(backend: Backend, deputy_id: UUID) -> Deputy:
    """Let somebody stand in no more, from the next call on."""
    return backend.end_deputy(deputy_id)
