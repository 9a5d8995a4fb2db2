"""Branches and tags, and what moves them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cordillera.api.parameters import Backend, Name, Text
from cordillera.catalog.requests import CommitResult
from cordillera.codec import Page
from cordillera.spec.refs import Ref, Retention
from cordillera.spec.table_metadata import MAIN_BRANCH

router = APIRouter(tags=["branches"])
_Count = Annotated[int | None, Field(ge=1, le=2**62)]


class RefRetention(BaseModel):
    """How long snapshot expiry keeps a branch or tag; null leaves it to the table's properties."""

    max_ref_age_ms: _Count = None
    max_snapshot_age_ms: _Count = None
    min_snapshots_to_keep: _Count = Field(None, le=2**31 - 1)

    def to_spec(self) -> Retention:
        """Return it as a value of the specification."""
        return Retention(self.max_ref_age_ms, self.max_snapshot_age_ms, self.min_snapshots_to_keep)


class NewRef(BaseModel):
    """A branch or tag to be made."""

    name: Text = Field(examples=["audit"])
    kind: Text = Field(description="branch or tag", examples=["branch"])
    as_of: Text | None = Field(None, description="A snapshot's number, a time, a branch or a tag; by default now.")
    retention: RefRetention = RefRetention()


class FastForward(BaseModel):
    """Where a branch is to move."""

    branch: Text = Field(MAIN_BRANCH, description="The branch to move; main publishes the other one.")
    to: Text = Field(description="A branch or tag that was made from it.", examples=["audit"])
    completes: Text | None = Field(None, description="A partition that is complete with it.")


class Rollback(BaseModel):
    """The state wanted."""

    to: Text = Field(description="A snapshot's sequence number, a date or time, or a tag.", examples=["17"])


class CherryPick(BaseModel):
    """The snapshot wanted."""

    sequence_number: int = Field(ge=0, le=2**63 - 1)
    branch: Text = Field(MAIN_BRANCH, description="The branch that takes it over.")


class Upgrade(BaseModel):
    """The format version wanted."""

    format_version: int = Field(3, ge=1, le=1000)


@router.get("/datasets/{name}/refs", summary="List branches and tags")
def list_refs(backend: Backend, name: Name) -> Page[Ref]:
    """Branches and tags by name."""
    return Page(backend.refs(name), None)


@router.post("/datasets/{name}/refs", status_code=201, summary="Create a branch or tag")
def create_ref(backend: Backend, name: Name, wanted: NewRef) -> Ref:
    """Give a snapshot a name."""
    retention = wanted.retention.to_spec()
    return backend.create_ref(name, wanted.name, wanted.kind, as_of=wanted.as_of, retention=retention)


@router.put("/datasets/{name}/refs/{ref}", summary="Change a branch's or tag's retention")
def retain_ref(backend: Backend, name: Name, ref: Text, retention: RefRetention) -> Ref:
    """Change how long snapshot expiry keeps it."""
    return backend.retain_ref(name, ref, retention.to_spec())


@router.delete("/datasets/{name}/refs/{ref}", status_code=204, summary="Drop a branch or tag")
def drop_ref(backend: Backend, name: Name, ref: Text) -> None:
    """Remove a branch or tag; its snapshots go when snapshots expire."""
    backend.drop_ref(name, ref)


@router.post("/datasets/{name}/fast-forward", summary="Publish a branch")
def fast_forward(backend: Backend, name: Name, wanted: FastForward) -> CommitResult:
    """Move a branch, by default main, on to a snapshot that was made from its own."""
    return backend.fast_forward(name, wanted.branch, wanted.to, completes=wanted.completes)


@router.post("/datasets/{name}/rollback", summary="Roll back")
def rollback(backend: Backend, name: Name, wanted: Rollback) -> CommitResult:
    """Give a dataset the rows it had at an earlier snapshot; what came since stays in the history."""
    return backend.rollback(name, wanted.to)


@router.post("/datasets/{name}/cherry-pick", summary="Cherry-pick a snapshot")
def cherry_pick(backend: Backend, name: Name, wanted: CherryPick) -> CommitResult:
    """Do to a branch what a snapshot of another branch did to its own."""
    return backend.cherry_pick(name, wanted.sequence_number, branch=wanted.branch)


@router.post("/datasets/{name}/upgrade", summary="Upgrade the format version")
def upgrade(backend: Backend, name: Name, wanted: Upgrade) -> CommitResult:
    """Raise the Iceberg format version; files stay as they are."""
    return backend.upgrade(name, wanted.format_version)
