"""``cordillera access``: who may do what, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import Part, View, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import InvalidInputError
from cordillera.spec.wanted_grant import WantedGrant

app = typer.Typer(name="access", no_args_is_help=True, help="Who may do what, and why.")
_VIEW: View = {
    "principal": "principal",
    "privilege": "privilege",
    "on": "on",
    "tags": "tag_expression",
    "grant_option": "grant_option",
    "granted_by": "granted_by",
    "deputy_of": "deputy_of",
    "granted_at": "granted_at",
    "expires_at": "expires_at",
    "reason": "reason",
    "row_filter": "row_filter",
    "masks": lambda one: {**one.masks, **one.tag_masks},
}
_EXPLANATION: View = {
    "principal": "principal",
    "privilege": "privilege",
    "on": "on",
    "allowed": "allowed",
    "narrowed": "narrowed",
    "tags": "tags",
}
_REASON: View = {
    "holds": "holds",
    "via": lambda one: " → ".join(one.via),
    "privilege": "privilege",
    "on": "on",
    "tags": "tag_expression",
    "expires_at": "expires_at",
    "note": "note",
    "row_filter": "row_filter",
    "masks": "masks",
}
_OBJECT_HELP = "lake, namespace:NAME, NAMESPACE.DATASET, view:NAMESPACE.VIEW, target:NAME or subscription:ID."
Principal = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help="user:NAME, service:NAME, group:NAME or role:NAME.")
]
Privilege = Annotated[
    str,
    typer.Argument(metavar="PRIVILEGE", help="discover, read, write, alter, create, external_use or administer."),
]
Object = Annotated[str, typer.Argument(metavar="OBJECT", help=_OBJECT_HELP)]
_MASK_HELP = "Of read: what is seen of a column: month, year, last4, hash, constant, null or hidden; or clear."
Tags = Annotated[
    str,
    typer.Option(
        "--tags", metavar="EXPRESSION", help="Of the datasets inside the object, those it is about.", show_default=False
    ),
]
RowsWhere = Annotated[
    str, typer.Option("--where", metavar="SQL", help="Of read: the dataset's rows it is about.", show_default=False)
]
Masks = Annotated[list[str] | None, typer.Option("--mask", metavar="COLUMN=MASK", help=_MASK_HELP)]
TagMasks = Annotated[
    list[str] | None,
    typer.Option("--mask-tagged", metavar="EXPRESSION=MASK", help="The same for columns with such policy tags."),
]


@command(
    app,
    "grant",
    example=(
        "cordillera access grant role:analysts read namespace:sales --days 90 --reason 'quarterly report'\n"
        "cordillera access grant role:analysts read lake --tags 'sensitivity in (public, internal)'\n"
        "cordillera access grant role:eu read sales.orders --where \"region = 'EU'\" --mask email=hash"
    ),
)
def grant(
    principal: Principal,
    privilege: Privilege,
    object: Object,
    tags: Tags = "",
    grant_option: Annotated[bool, typer.Option("--grant-option", help="Whoever has it may grant it on.")] = False,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="For how long; for ever by default.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="What for.", show_default=False)] = "",
    where: RowsWhere = "",
    mask: Masks = None,
    mask_tagged: TagMasks = None,
) -> None:
    """Give somebody a privilege on an object and what is inside it, or renew what he has."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    wanted = WantedGrant(
        principal, privilege, object, tags=tags, grant_option=grant_option, expires_at=expires_at, reason=reason,
        row_filter=where, masks=parse_masks("--mask", mask), tag_masks=parse_masks("--mask-tagged", mask_tagged),
    )  # fmt: skip
    with open_lake() as lake:
        made = lake.backend.grant(wanted)
    show_outcome(f"Granted {privilege} on {made.on} to {made.principal}.", made, _VIEW)


@command(app, "revoke", example="cordillera access revoke role:analysts read namespace:sales")
def revoke(
    principal: Principal,
    privilege: Privilege,
    object: Object,
    tags: Tags = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.", show_default=False)] = "",
) -> None:
    """Take a privilege back; it ends with the next call."""
    with open_lake() as lake:
        lake.backend.revoke(principal, privilege, object, tags=tags, reason=reason)
    announce(f"Revoked {privilege} on {object} from {principal}.")


@command(app, "list", example="cordillera access list --on namespace:sales")
def list_grants(
    on: Annotated[str, typer.Option("--on", metavar="OBJECT", help=_OBJECT_HELP, show_default=False)] = "",
    principal: Annotated[
        str, typer.Option("--principal", help="Only those of one principal.", show_default=False)
    ] = "",
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List grants: your own, and those on what you administer. Ended ones are among them."""
    with open_lake() as lake:
        found = paged(
            lambda after, most: lake.backend.grants(on=on, principal=principal, after=after, limit=most),
            None,
            lambda one: one.id,
            limit=limit,
            everything=all,
        )
        show_list(found, _VIEW, none="There are no grants.")


@command(app, "who", example="cordillera access who sales.orders")
def who(object: Object, limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the grants that reach an object: on itself, and on what it is inside of."""
    with open_lake() as lake:
        found = paged(
            lambda after, most: lake.backend.holders(object, after=after, limit=most),
            None,
            lambda one: one.id,
            limit=limit,
            everything=all,
        )
        show_list(found, _VIEW, none=f"Nobody was granted anything on {object}; its owner administers it.")


@command(app, "explain", example="cordillera access explain user:ana read sales.orders")
def explain(principal: Principal, privilege: Privilege, object: Object) -> None:
    """Tell whether somebody holds a privilege on an object, what gives it to him, and what nearly does."""
    with open_lake() as lake:
        found = lake.backend.explain_access(principal, privilege, object)
    show(found, _EXPLANATION, [Part("Reasons", found.reasons, _REASON)])


def parse_masks(option: str, given: list[str] | None) -> dict[str, str]:
    """Read masks; what they are for may have an equals sign itself, a mask has none."""
    pairs = [one.rpartition("=") for one in given or ()]
    incomplete = next((mask for what, _, mask in pairs if not what), None)
    if incomplete is not None:
        raise InvalidInputError(f"{option} {incomplete!r} is not complete.", hint="Write, for example, email=hash.")
    return {what.strip(): mask.strip() for what, _, mask in pairs}
