"""Targets, and the subscriptions that keep them like datasets."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from cordillera.api.parameters import After, Backend, BeforeNumber, Limit, LongText, Text
from cordillera.codec import Page, page
from cordillera.spec.delivery_cost import CostQuery, CostsBy, DeliveryCost, parse_costs_by
from cordillera.spec.delivery_record import DeliveryRecord
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.external_schema import DEFAULT_ROLE, ExternalSchema
from cordillera.spec.skip import Skip
from cordillera.spec.subscription import (
    CopyAtEnd,
    Repair,
    Subscription,
    SubscriptionChange,
    SubscriptionMode,
    SubscriptionState,
    SubscriptionStatus,
    Target,
    Verification,
)
from cordillera.spec.wanted_subscription import WantedSubscription
from cordillera.spec.wish_change import WishChange

router = APIRouter(tags=["subscriptions"])
_MODES = "mirror: the rows as they are; log: every change; history: every state, with the time for which it held."


class NewTarget(BaseModel):
    """A target to be configured. Secrets stay in environment variables that the configuration names."""

    name: Text
    kind: Text = Field(examples=["postgres"])
    config: dict[Text, Text] = {}
    check: bool = Field(True, description="Connect to it first.")


class WantedExternalSchema(BaseModel):
    """How a warehouse is to show the tables that a target points at."""

    name: Text = Field("", description="What the external schema is to be called in Redshift; Snowflake's is known.")
    iam_role: Text = Field(DEFAULT_ROLE, description="ARN of the role that reads; default for Redshift's own.")
    readers: list[Text] = Field([], description="Roles of the warehouse that may read it.")


class NewSubscription(BaseModel):
    """What a consumer asks for."""

    dataset: Text
    target: Text
    table: Text = Field("", description="The table's name in the target; the dataset's by default.")
    consumer: Text = Field("", description="Who asks; the caller by default.")
    purpose: Text = ""
    columns: list[Text] = Field([], description="Columns wanted; none means all, also those added later.")
    row_filter: LongText = Field("", description="SQL condition on the rows wanted.")
    verify_every_seconds: int | None = Field(None, description="How often to compare the target with the lake.")
    cost_owner: Text = Field("", description="Who pays for it; the consumer by default.")
    days: int | None = Field(None, description="For how long; null for until it is revoked.")
    copy_at_end: Text = Field(CopyAtEnd.FREEZE.value, description="The table at the end: freeze or remove.")
    mode: Text = Field(SubscriptionMode.MIRROR.value, description=_MODES)
    trigger: Text = Field(
        ON_COMMIT,
        description="What deliveries wait for: commit, completion, or a cron expression of five fields, in UTC.",
    )


class Reason(BaseModel):
    """Why something is done."""

    reason: Text = ""


SkipNumber = Annotated[int, Path(ge=1, lt=2**63, description="The number of the skip.")]


class Renewal(BaseModel):
    """How much longer a subscription lasts."""

    days: int | None = Field(description="Days from now; null for until it is revoked.")


class ChangedWishes(BaseModel):
    """What is to be otherwise about a subscription; null leaves it as it is."""

    mode: Text | None = Field(None, description=_MODES)
    trigger: Text | None = Field(None, description="commit, completion, or a cron expression of five fields, in UTC.")
    columns: list[Text] | None = Field(None, description="Columns wanted; an empty list for all.")
    row_filter: LongText | None = Field(None, description="SQL condition on the rows wanted; empty for all.")
    cost_owner: Text | None = Field(None, description="Who pays for it; empty for the consumer.")
    reason: Text = ""


class SkippedRange(BaseModel):
    """Snapshots that deliveries are to leave out."""

    first: int | None = Field(None, description="The first; by default the one behind that which the target holds.")
    last: int = Field(description="The last.")
    reason: Text = Field(description="Why.")


class VerificationSchedule(BaseModel):
    """How often a target is compared with the lake, besides after deliveries of everything."""

    verify_every_seconds: int | None = Field(description="Seconds from one to the next; null to not do it by itself.")


class Revocation(BaseModel):
    """How a subscription ends."""

    keep_rows: bool = Field(
        True, description="Leave the table in the target, unless subscription or contract say that it goes."
    )
    reason: Text = ""


@router.get("/targets", summary="List targets")
def list_targets(backend: Backend, after: After = "", limit: Limit = 100) -> Page[Target]:
    """Targets by name."""
    return page(backend.targets(after, limit), limit, lambda target: target.name)


@router.post("/targets", status_code=201, summary="Configure a target")
def create_target(backend: Backend, wanted: NewTarget) -> Target:
    """Configure a target, after connecting to it."""
    return backend.create_target(wanted.name, wanted.kind, wanted.config, check=wanted.check)


@router.get("/targets/{name}", summary="Show a target")
def show_target(backend: Backend, name: Text) -> Target:
    """One target."""
    return backend.target(name)


@router.post("/targets/{name}/check", status_code=204, summary="Check a target")
def check_target(backend: Backend, name: Text) -> None:
    """Connect to a target and make sure that tables could be written, changing nothing."""
    backend.check_target(name)


@router.post("/targets/{name}/external-schema", summary="Tell how a warehouse reads a target")
def external_schema(backend: Backend, name: Text, wanted: WantedExternalSchema) -> list[str]:
    """The SQL by which Redshift Spectrum or Snowflake reads the tables that a target points at; none is executed."""
    schema = ExternalSchema(wanted.name, wanted.iam_role, tuple(wanted.readers))
    return backend.external_schema(name, schema)


@router.delete("/targets/{name}", status_code=204, summary="Delete a target")
def delete_target(backend: Backend, name: Text) -> None:
    """Remove a target that no subscription uses."""
    backend.delete_target(name)


@router.get("/subscriptions", summary="List subscriptions")
def list_subscriptions(
    backend: Backend,
    dataset: Annotated[Text | None, Query(description="Only those to one dataset.")] = None,
    target: Annotated[Text | None, Query(description="Only those of one target.")] = None,
    state: Annotated[Text | None, Query(description=f"One of: {', '.join(SubscriptionState)}.")] = None,
    after: UUID | None = None,
    limit: Limit = 100,
) -> Page[SubscriptionStatus]:
    """Subscriptions with their distance from the datasets."""
    found = backend.subscriptions(dataset=dataset, target=target, state=state, after=after, limit=limit)
    return page(found, limit, lambda status: status.subscription.id)


@router.post("/subscriptions", status_code=201, summary="Subscribe")
def subscribe(backend: Backend, wanted: NewSubscription) -> Subscription:
    """Ask for a target to follow a dataset; the first delivery is made as soon as a worker is free."""
    return backend.subscribe(WantedSubscription(**{**wanted.model_dump(), "columns": tuple(wanted.columns)}))


@router.get("/subscriptions/{subscription_id}", summary="Show a subscription")
def show_subscription(backend: Backend, subscription_id: UUID) -> SubscriptionStatus:
    """One subscription with its distance from the dataset."""
    return backend.subscription(subscription_id)


@router.get("/subscriptions/{subscription_id}/history", summary="Show what happened to a subscription")
def show_history(
    backend: Backend, subscription_id: UUID, before: BeforeNumber = None, limit: Limit = 100
) -> Page[SubscriptionChange]:
    """Each step of its life with who, when and why, newest first."""
    return page(backend.subscription_history(subscription_id, before, limit), limit, lambda step: step.number)


@router.get("/subscriptions/{subscription_id}/deliveries", summary="Show what deliveries did and took")
def show_deliveries(
    backend: Backend, subscription_id: UUID, before: BeforeNumber = None, limit: Limit = 100
) -> Page[DeliveryRecord]:
    """Rows, bytes, seconds, snapshots, attempt and worker of each delivery, newest first; the last 500 are kept."""
    return page(backend.subscription_deliveries(subscription_id, before, limit), limit, lambda one: one.number)


@router.get("/delivery-costs", summary="Show what deliveries cost whom")
def show_costs(
    backend: Backend,
    since: Annotated[Text, Query(description="The first month, as 2026-11; by default this one, in UTC.")] = "",
    until: Annotated[Text, Query(description="The last month; by default there is no end.")] = "",
    by: Annotated[Text, Query(description=f"What is added up: one of {', '.join(CostsBy)}.")] = CostsBy.PAYER.value,
    cost_owner: Annotated[Text, Query(description="Only what this one pays for.")] = "",
    subscription_id: Annotated[UUID | None, Query(description="Only those of one subscription.")] = None,
    after: After = "",
    limit: Limit = 100,
) -> Page[DeliveryCost]:
    """Deliveries, rows, bytes and seconds by month and cost owner, of subscriptions that the caller may read."""
    asked = CostQuery(since, until, parse_costs_by(by), cost_owner, subscription_id)
    return page(backend.delivery_costs(asked, after, limit), limit, lambda one: one.place)


@router.post("/subscriptions/{subscription_id}/pause", summary="Pause a subscription")
def pause_subscription(backend: Backend, subscription_id: UUID, why: Reason | None = None) -> Subscription:
    """Stop deliveries; the cursor stays where it is."""
    return backend.pause_subscription(subscription_id, reason=why.reason if why else "")


@router.post("/subscriptions/{subscription_id}/resume", summary="Resume a subscription")
def resume_subscription(backend: Backend, subscription_id: UUID, why: Reason | None = None) -> Subscription:
    """Deliver again, beginning with everything missed."""
    return backend.resume_subscription(subscription_id, reason=why.reason if why else "")


@router.post("/subscriptions/{subscription_id}/renew", summary="Renew a subscription")
def renew_subscription(backend: Backend, subscription_id: UUID, until: Renewal) -> Subscription:
    """Let a subscription end so many days from now, or not by itself."""
    return backend.renew_subscription(subscription_id, until.days)


@router.post("/subscriptions/{subscription_id}/change", summary="Change a subscription")
def change_subscription(backend: Backend, subscription_id: UUID, wanted: ChangedWishes) -> Subscription:
    """Change what a subscription is to; other columns, rows or another mode let everything come anew, at once."""
    columns = None if wanted.columns is None else tuple(wanted.columns)
    change = WishChange(wanted.mode, wanted.trigger, columns, wanted.row_filter, wanted.cost_owner)
    return backend.change_subscription(subscription_id, change, reason=wanted.reason)


@router.post("/subscriptions/{subscription_id}/skip", summary="Skip snapshots")
def skip_snapshots(backend: Backend, subscription_id: UUID, wanted: SkippedRange) -> Skip:
    """Leave out the changes of some snapshots when deliveries come to them; who said so and why is told ever after."""
    return backend.skip_snapshots(subscription_id, wanted.last, first=wanted.first, reason=wanted.reason)


@router.post("/subscriptions/{subscription_id}/skips/{number}/withdraw", summary="Withdraw a skip")
def withdraw_skip(backend: Backend, subscription_id: UUID, number: SkipNumber, why: Reason | None = None) -> Skip:
    """Deliver all the same what was to be left out, as long as deliveries have not come to it."""
    return backend.withdraw_skip(subscription_id, number, reason=why.reason if why else "")


@router.post("/subscriptions/{subscription_id}/revoke", summary="Revoke a subscription")
def revoke_subscription(backend: Backend, subscription_id: UUID, how: Revocation) -> Subscription:
    """End a subscription for good."""
    return backend.revoke_subscription(subscription_id, keep_rows=how.keep_rows, reason=how.reason)


@router.post("/subscriptions/{subscription_id}/verify", summary="Verify a subscription")
def verify_subscription(backend: Backend, subscription_id: UUID) -> Verification:
    """Compare the target with the lake by keyed checksum, and note what that finds."""
    return backend.verify_subscription(subscription_id)


@router.post("/subscriptions/{subscription_id}/repair", summary="Repair a subscription's target")
def repair_subscription(backend: Backend, subscription_id: UUID) -> Repair:
    """Deliver the rows again in which the target differs, and remove those that the lake does not have."""
    return backend.repair_subscription(subscription_id)


@router.patch("/subscriptions/{subscription_id}", summary="Schedule verifications")
def schedule_verification(backend: Backend, subscription_id: UUID, schedule: VerificationSchedule) -> Subscription:
    """Say how often the target is compared with the lake."""
    return backend.schedule_verification(subscription_id, schedule.verify_every_seconds)
