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
from cordillera.cli.terminal import announce, go_ahead
from cordillera.errors import TargetDriftError
from cordillera.spec.delivery_trigger import ON_COMMIT
from cordillera.spec.subscription import MOST_DAYS, SubscriptionMode
from cordillera.spec.wish_change import WishChange, in_words

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
_SKIPS: View = {
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
    "bytes": "bytes",
    "seconds": "seconds",
    "attempt": "attempt",
    "worker": "worker",
    "paid_by": "cost_owner",
}
_VERIFICATION: View = {
    "equal": "equal",
    "snapshot": number("sequence_number"),
    "rows_lake": "rows_lake",
    "rows_target": "rows_target",
    "checksum_lake": "checksum_lake",
    "checksum_target": "checksum_target",
    "rows_missing": "rows_missing",
    "rows_unexpected": "rows_unexpected",
    "rows_different": "rows_different",
    "columns": "columns",
    "missing": "missing",
    "unexpected": "unexpected",
    "different": "different",
    "complete": "complete",
    "differences": "differences",
}
_REPAIR: View = {
    "rows_restored": "rows_restored",
    "rows_removed": "rows_removed",
    "equal": "verified.equal",
    "snapshot": number("verified.sequence_number"),
    "rows_lake": "verified.rows_lake",
    "rows_target": "verified.rows_target",
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
        SubscriptionMode, typer.Option("--mode", help="What the table holds: the rows as they are, or every change.")
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
    with open_lake() as lake:
        made = lake.backend.subscribe(
            dataset,
            target,
            table=table,
            consumer=consumer,
            purpose=purpose,
            columns=split_names(columns),
            row_filter=where,
            verify_every_seconds=_seconds(verify_every),
            cost_owner=cost_owner,
            days=days,
            copy_at_end="remove" if remove_at_end else "freeze",
            mode=mode,
            trigger=trigger,
        )
    _show_change(f"{made.dataset} will be kept in {made.target} as {made.target_table}{_condition(made)}.", made)


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
        show(found, _DETAILS, [Part("Skipped", found.skips, _SKIPS)])


@command(app, "pause", example="cordillera subscription pause 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def pause(id: SubscriptionId, reason: Reason = "") -> None:
    """Stop deliveries; the target stays as it is."""
    with open_lake() as lake:
        _show_change("Paused.", lake.backend.pause_subscription(id, reason=reason))


@command(app, "resume", example="cordillera subscription resume 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def resume(id: SubscriptionId, reason: Reason = "") -> None:
    """Deliver again, beginning with everything missed."""
    with open_lake() as lake:
        _show_change("Resumed.", lake.backend.resume_subscription(id, reason=reason))


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
    _show_change(f"The subscription {ends}.", changed)


@command(
    app,
    "change",
    example=(
        "cordillera subscription change 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --columns id,total --where 'total > 9'\n"
        "cordillera subscription change 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --trigger '0 6 * * *' --cost-owner team:bi"
    ),
)
def change(
    id: SubscriptionId,
    mode: Annotated[
        SubscriptionMode | None, typer.Option("--mode", help="What the table is to hold.", show_default=False)
    ] = None,
    trigger: Annotated[
        str | None,
        typer.Option("--trigger", help="commit, completion, or a cron expression in UTC.", show_default=False),
    ] = None,
    columns: Columns = None,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="SQL", help="SQL condition on the rows; '' for all.", show_default=False),
    ] = None,
    cost_owner: Annotated[
        str | None, typer.Option("--cost-owner", help="Who pays for it; '' for the consumer.", show_default=False)
    ] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Change what a subscription is to. Other columns ('' for all), rows or another mode bring everything anew.

    What was approved for an access request is widened by who administers the dataset only.
    """
    wanted = WishChange(mode, trigger, None if columns is None else tuple(split_names(columns)), where, cost_owner)
    with open_lake() as lake:
        found = lake.backend.subscription(id).subscription
        wished = wanted.applied_to(found)
        consequence = f"The subscription to {found.dataset} would change: {in_words(found, wished) or 'nothing'}."
        lost = found.mode is SubscriptionMode.LOG is not wished.mode
        if lost:
            consequence += f" The log in {found.target} would be lost."
        if not (lost or dry_run) or go_ahead(consequence, dry_run=dry_run, yes=yes):
            _show_change("Changed.", lake.backend.change_subscription(id, wanted, reason=reason))


@command(
    app,
    "skip",
    example=(
        "cordillera subscription skip 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --last 7 --reason late --dry-run\n"
        "cordillera subscription skip 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --first 6 --last 7 --reason late --yes"
    ),
)
def skip(
    id: SubscriptionId,
    last: Annotated[int, typer.Option("--last", min=1, help="The last snapshot that is left out.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    first: Annotated[
        int | None,
        typer.Option(
            "--first",
            min=1,
            help="The first; by default the one behind that which the target holds.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Leave out the changes of some snapshots. A mirror differs from the lake then, until it is repaired."""
    with open_lake() as lake:
        found = lake.backend.subscription(id).subscription
        begins = first or (found.cursor_sequence or 0) + 1
        consequence = f"What snapshots {begins:,} to {last:,} changed would not be delivered to {found.target}."
        if go_ahead(consequence, dry_run=dry_run, yes=yes):
            made = lake.backend.skip_snapshots(id, last, first=first, reason=reason)
            show_outcome(f"To be skipped: {made.snapshots}.", made, _SKIPS, answer=made.state)


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
    """Show what a subscription's deliveries did and took, newest first: rows, bytes, seconds, snapshots, attempt."""
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
            _show_change("Revoked.", lake.backend.revoke_subscription(id, keep_rows=not delete_rows, reason=reason))


@command(app, "verify", example="cordillera subscription verify 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def verify(id: SubscriptionId) -> None:
    """Compare the target with the lake by keyed checksum; the exit code is 7 when they differ."""
    with open_lake() as lake:
        outcome = lake.backend.verify_subscription(id)
    show(outcome, _VERIFICATION, [Part("Skipped", outcome.skips, _SKIPS)])
    if not outcome.equal:
        raise TargetDriftError(
            f"The target does not hold the rows of snapshot {outcome.sequence_number}.",
            hint="Somebody else may have written to its table. To put the rows right that differ: "
            f"cordillera subscription repair {id}",
        )
    announce("The target equals the lake.")


@command(app, "repair", example="cordillera subscription repair 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def repair(id: SubscriptionId) -> None:
    """Put right the rows in which the target differs from the lake, and no others; exit code 7 if it differs still."""
    with open_lake() as lake:
        outcome = lake.backend.repair_subscription(id)
    show(outcome, _REPAIR)
    if not outcome.verified.equal:
        raise TargetDriftError(
            f"The target still does not hold the rows of snapshot {outcome.verified.sequence_number}.",
            hint="Somebody else is writing to its table; stop that, then repair it again.",
        )
    announce("The target equals the lake.")


@command(
    app,
    "schedule",
    example=(
        "cordillera subscription schedule 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 --verify-every 24\n"
        "cordillera subscription schedule 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3"
    ),
)
def schedule(id: SubscriptionId, verify_every: VerifyEvery = None) -> None:
    """Say how often the target is compared with the lake; without --verify-every, not by itself any more."""
    with open_lake() as lake:
        changed = lake.backend.schedule_verification(id, _seconds(verify_every))
    told = "is not verified by itself" if verify_every is None else f"is verified every {verify_every:g} hours"
    _show_change(f"The target {told}.", changed)


def _condition(made: Subscription) -> str:
    return " once you may read it" if made.state == "requested" else ""


def _seconds(hours: float | None) -> int | None:
    return None if hours is None else round(hours * 3600)


def _show_change(message: str, changed: Subscription) -> None:
    show_outcome(message, changed, _VIEW, answer=str(changed.id))
