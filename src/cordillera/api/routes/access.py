"""Access: grants, groups and roles, policy tags, and why somebody may do what."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from cordillera.api.parameters import After, Backend, Limit, Text
from cordillera.codec import Page, page
from cordillera.spec.access import Grant, Membership, PolicyTag
from cordillera.spec.access_explanation import AccessExplanation
from cordillera.spec.wanted_grant import WantedGrant

router = APIRouter(prefix="/access", tags=["access"])
OBJECT_HELP = "`lake`, `namespace:NAME`, `NAMESPACE.DATASET`, `target:NAME` or `subscription:ID`."
PRINCIPAL_HELP = "`user:NAME`, `service:NAME`, `group:NAME` or `role:NAME`."
PRIVILEGE_HELP = "discover, read, write, alter, create, external_use or administer."
_TAGS = "Of the datasets inside the object, those it is about, like `sensitivity in (public, internal)`."
MASKS_HELP = (
    "What is seen of columns, by name: clear, month, year, last4, hash, constant, null or hidden, which leaves it out."
)

On = Annotated[Text, Query(description=OBJECT_HELP)]
Principal = Annotated[Text, Query(description=PRINCIPAL_HELP)]
Privilege = Annotated[Text, Query(description=PRIVILEGE_HELP)]
Role = Annotated[Text, Query(description="`group:NAME` or `role:NAME`.")]


class NewGrant(BaseModel):
    """A privilege to be given, or renewed."""

    principal: Text = Field(description=PRINCIPAL_HELP, examples=["role:analysts"])
    privilege: Text = Field(description=PRIVILEGE_HELP, examples=["read"])
    on: Text = Field(description=OBJECT_HELP, examples=["namespace:sales"])
    tags: Text = Field("", description=_TAGS)
    grant_option: bool = Field(False, description="Whether the holder may grant it on.")
    expires_at: AwareDatetime | None = Field(None, description="When it ends; null for never.")
    reason: Text = ""
    row_filter: Text = Field(
        "", description="Of read on a dataset: SQL condition on the rows that may be read.", examples=["region = 'EU'"]
    )
    masks: dict[Text, Text] = Field(default_factory=dict, description=MASKS_HELP, examples=[{"email": "hash"}])
    tag_masks: dict[Text, Text] = Field(
        default_factory=dict, description="The same by tag expressions over the policy tags of columns."
    )


class WantedMember(BaseModel):
    """Somebody to be put into a group or role."""

    role: Text = Field(description="`group:NAME` or `role:NAME`.")
    member: Text = Field(description=PRINCIPAL_HELP)
    expires_at: AwareDatetime | None = Field(None, description="When it ends; null for never.")


class WantedTag(BaseModel):
    """A policy tag to be set."""

    on: Text = Field(description="`namespace:NAME` or `NAMESPACE.DATASET`.")
    name: Text = Field(examples=["sensitivity"])
    value: Text = Field(examples=["internal"])
    column: Text = Field("", description="The column it is about; empty for the object as a whole.")
    mask: Text = Field(
        "", description="What is seen of the column by whoever has no grant that says otherwise; empty for its values."
    )


@router.get("/grants", summary="List grants")
def list_grants(
    backend: Backend, on: On = "", principal: Principal = "", after: UUID | None = None, limit: Limit = 100
) -> Page[Grant]:
    """One's own grants, and those on what one administers; ended ones too."""
    return page(backend.grants(on=on, principal=principal, after=after, limit=limit), limit, lambda grant: grant.id)


@router.post("/grants", status_code=201, summary="Grant a privilege")
def grant(backend: Backend, wanted: NewGrant) -> Grant:
    """Give somebody a privilege on an object and what is inside it, or renew what he has."""
    return backend.grant(WantedGrant(**wanted.model_dump()))


@router.delete("/grants", status_code=204, summary="Revoke a privilege")
def revoke(
    backend: Backend,
    principal: Principal,
    privilege: Privilege,
    on: On,
    tags: Annotated[Text, Query(description=_TAGS)] = "",
    reason: Text = "",
) -> None:
    """Take a privilege back; it ends at once."""
    backend.revoke(principal, privilege, on, tags=tags, reason=reason)


@router.get("/holders", summary="List who has access")
def list_holders(backend: Backend, on: On, after: UUID | None = None, limit: Limit = 100) -> Page[Grant]:
    """The grants that reach an object: on itself, and on what it is inside of."""
    return page(backend.holders(on, after=after, limit=limit), limit, lambda grant: grant.id)


@router.get("/explanation", summary="Explain access")
def explain_access(backend: Backend, principal: Principal, privilege: Privilege, on: On) -> AccessExplanation:
    """Whether somebody holds a privilege, what gives it to him, and what nearly does."""
    return backend.explain_access(principal, privilege, on)


@router.get("/roles", summary="List groups and roles")
def list_roles(backend: Backend, after: After = "", limit: Limit = 100) -> Page[str]:
    """The groups and roles that have members: all, or those that one is in."""
    return page(backend.roles(after, limit), limit, lambda name: name)


@router.get("/members", summary="List members")
def list_members(backend: Backend, role: Role, after: After = "", limit: Limit = 100) -> Page[Membership]:
    """The members of a group or role."""
    return page(backend.members(role, after, limit), limit, lambda one: one.member)


@router.post("/members", status_code=201, summary="Add a member")
def add_member(backend: Backend, wanted: WantedMember) -> Membership:
    """Put somebody, or another group or role, into a group or role, or renew that."""
    return backend.add_member(wanted.role, wanted.member, expires_at=wanted.expires_at)


@router.delete("/members", status_code=204, summary="Remove a member")
def remove_member(backend: Backend, role: Role, member: Annotated[Text, Query(description=PRINCIPAL_HELP)]) -> None:
    """Take somebody out of a group or role."""
    backend.remove_member(role, member)


@router.get("/policy-tags", summary="List policy tags")
def list_policy_tags(backend: Backend, on: On) -> Page[PolicyTag]:
    """The labels of a namespace or dataset, those that a dataset has from its namespace too."""
    return Page(backend.policy_tags(on), None)


@router.post("/policy-tags", status_code=201, summary="Set a policy tag")
def set_policy_tag(backend: Backend, wanted: WantedTag) -> PolicyTag:
    """Label a namespace, a dataset or a column, in the place of the label of that name."""
    return backend.set_policy_tag(wanted.on, wanted.name, wanted.value, column=wanted.column, mask=wanted.mask)


@router.delete("/policy-tags", status_code=204, summary="Remove a policy tag")
def remove_policy_tag(backend: Backend, on: On, name: Text, column: Text = "") -> None:
    """Remove a label."""
    backend.remove_policy_tag(on, name, column=column)
