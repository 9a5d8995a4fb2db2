"""``cordillera access request``, ``requests``, ``approve`` …: asking for access, and deciding about it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cordillera.cli.access import Masks, Object, RowsWhere, TagMasks, app, parse_masks
from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import Part, View, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.spec.access_request import MOST_DAYS, AccessRequest, Approval

_VIEW: View = {
    "id": "id",
    "state": "state",
    "requester": "requester",
    "on": "on",
    "privileges": "granted",
    "days": "granted_days",
    "purpose": "purpose",
    "where": "row_filter",
    "masks": lambda one: {**one.masks, **one.tag_masks},
    "waiting_for": "waiting_for",
    "requested_at": "requested_at",
    "expires_at": "expires_at",
}
_STEP: View = {
    "state": "state",
    "by": "by",
    "deputy_of": "deputy_of",
    "at": "at",
    "approves": "approves",
    "reason": "reason",
}
RequestId = Annotated[UUID, typer.Argument(metavar="ID", help="The request's id.")]
Days = Annotated[int, typer.Option("--days", min=1, max=MOST_DAYS, help="For how long, counted from the approval.")]
Reason = Annotated[str, typer.Option("--reason", help="Why.", show_default=False)]


@command(app, "request", example="cordillera access request sales.orders read --purpose 'quarterly report' --days 30")
def request(
    object: Object,
    privileges: Annotated[
        list[str],
        typer.Argument(metavar="PRIVILEGE...", help="discover, read, write, alter, create, external_use, administer."),
    ],
    purpose: Annotated[str, typer.Option("--purpose", help="What the access is needed for.")],
    days: Days = 90,
) -> None:
    """Ask for access to an object and what is inside it. Whoever administers it decides."""
    with open_lake() as lake:
        made = lake.backend.request_access(object, privileges, purpose=purpose, days=days)
    message = f"Asked for {', '.join(made.granted)} on {made.on}; it waits for: {', '.join(made.waiting_for)}."
    show_outcome(message, made, _VIEW, answer=str(made.id))


@command(app, "requests", example="cordillera access requests --waiting")
def list_requests(
    on: Annotated[
        str, typer.Option("--on", metavar="OBJECT", help="Only those for one object.", show_default=False)
    ] = "",
    requester: Annotated[str, typer.Option("--requester", help="Only those of somebody.", show_default=False)] = "",
    state: Annotated[
        str,
        typer.Option(
            "--state", help="requested, approved, refused, withdrawn, expired or revoked.", show_default=False
        ),
    ] = "",
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for you.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List access requests, newest first: your own, and those that you have a say in."""
    with open_lake() as lake:

        def fetch(before: UUID | None, most: int) -> list[AccessRequest]:
            return lake.backend.access_requests(
                on=on, requester=requester, state=state, waiting=waiting, before=before, limit=most
            )

        found = paged(fetch, None, lambda one: one.id, limit=limit, everything=all)
        show_list(found, _VIEW, none="There are no such requests.")


@command(app, "show", example="cordillera access show 0b9a1f4e-8c1d-4d0e-9a55-3f1a2b7c9d10")
def show_request(id: RequestId) -> None:
    """Show an access request with what happened to it."""
    with open_lake() as lake:
        found = lake.backend.access_request(id)
    show(found, _VIEW, [Part("Steps", found.steps, _STEP)])


@command(
    app,
    "approve",
    example=(
        "cordillera access approve 0b9a1f4e-8c1d-4d0e-9a55-3f1a2b7c9d10 --days 14\n"
        "cordillera access approve 0b9a1f4e-8c1d-4d0e-9a55-3f1a2b7c9d10 --where \"region = 'EU'\" --mask email=hash"
    ),
)
def approve(
    id: RequestId,
    privilege: Annotated[
        list[str] | None,
        typer.Option("--privilege", help="Only this privilege; may be given several times.", show_default=False),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=MOST_DAYS, help="For no longer than this.", show_default=False),
    ] = None,
    reason: Reason = "",
    where: RowsWhere = "",
    mask: Masks = None,
    mask_tagged: TagMasks = None,
) -> None:
    """Approve an access request, or as much of it as is named. When nobody is left who has to, it is granted."""
    masks, tag_masks = parse_masks("--mask", mask), parse_masks("--mask-tagged", mask_tagged)
    approval = Approval(tuple(privilege or ()), days, reason, where, masks, tag_masks)
    with open_lake() as lake:
        found = lake.backend.approve_access(id, approval)
    if found.waiting_for:
        message = f"Approved; the request still waits for: {', '.join(found.waiting_for)}."
    else:
        message = f"Granted {', '.join(found.granted)} on {found.on} to {found.requester}."
    show_outcome(message, found, _VIEW)


@command(
    app, "refuse", example="cordillera access refuse 0b9a1f4e-8c1d-4d0e-9a55-3f1a2b7c9d10 --reason 'Use sales.prices.'"
)
def refuse(id: RequestId, reason: Annotated[str, typer.Option("--reason", help="Why.")]) -> None:
    """Refuse an access request, with a reason."""
    with open_lake() as lake:
        found = lake.backend.refuse_access(id, reason)
    show_outcome(f"Refused the request of {found.requester} for {found.on}.", found, _VIEW)


@command(app, "withdraw", example="cordillera access withdraw 0b9a1f4e-8c1d-4d0e-9a55-3f1a2b7c9d10")
def withdraw(id: RequestId, reason: Reason = "") -> None:
    """Take back your own access request."""
    with open_lake() as lake:
        found = lake.backend.withdraw_access_request(id, reason)
    show_outcome(f"Withdrew the request for {found.on}.", found, _VIEW)
