"""``cordillera subscription costs``: what deliveries cost whom."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, show_list
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.subscription import app
from cordillera.spec.delivery_cost import CostQuery, CostsBy

_SUMS: View = {"deliveries": "deliveries", "rows": "rows", "bytes": "bytes", "seconds": "seconds"}
_BY_PAYER: View = {"month": "month", "paid_by": "cost_owner", **_SUMS}
_BY_SUBSCRIPTION: View = {
    "month": "month",
    "paid_by": "cost_owner",
    "id": "subscription_id",
    "dataset": "dataset",
    "target": "target",
    **_SUMS,
}


@command(
    app,
    "costs",
    example=(
        "cordillera subscription costs\n"
        "cordillera subscription costs --by subscription --since 2026-01 --until 2026-03 --paid-by team:bi"
    ),
)
def costs(
    by: Annotated[CostsBy, typer.Option("--by", help="What is added up.")] = CostsBy.PAYER,
    since: Annotated[
        str, typer.Option("--since", metavar="MONTH", help="The first month; by default this one.", show_default=False)
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="MONTH", help="The last month.", show_default=False)] = "",
    paid_by: Annotated[
        str, typer.Option("--paid-by", help="Only what this cost owner pays for.", show_default=False)
    ] = "",
    subscription: Annotated[
        UUID | None, typer.Option("--subscription", help="Only of this subscription.", show_default=False)
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """Show what deliveries cost whom, by month: how many there were, their rows, bytes and seconds.

    They are the costs of subscriptions that you may read; months are written as 2026-11, and are those of UTC.
    """
    asked = CostQuery(since, until, by, paid_by, subscription)
    with open_lake() as lake:
        found = paged(
            lambda after, size: lake.backend.delivery_costs(asked, after, size),
            "",
            lambda one: one.place,
            limit=limit,
            everything=all,
        )
        view = _BY_SUBSCRIPTION if by is CostsBy.SUBSCRIPTION else _BY_PAYER
        show_list(found, view, none="Nothing has been delivered in that time.")
