"""``cordillera lake-key``: the keys that the lake signs with."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.spec.lake_key import KeyPurpose

app = typer.Typer(name="lake-key", no_args_is_help=True, help="The keys that the lake signs with.")
_VIEW: View = {
    "id": "id",
    "purpose": "purpose",
    "state": "state",
    "created_at": "created_at",
    "retires_at": "retires_at",
}


@command(app, "list", example="cordillera lake-key list")
def list_keys(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the lake's own keys, without their secrets."""
    with open_lake() as lake:
        found = paged(lake.backend.lake_keys, None, lambda one: one.id, limit=limit, everything=all)
        show_list(found, _VIEW, none="The lake has no keys yet; each is made when it is first needed.")


@command(app, "rotate", example="cordillera lake-key rotate access-tokens --keep-hours 2")
def rotate(
    purpose: Annotated[str, typer.Argument(metavar="PURPOSE", help=f"What for: {', '.join(KeyPurpose)}.")],
    keep_hours: Annotated[
        int, typer.Option("--keep-hours", min=0, help="For how long what the old key has signed still holds.")
    ] = 24,
) -> None:
    """Let another key sign for a purpose from now on, in every process of the lake."""
    with open_lake() as lake:
        made = lake.backend.rotate_lake_key(purpose, keep_hours=keep_hours)
    kept = f"holds for {keep_hours} h" if keep_hours else "holds no more"
    show_outcome(f"The key {made.id} signs for {made.purpose}; what the one before it has signed {kept}.", made, _VIEW)


@command(app, "retire", example="cordillera lake-key retire 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def retire(id: Annotated[UUID, typer.Argument(metavar="ID", help="The key's id.")]) -> None:
    """Let nothing hold any more that a key has signed before another took its place."""
    with open_lake() as lake:
        found = lake.backend.retire_lake_key(id)
    show_outcome(f"What the key {found.id} has signed for {found.purpose} holds no more.", found, _VIEW)
