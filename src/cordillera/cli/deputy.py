"""``cordillera deputy``: who decides for an owner who is away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.spec.deputy import MOST_DAYS, Deputy, WantedDeputy, end_after, parse_duties

app = typer.Typer(name="deputy", no_args_is_help=True, help="Who decides for an owner who is away.")
_VIEW: View = {
    "id": "id",
    "owner": "owner",
    "deputy": "deputy",
    "duties": "duties",
    "on": "on",
    "starts_at": "starts_at",
    "ends_at": "ends_at",
    "reason": "reason",
    "named_by": "named_by",
}
_WHO = "user:NAME, service:NAME, group:NAME or role:NAME."


@command(
    app,
    "add",
    example=(
        "cordillera deputy add user:ben --days 14 --reason 'on leave'\n"
        "cordillera deputy add user:ben --days 14 --on namespace:sales --duty access_requests --owner role:sales"
    ),
)
def add(
    deputy: Annotated[str, typer.Argument(metavar="DEPUTY", help=_WHO)],
    days: Annotated[int, typer.Option("--days", min=1, max=MOST_DAYS, help="For how long.")],
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="From which day on, UTC; from now on.", show_default=False),
    ] = None,
    owner: Annotated[
        str, typer.Option("--owner", help="For whom; for you, if it is left out.", show_default=False)
    ] = "",
    duty: Annotated[
        list[str] | None,
        typer.Option(
            "--duty", help="access_requests, contract_proposals or contract_overrides; may be given several times. All."
        ),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="OBJECT", help="About what is inside namespace:NAME or NAMESPACE.DATASET.")
    ] = "lake",
    reason: Annotated[str, typer.Option("--reason", help="Why.", show_default=False)] = "",
) -> None:
    """Have somebody decide for you, beside you, for some days; those who administer the lake do so for others too."""
    starts_at = start.replace(tzinfo=UTC) if start else None
    ends_at = end_after(starts_at or datetime.now(UTC), days)
    wanted = WantedDeputy(deputy, ends_at, owner, parse_duties(duty or ()), on, starts_at, reason)
    with open_lake() as lake:
        made = lake.backend.add_deputy(wanted)
    message = f"{made.deputy} is a deputy of {made.owner} until {made.ends_at:%Y-%m-%d %H:%M} UTC."
    show_outcome(message, made, _VIEW, answer=str(made.id))


@command(app, "list", example="cordillera deputy list --owner user:olga")
def list_deputies(
    owner: Annotated[str, typer.Option("--owner", help="Only those of one owner.", show_default=False)] = "",
    deputy: Annotated[str, typer.Option("--deputy", help="Only what somebody is.", show_default=False)] = "",
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List deputies, those whose time is over too: yours, and those that you are."""
    with open_lake() as lake:

        def fetch(after: UUID | None, most: int) -> list[Deputy]:
            return lake.backend.deputies(owner=owner, deputy=deputy, after=after, limit=most)

        found = paged(fetch, None, lambda one: one.id, limit=limit, everything=all)
        show_list(found, _VIEW, none="There are no deputies.")


@command(app, "end", example="cordillera deputy end 0b9a1f4e-8c1d-4d0e-9a55-3f1a2b7c9d10")
def end(id: Annotated[UUID, typer.Argument(metavar="ID", help="The deputy's id.")]) -> None:
    """Let somebody stand in no more, from the next call on."""
    with open_lake() as lake:
        ended = lake.backend.end_deputy(id)
    show_outcome(f"{ended.deputy} is no deputy of {ended.owner} any more.", ended, _VIEW)
