"""``cordillera token``: API tokens, by which a server knows who is calling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce

if TYPE_CHECKING:  # they bring libraries that take long to load
    from cordillera.access.service import NewToken
    from cordillera.ports.metadata.access import Token

app = typer.Typer(name="token", no_args_is_help=True, help="API tokens, by which a server knows who is calling.")
_VIEW: View = {
    "id": "id",
    "name": "name",
    "principal": "principal",
    "created_at": "created_at",
    "expires_at": "expires_at",
    "last_used_at": "last_used_at",
    "read_only": "read_only",
}
_SIGNING_KEY: View = {"access_key_id": "access_key_id", "secret_access_key": "secret_access_key"}
_NEW: View = {"secret": "secret", "id": "token.id", "name": "token.name", "principal": "token.principal"}


@command(app, "create", example="cordillera token create ci --days 30 > ~/.config/cordillera-token")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    principal: Annotated[
        str, typer.Option("--principal", help="Who calls with it; by default you.", show_default=False)
    ] = "",
    days: Annotated[int, typer.Option("--days", min=1, help="How long it is valid.")] = 90,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="It is valid until it is revoked.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nothing can be changed with it.")] = False,
) -> None:
    """Make an API token. Its secret is printed this once and cannot be shown again."""
    with open_lake() as lake:
        lasts = None if unlimited else days
        made = lake.backend.create_token(name, principal=principal, days=lasts, read_only=read_only)
    _show_new(f"Made the token {name} for {made.token.principal}.", made)


@command(app, "rotate", example="cordillera token rotate 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3 > token.txt")
def rotate(
    id: Annotated[UUID, typer.Argument(metavar="ID", help="The token's id.")],
    keep_hours: Annotated[
        int, typer.Option("--keep-hours", min=0, help="For how long the old secret is good too.")
    ] = 24,
) -> None:
    """Give an API token a new secret, printed this once. The old one is good for a while, to be replaced everywhere."""
    with open_lake() as lake:
        made = lake.backend.rotate_token(id, keep_hours=keep_hours)
    _show_new(f"The token {made.token.name} of {made.token.principal} has a new secret.", made)


@command(app, "list", example="cordillera token list")
def list_tokens(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List API tokens, without their secrets."""
    with open_lake() as lake:
        found = paged(lake.backend.tokens, None, lambda one: one.id, limit=limit, everything=all)
        show_list(map(_public, found), _VIEW, none="There are no tokens.")


@command(app, "signing-key", example="cordillera token signing-key 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def signing_key(id: Annotated[UUID, typer.Argument(metavar="ID", help="The token's id.")]) -> None:
    """Show what an engine signs its requests with in a token's name (AWS Signature Version 4)."""
    with open_lake() as lake:
        found = lake.backend.signing_key(id)
    show_outcome(
        "Whoever has this can do what the token can, until it is revoked.",
        found,
        _SIGNING_KEY,
        answer=f"access key id      {found.access_key_id}\nsecret access key  {found.secret_access_key}",
    )


@command(app, "revoke", example="cordillera token revoke 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def revoke(id: Annotated[UUID, typer.Argument(metavar="ID", help="The token's id.")]) -> None:
    """Make an API token useless at once."""
    with open_lake() as lake:
        lake.backend.revoke_token(id)
    announce(f"Revoked the token {id}.")


def _show_new(said: str, made: NewToken) -> None:
    shown = replace(made, token=_public(made.token))
    show_outcome(f"{said} Keep it safe: it is shown only now.", shown, _NEW, answer=made.secret)


def _public(token: Token) -> Token:
    return replace(token, hash="", previous_hash=None)
