"""``cordillera namespace``: a domain's or team's space, which owns datasets."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import (
    DEFAULT_LIMIT,
    Description,
    DryRun,
    Everything,
    Limit,
    NamespaceName,
    NewDescription,
    NewOwner,
    Owner,
    Yes,
    parse_pairs,
)
from cordillera.cli.output import View, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce, go_ahead
from cordillera.errors import InvalidInputError

app = typer.Typer(name="namespace", no_args_is_help=True, help="A domain's or team's space; it owns datasets.")
_VIEW: View = {"name": "name", "owner": "owner", "description": "description", "created_at": "created_at"}
_WHOLE: View = {**_VIEW, "properties": "properties"}
_Properties = Annotated[list[str] | None, typer.Option("--property", metavar="KEY=VALUE", help="What else to note.")]
_Changes = Annotated[
    list[str] | None,
    typer.Option("--property", metavar="KEY=VALUE", help="Property to set; KEY= removes it."),
]


@command(app, "create", example='cordillera namespace create sales --owner team-sales --description "Orders"')
def create(name: NamespaceName, owner: Owner = "", description: Description = "", property: _Properties = None) -> None:
    """Create a namespace."""
    noted = parse_pairs(property or [], "property")
    with open_lake() as lake:
        made = lake.backend.create_namespace(name, owner=owner, description=description, properties=noted)
    show_outcome(f"Created the namespace {name}, owned by {made.owner}.", made, _WHOLE)


@command(app, "list", example="cordillera namespace list --output json")
def list_namespaces(
    parent: Annotated[
        str | None, typer.Option(help="Only those directly within this one; empty for those within none.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List the namespaces by name."""
    with open_lake() as lake:
        fetch = partial(lake.backend.namespaces, parent=parent)
        found = paged(fetch, "", lambda one: one.name, limit=limit, everything=all)
        show_list(found, _VIEW, none="There are no namespaces. Create one with: cordillera namespace create NAME.")


@command(app, "show", example="cordillera namespace show sales")
def show_namespace(name: NamespaceName) -> None:
    """Show a namespace."""
    with open_lake() as lake:
        show(lake.backend.namespace(name), _WHOLE)


@command(app, "update", example="cordillera namespace update sales --owner team-commerce --property cost-center=4711")
def update(
    name: NamespaceName, owner: NewOwner = None, description: NewDescription = None, property: _Changes = None
) -> None:
    """Change a namespace's owner, description or properties; what is not given stays."""
    changes = {key: value or None for key, value in parse_pairs(property or [], "property").items()}
    if owner is None and description is None and not changes:
        raise InvalidInputError("There is nothing to change.", hint="Give --owner, --description or --property.")
    with open_lake() as lake:
        changed = lake.backend.update_namespace(name, owner=owner, description=description, properties=changes)
    show_outcome(f"Updated the namespace {name}.", changed, _WHOLE)


@command(app, "delete", example="cordillera namespace delete scratch --dry-run")
def delete(name: NamespaceName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Delete a namespace that holds no datasets, no views and no namespaces."""
    with open_lake() as lake:
        held = [found.full_name for found in lake.backend.datasets(lake.backend.namespace(name).name, limit=5)]
        held += [found.full_name for found in lake.backend.views(name, limit=5)]
        held += [found.name for found in lake.backend.namespaces(limit=5, parent=name)]
        consequence = (
            f"Deleting the namespace {name} would be refused: it holds {', '.join(held)}."
            if held
            else f"The namespace {name}, which holds nothing, would be deleted."
        )
        if go_ahead(consequence, dry_run=dry_run, yes=yes):
            lake.backend.delete_namespace(name)
            announce(f"Deleted the namespace {name}.")
