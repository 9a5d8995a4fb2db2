"""The pages of subscriptions and targets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cordillera.client.backend import LakeBackend
from cordillera.context import current
from cordillera.errors import (
    AccessDeniedError,
    CordilleraError,
    InvalidInputError,
    LifecycleError,
    NotAllowedError,
    SkipNotFoundError,
    SubscriptionNotFoundError,
)
from cordillera.spec.access import Privilege, whole_principal
from cordillera.spec.delivery_cost import CostQuery, CostsBy, DeliveryCost, month_from, month_of
from cordillera.spec.subscription import ENDED, Equality, SubscriptionState, Verification, may_become
from cordillera.spec.wish_change import WishChange
from cordillera.web.dataset_views import lag
from cordillera.web.forms import problem_of
from cordillera.web.links import link
from cordillera.web.paging import if_allowed, slice_of, uuid_or_none
from cordillera.web.rendering import Page, PageRouter, backend_of
from cordillera.web.subscription_views import timeline

_AUDIT_ENTRIES = 25
_STEPS = 50
_DELIVERIES = 40
_MONTHS = 12

router = PageRouter()


@router.page("/subscriptions")
def subscriptions(request: Request, dataset: str = "", target: str = "", state: str = "", after: str = "") -> Page:
    """Show subscriptions with their lag."""
    lake, behind = backend_of(request), uuid_or_none(after)
    found = slice_of(
        lambda limit: lake.subscriptions(
            dataset=dataset or None, target=target or None, state=state or None, after=behind, limit=limit
        ),
        lambda status: status.subscription.id,
    )
    now = datetime.now(UTC)
    data = {
        "filters": {"dataset": dataset, "target": target, "state": state},
        "states": list(SubscriptionState),
        "subscriptions": found,
        "lags": [lag(status, now) for status in found.items],
    }
    return Page("Subscriptions", "subscriptions.html", data, section="subscriptions")


@router.page("/subscriptions/costs")
def costs(request: Request, month: str = "", by: str = "", paid_by: str = "", after: str = "") -> Page:
    """Show what deliveries of a month cost whom."""
    lake, now = backend_of(request), month_of(datetime.now(UTC))
    shown = month or now
    wanted = CostsBy.SUBSCRIPTION if by else CostsBy.PAYER
    asked = CostQuery(shown, shown, wanted, paid_by)
    found = slice_of(lambda limit: lake.delivery_costs(asked, after, limit), lambda one: one.place)
    data = {
        "costs": found,
        "month": shown,
        "before": month_from(shown, -1),
        "next_month": month_from(shown, 1) if shown < now else "",
        "by": by,
        "paid_by": paid_by,
    }
    return Page("Costs of deliveries", "subscription_costs.html", data, section="subscriptions")


@router.page("/subscriptions/{subscription_id}")
def subscription(request: Request, subscription_id: str) -> Page:
    """Show a subscription: its timeline, its lag, its last error."""
    return _show(backend_of(request), _id(subscription_id))


@router.page("/subscriptions/{subscription_id}/verify", methods=("POST",))
def verify(request: Request, subscription_id: str) -> Page:
    """Compare the target with the lake, and show the outcome."""
    lake, wanted = backend_of(request), _id(subscription_id)
    return _show(lake, wanted, lake.verify_subscription(wanted))


@router.page("/subscriptions/{subscription_id}/repair", methods=("POST",))
def repair(request: Request, subscription_id: str) -> Page:
    """Put right the rows in which the target differs, and show how it compares since."""
    lake, wanted = backend_of(request), _id(subscription_id)
    return _show(lake, wanted, lake.repair_subscription(wanted).verified)


@router.page("/subscriptions/{subscription_id}/pause", methods=("POST",))
def pause(request: Request, subscription_id: str) -> Response:
    """Stop deliveries."""
    return _shown_anew(backend_of(request).pause_subscription(_id(subscription_id)).id)


@router.page("/subscriptions/{subscription_id}/resume", methods=("POST",))
def resume(request: Request, subscription_id: str) -> Response:
    """Deliver again."""
    return _shown_anew(backend_of(request).resume_subscription(_id(subscription_id)).id)


@router.page("/subscriptions/{subscription_id}/change", methods=("POST",))
def change(
    request: Request,
    subscription_id: str,
    mode: Annotated[str | None, Form()] = None,
    trigger: Annotated[str, Form()] = "",
    columns: Annotated[str, Form()] = "",
    row_filter: Annotated[str, Form()] = "",
    cost_owner: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Page | Response:
    """Change what a subscription is to; what cannot be comes back with why not."""
    lake, wanted = backend_of(request), _id(subscription_id)
    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    wishes = WishChange(mode, trigger, names, row_filter.strip(), cost_owner.strip())
    try:
        lake.change_subscription(wanted, wishes, reason=reason.strip())
    except (AccessDeniedError, InvalidInputError, LifecycleError, NotAllowedError) as error:
        return _show(lake, wanted, problem=error)
    return _shown_anew(wanted)


@router.page("/subscriptions/{subscription_id}/skip", methods=("POST",))
def skip(
    request: Request,
    subscription_id: str,
    last: Annotated[str, Form()] = "",
    first: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Page | Response:
    """Leave out snapshots; what cannot be left out comes back with why not."""
    lake, wanted = backend_of(request), _id(subscription_id)
    try:
        begins = _snapshot(first) if first.strip() else None
        lake.skip_snapshots(wanted, _snapshot(last), first=begins, reason=reason)
    except (InvalidInputError, LifecycleError, NotAllowedError) as error:
        return _show(lake, wanted, problem=error)
    return _shown_anew(wanted)


@router.page("/subscriptions/{subscription_id}/skips/{number}/withdraw", methods=("POST",))
def withdraw_skip(request: Request, subscription_id: str, number: str) -> Page | Response:
    """Deliver all the same what was to be left out; where that is too late, say so."""
    lake, wanted = backend_of(request), _id(subscription_id)
    try:
        lake.withdraw_skip(wanted, _snapshot(number))
    except (LifecycleError, SkipNotFoundError) as error:
        return _show(lake, wanted, problem=error)
    return _shown_anew(wanted)


@router.page("/targets")
def targets(request: Request, after: str = "") -> Page:
    """Show the targets."""
    lake = backend_of(request)
    found = slice_of(lambda limit: lake.targets(after, limit), lambda target: target.name)
    return Page("Targets", "targets.html", {"targets": found}, section="subscriptions")


def _show(
    lake: LakeBackend,
    wanted: UUID,
    verification: Verification | None = None,
    problem: CordilleraError | None = None,
) -> Page:
    status, now = lake.subscription(wanted), datetime.now(UTC)
    one, on = status.subscription, f"subscription:{wanted}"
    reads, alters = _may(lake, Privilege.READ, on), _may(lake, Privilege.ALTER, on)
    data = {
        "subscription": one,
        "on": on,
        "reads": reads,
        "in_step": status.in_step,
        "lag": lag(status, now),
        "timeline": timeline(status, lake.subscription_history(wanted, limit=_STEPS), now),
        "deliveries": lake.subscription_deliveries(wanted, limit=_DELIVERIES) if reads else [],
        "costs": _costs(lake, wanted) if reads else [],
        "verification": verification,
        "skips": status.skips,
        "problem": problem_of(problem),
        "can_pause": alters and may_become(one.state, SubscriptionState.PAUSED),
        "can_resume": alters and one.state in (SubscriptionState.PAUSED, SubscriptionState.FAILED),
        "can_verify": alters and one.cursor_sequence is not None and one.state not in ENDED and one.mode != "log",
        "alters": alters,
        "can_skip": alters and one.cursor_sequence is not None and not status.in_step and one.state not in ENDED,
        "can_change": alters and one.state not in ENDED and one.state is not SubscriptionState.REQUESTED,
        "can_repair": alters and one.equality is Equality.DRIFTED and one.state not in ENDED,
        "audit": if_allowed(lambda: lake.audit(object_name=str(wanted), limit=_AUDIT_ENTRIES)),
    }
    name, code = f"{one.dataset} → {one.target}", problem.status if problem else 200
    return Page(name, "subscription.html", data, code, section="subscriptions")


def _costs(lake: LakeBackend, wanted: UUID) -> list[DeliveryCost]:
    """Return what a subscription cost in the last months, newest first."""
    since = month_from(month_of(datetime.now(UTC)), 1 - _MONTHS)
    return lake.delivery_costs(CostQuery(since, by=CostsBy.SUBSCRIPTION, subscription_id=wanted))[::-1]


def _snapshot(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{text[:20]!r} is no snapshot.", hint="Write its number.") from None


def _may(lake: LakeBackend, privilege: Privilege, on: str) -> bool:
    """Tell whether whoever looks holds a privilege on a subscription."""
    context = current()
    return context.operator or lake.explain_access(whole_principal(context.principal), privilege.value, on).allowed


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SubscriptionNotFoundError(
            f"There is no subscription {text[:60]!r}.", hint="Look for it in the list of subscriptions."
        ) from None


def _shown_anew(subscription_id: UUID) -> Response:
    return RedirectResponse(link(f"/subscriptions/{subscription_id}"), 303)
