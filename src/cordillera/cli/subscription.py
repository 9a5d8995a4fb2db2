"""``cordillera subscription``: standing wishes that a target be kept like a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import (
    DEFAULT_LIMIT,
    Columns,
    DatasetName,
    DryRun,
    Everything,
    Limit,
    SubscriptionId,
    TargetName,
    Yes,
    split_names,
)
from cordillera.cli.output import Part, View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import go_ahead
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.durations import of_hours
from cordillera.spec.subscription import MOST_DAYS, CopyAtEnd, SubscriptionMode
from cordillera.spec.wanted_subscription import WantedSubscription

if TYPE_CHECKING:
    from cordillera.spec.subscription import Subscription

app = typer.Typer(
    name="subscription", no_args_is_help=True, help='A standing wish: "keep this target like that dataset".'
)
VerifyEvery = Annotated[
    float | None,
    typer.Option(
        "--verify-every",
        metavar="HOURS",
        help="Compare the target with the lake so often; by default only after deliveries of everything.",
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why.", show_default=False)]
Days = Annotated[
    int | None,
    typer.Option(
        "--days",
        min=1,
        max=MOST_DAYS,
        help="For how long from now; by default until it is revoked.",
        show_default=False,
    ),
]
_VIEW: View = {
    "id": "id",
    "dataset": "dataset",
    "target": "target",
    "table": "target_table",
    "state": "state",
    "consumer": "consumer",
    "purpose": "purpose",
    "columns": "columns",
    "row_filter": "row_filter",
    "mode": "mode",
    "trigger": "trigger",
    "expires_at": "expires_at",
    "request": "request_id",
}
_STATUS: View = {
    "id": "subscription.id",
    "dataset": "subscription.dataset",
    "target": "subscription.target",
    "table": "subscription.target_table",
    "state": "subscription.state",
    "snapshot": number("subscription.cursor_sequence"),
    "latest": number("latest_sequence"),
    "behind_since": "behind_since",
    "equality": "subscription.equality",
    "last_error": "subscription.last_error",
}
_DETAILS: View = {
    **_STATUS,
    "snapshots_behind": "snapshots_behind",
    "rows_delivered": "subscription.rows_delivered",
    "delivered_at": "subscription.delivered_at",
    "verified_at": "subscription.verified_at",
    "verified_snapshot": number("subscription.verified_sequence"),
    "drift": "subscription.drift",
    "verify_every_seconds": number("subscription.verify_every_seconds"),
    "consumer": "subscription.consumer",
    "purpose": "subscription.purpose",
    "columns": "subscription.columns",
    "row_filter": "subscription.row_filter",
    "mode": "subscription.mode",
    "trigger": "subscription.trigger",
    "cost_owner": "subscription.cost_owner",
    "expires_at": "subscription.expires_at",
    "copy_at_end": "subscription.copy_at_end",
    "request": "subscription.request_id",
    "created_by": "subscription.created_by",
    "created_at": "subscription.created_at",
}
SKIPS: View = {
    "number": number("number"),
    "first": number("first_sequence"),
    "last": number("last_sequence"),
    "state": "state",
    "by": "by",
    "at": "at",
    "reason": "reason",
}
_HISTORY: View = {"at": "at", "state": "state", "by": "by", "reason": "reason"}
_DELIVERIES: View = {
    "at": "at",
    "from": number("from_sequence"),
    "to": number("to_sequence"),
    "put_in": "rows_upserted",
    "inserted": "rows_inserted",
    "updated": "rows_updated",
    "deleted": "rows_deleted",
    "partitions": "partitions",
    "why": "why",
    "bytes": "bytes",
    "seconds": "seconds",
    "attempt": "attempt",
    "worker": "worker",
    "paid_by": "cost_owner",
}


@command(
    app,
    "create",
    example=(
        "cordillera subscription create sales.orders warehouse --purpose 'weekly report'\n"
        "cordillera subscription create sales.orders analysts --columns id,total --where 'total > 9'"
    ),
)
def create(
    dataset: DatasetName,
    target: TargetName,
    table: Annotated[
        str, typer.Option("--table", help="The table's name there; by default the dataset's.", show_default=False)
    ] = "",
    consumer: Annotated[str, typer.Option("--consumer", help="Who asks; by default you.", show_default=False)] = "",
    purpose: Annotated[str, typer.Option("--purpose", help="What for.", show_default=False)] = "",
    columns: Columns = None,
    where: Annotated[
        str, typer.Option("--where", metavar="SQL", help="SQL condition on the rows wanted.", show_default=False)
    ] = "",
    verify_every: VerifyEvery = None,
    cost_owner: Annotated[
        str, typer.Option("--cost-owner", help="Who pays for it; by default the consumer.", show_default=False)
    ] = "",
    days: Days = None,
    mode: Annotated[
        SubscriptionMode,
        typer.Option(
            "--mode", help="What the table holds: the rows as they are, every change, or every state with its time."
        ),
    ] = SubscriptionMode.MIRROR,
    trigger: Annotated[
        str, typer.Option("--trigger", help="Deliver at every commit, on completion, or by a cron expression in UTC.")
    ] = ON_COMMIT,
    remove_at_end: Annotated[
        bool, typer.Option("--remove-at-end", help="Remove the table when the subscription ends; else it stays.")
    ] = False,
) -> None:
    """Ask for a target to be kept like a dataset; prints the subscription's id. A worker makes the first delivery.

    If you may not read the dataset, give a purpose: the access is asked for, and deliveries begin when it is approved.
    """
    wanted = WantedSubscription(
        dataset, target, table=table, consumer=consumer, purpose=purpose, columns=tuple(split_names(columns)),
        row_filter=where, verify_every_seconds=seconds(verify_every), cost_owner=cost_owner, days=days,
        copy_at_end=CopyAtEnd.REMOVE if remove_at_end else CopyAtEnd.FREEZE, mode=mode, trigger=trigger,
    )  # fmt: skip
    with open_lake() as lake:
        made = lake.backend.subscribe(wanted)
    show_change(f"{made.dataset} will be kept in {made.target} as {made.target_table}{_condition(made)}.", made)


@command(app, "list", example="cordillera subscription list --dataset sales.orders --state failed")
def list_subscriptions(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only of this dataset.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only of this target.")] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only in this state: requested, approved, live, paused, failed, expired …"),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List subscriptions with how far their targets are."""
    with open_lake() as lake:
        found = paged(
            lambda after, size: lake.backend.subscriptions(
                dataset=dataset, target=target, state=state, after=after, limit=size
            ),
            None,
            lambda one: one.subscription.id,
            limit=limit,
            everything=all,
        )
        show_list(found, _STATUS, none="There are no such subscriptions.")


@command(app, "show", example="cordillera subscription show 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def show_subscription(id: SubscriptionId) -> None:
    """Show a subscription: its state, how far the target is, and its last error."""
    with open_lake() as lake:
        found = lake.backend.subscription(id)
        show(found, _DETAILS, [Part("Skipped", found.skips, SKIPS)])


@command(app, "pause", example="cordillera subscription pause 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def pause(id: SubscriptionId, reason: Reason = "") -> None:
    """Stop deliveries; the target stays as it is."""
    with open_lake() as lake:
        show_change("Paused.", lake.backend.pause_subscription(id, reason=reason))


@command(app, "resume", example="cordillera subscription resume 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def resume(id: SubscriptionId, reason: Reason = "") -> None:
    """Deliver again, beginning with everything missed."""
    with open_lake() as lake:
        show_change("Resumed.", lake.backend.resume_subscription(id, reason=reason))


@command(
    app,
    "renew",
    example=(
        "cordillera subscription renew 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --days 90\n"
        "cordillera subscription renew 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3"
    ),
)
def renew(id: SubscriptionId, days: Days = None) -> None:
    """Let a subscription last longer, or shorter; without --days, until it is revoked."""
    with open_lake() as lake:
        changed = lake.backend.renew_subscription(id, days)
    ends = f"ends at {changed.expires_at:%Y-%m-%d %H:%M} UTC" if changed.expires_at else "lasts until it is revoked"
    show_change(f"The subscription {ends}.", changed)


@command(app, "history", example="cordillera subscription history 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def history(id: SubscriptionId, limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """Show what happened to a subscription, newest first: each step with who, when and why."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.subscription_history(id, before, size),
            None,
            lambda step: step.number,
            limit=limit,
            everything=all,
        )
        show_list(found, _HISTORY, none="Nothing happened to it.")


@command(
    app, "deliveries", example="cordillera subscription deliveries 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --limit 20"
)
def deliveries(id: SubscriptionId, limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """Show what a subscription's deliveries did and took, newest first: rows, partitions, why, bytes, seconds."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.subscription_deliveries(id, before, size),
            None,
            lambda one: one.number,
            limit=limit,
            everything=all,
        )
        show_list(found, _DELIVERIES, none="Nothing has been delivered yet.")


@command(app, "revoke", example="cordillera subscription revoke 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --dry-run")
def revoke(
    id: SubscriptionId,
    delete_rows: Annotated[
        bool,
        typer.Option(
            "--delete-rows",
            help="Remove the table in the target, whatever was said about it when the subscription was made.",
        ),
    ] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """End a subscription for good."""
    with open_lake() as lake:
        found = lake.backend.subscription(id).subscription
        table = f"the table {found.target_table} in {found.target}"
        goes = delete_rows or found.copy_at_end == "remove"
        fate = f"{table} would be removed" if goes else f"{table} would stay as it is, unless the contract says else"
        consequence = f"The subscription of {found.consumer} to {found.dataset} would end for good; {fate}."
        if go_ahead(consequence, dry_run=dry_run, yes=yes):
            show_change("Revoked.", lake.backend.revoke_subscription(id, keep_rows=not delete_rows, reason=reason))


def _condition(made: Subscription) -> str:
    return " once you may read it" if made.state == "requested" else ""


def seconds(hours: float | None) -> int | None:
    """Return hours in seconds; None stays None."""
    return None if hours is None else round(of_hours(hours).total_seconds())


def show_change(message: str, changed: Subscription) -> None:
    """Show what became of a subscription."""
    show_outcome(message, changed, _VIEW, answer=str(changed.id))
