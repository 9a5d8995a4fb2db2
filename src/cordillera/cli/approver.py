"""``cordillera approver``: who has to approve access requests for what has which policy tags."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce

app = typer.Typer(
    name="approver", no_args_is_help=True, help="Who has to approve access to what has which policy tags."
)
_VIEW: View = {"tags": "tag_expression", "approver": "approver", "added_by": "added_by", "added_at": "added_at"}
Tags = Annotated[str, typer.Argument(metavar="EXPRESSION", help="A tag expression, like 'sensitivity = pii'.")]
Approver = Annotated[
    str, typer.Argument(metavar="APPROVER", help="user:NAME, group:NAME or role:NAME; any member is enough.")
]


@command(app, "add", example="cordillera approver add 'sensitivity = pii' group:privacy")
def add(tags: Tags, approver: Approver) -> None:
    """Have somebody approve requests for what has certain policy tags, beside those who administer it."""
    with open_lake() as lake:
        made = lake.backend.add_approver(tags, approver)
    show_outcome(f"{made.approver} approves requests where {made.tag_expression}.", made, _VIEW)


@command(app, "remove", example="cordillera approver remove 'sensitivity = pii' group:privacy")
def remove(tags: Tags, approver: Approver) -> None:
    """Have somebody approve no more what has certain policy tags."""
    with open_lake() as lake:
        lake.backend.remove_approver(tags, approver)
    announce(f"{approver} no longer has to approve requests where {tags}.")


@command(app, "list", example="cordillera approver list")
def list_approvers() -> None:
    """List who has to approve requests for what has which policy tags."""
    with open_lake() as lake:
        show_list(lake.backend.approvers(), _VIEW, none="Only those who administer an object approve requests for it.")
