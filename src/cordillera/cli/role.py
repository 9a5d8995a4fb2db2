"""``cordillera role``: who is in which group or role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce

app = typer.Typer(name="role", no_args_is_help=True, help="Groups and roles: who is in them.")
_VIEW: View = {
    "role": "container",
    "member": "member",
    "added_by": "added_by",
    "added_at": "added_at",
    "expires_at": "expires_at",
}
Role = Annotated[str, typer.Argument(metavar="ROLE", help="role:NAME or group:NAME.")]
Member = Annotated[
    str, typer.Argument(metavar="MEMBER", help="user:NAME, service:NAME, or another group:NAME or role:NAME.")
]


@dataclass(frozen=True, slots=True)
class _Named:
    name: str


@command(app, "add", example="cordillera role add role:analysts user:ana")
def add(
    role: Role,
    member: Member,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="For how long; for ever by default.", show_default=False)
    ] = None,
) -> None:
    """Put somebody, or another group or role, into a group or role, or renew that. It needs not be made first."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    with open_lake() as lake:
        made = lake.backend.add_member(role, member, expires_at=expires_at)
    show_outcome(f"{made.member} is in {made.container}.", made, _VIEW)


@command(app, "remove", example="cordillera role remove role:analysts user:ana")
def remove(role: Role, member: Member) -> None:
    """Take somebody out of a group or role."""
    with open_lake() as lake:
        lake.backend.remove_member(role, member)
    announce(f"{member} is no longer in {role}.")


@command(app, "show", example="cordillera role show role:analysts")
def show_role(role: Role, limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the members of a group or role."""
    with open_lake() as lake:
        found = paged(
            lambda after, most: lake.backend.members(role, after, most),
            "",
            lambda one: one.member,
            limit=limit,
            everything=all,
        )
        show_list(found, _VIEW, none=f"Nobody is in {role}.")


@command(app, "list", example="cordillera role list")
def list_roles(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the groups and roles that have members."""
    with open_lake() as lake:
        found = paged(lake.backend.roles, "", lambda one: one, limit=limit, everything=all)
        show_list((_Named(name) for name in found), {"name": "name"}, none="No group or role has members.")
