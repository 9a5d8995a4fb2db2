"""``cordillera subscription change`` and ``skip``: what a subscription is to, and what it is to leave out."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import Columns, DryRun, SubscriptionId, Yes, split_names
from cordillera.cli.output import show_outcome
from cordillera.cli.session import open_lake
from cordillera.cli.subscription import SKIPS, Reason, app, show_change
from cordillera.cli.terminal import go_ahead
from cordillera.spec.subscription import SubscriptionMode
from cordillera.spec.wish_change import WishChange, in_words


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
        lost = found.mode is not SubscriptionMode.MIRROR and found.mode is not wished.mode
        if lost:
            consequence += f" The {found.mode} in {found.target} would be lost."
        if not (lost or dry_run) or go_ahead(consequence, dry_run=dry_run, yes=yes):
            show_change("Changed.", lake.backend.change_subscription(id, wanted, reason=reason))


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
            show_outcome(f"To be skipped: {made.snapshots}.", made, SKIPS, answer=made.state)


@command(
    app,
    "withdraw-skip",
    example="cordillera subscription withdraw-skip 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 4 --reason corrected",
)
def withdraw_skip(
    id: SubscriptionId,
    number: Annotated[int, typer.Argument(min=1, help="The number of the skip, as subscription show has it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.", show_default=False)] = "",
) -> None:
    """Deliver all the same what was to be skipped, as long as deliveries have not come to it."""
    with open_lake() as lake:
        found = lake.backend.withdraw_skip(id, number, reason=reason)
    show_outcome(f"Not to be skipped any more: {found.snapshots}.", found, SKIPS)
