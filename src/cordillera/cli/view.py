"""``cordillera view``: queries that are read like datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import (
    DEFAULT_LIMIT,
    DryRun,
    Everything,
    Limit,
    NewDescription,
    Owner,
    Yes,
    parse_pairs,
    read_text,
)
from cordillera.cli.output import Part, View, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce, go_ahead
from cordillera.errors import InvalidInputError

app = typer.Typer(name="view", no_args_is_help=True, help="Queries that are read like datasets.")
_Name = Annotated[str, typer.Argument(metavar="VIEW", help="namespace.view", show_default=False)]
_VIEW: View = {"name": "full_name", "owner": "owner", "created_at": "created_at", "updated_at": "updated_at"}
_DETAILS: View = {
    "name": "view.full_name",
    "owner": "view.owner",
    "description": "description",
    "created_at": "view.created_at",
    "updated_at": "view.updated_at",
    "definition": "version_id",
    "metadata_location": "view.metadata_location",
}
_COLUMNS: View = {"name": "name", "type": "type", "doc": "doc"}
_SQL: View = {"dialect": lambda one: one[0], "sql": lambda one: one[1]}


@command(
    app,
    "create",
    example=(
        'cordillera view create sales.large --sql "SELECT id, total FROM sales.orders WHERE total > 100"\n'
        "cordillera view create sales.large --sql-file large.sql --replace"
    ),
)
def create(
    name: _Name,
    sql: Annotated[str | None, typer.Option("--sql", help="The SELECT, in DuckDB's dialect.")] = None,
    sql_file: Annotated[
        Path | None, typer.Option("--sql-file", metavar="FILE", help="File that holds the SELECT; - for stdin.")
    ] = None,
    dialect: Annotated[
        list[str] | None,
        typer.Option("--dialect", metavar="NAME=SQL", help="The same in another dialect, for engines that read it."),
    ] = None,
    description: NewDescription = None,
    owner: Owner = "",
    replace: Annotated[bool, typer.Option("--replace", help="Give it this definition if it is there.")] = False,
) -> None:
    """Create a view: a query over datasets and views, read like a dataset."""
    if (sql is None) == (sql_file is None):
        raise InvalidInputError("A view needs one query.", hint="Give --sql or --sql-file.")
    text = sql if sql_file is None else read_text(sql_file)
    with open_lake() as lake:
        made = lake.backend.create_view(
            name,
            text or "",
            dialects=parse_pairs(dialect or [], "SQL of a dialect"),
            description=description,
            owner=owner,
            replace=replace,
        )
    columns = ", ".join(column.name for column in made.columns)
    show_outcome(f"The view {name} has the columns {columns}.", made, _DETAILS)


@command(app, "list", example="cordillera view list sales")
def list_views(
    namespace: Annotated[
        str | None, typer.Argument(metavar="NAMESPACE", help="Only of this namespace.", show_default=False)
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List the views by name."""
    with open_lake() as lake:
        found = paged(
            lambda after, size: lake.backend.views(namespace, after, size),
            "",
            lambda one: one.full_name,
            limit=limit,
            everything=all,
        )
        show_list(found, _VIEW, none="There are no views. Create one with: cordillera view create NAME --sql SELECT.")


@command(app, "show", example="cordillera view show sales.large")
def show_view(name: _Name) -> None:
    """Show a view: its columns, and its SQL in every dialect that it has."""
    with open_lake() as lake:
        found = lake.backend.view(name)
    show(found, _DETAILS, [Part("Columns", found.columns, _COLUMNS), Part("SQL", list(found.sql.items()), _SQL)])


@command(app, "rename", example="cordillera view rename sales.large sales.large_orders")
def rename(
    name: _Name,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="namespace.view", show_default=False)],
) -> None:
    """Call a view otherwise, or move it to another namespace; queries that name it have to be written anew."""
    with open_lake() as lake:
        renamed = lake.backend.rename_view(name, new_name)
    show_outcome(f"{name} is called {renamed.full_name} now.", renamed, _VIEW)


@command(app, "drop", example="cordillera view drop sales.large --dry-run")
def drop(name: _Name, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Drop a view; the datasets that it reads stay."""
    with open_lake() as lake:
        found = lake.backend.view(name).view
        if go_ahead(f"The view {found.full_name} would be dropped.", dry_run=dry_run, yes=yes):
            lake.backend.drop_view(name)
            announce(f"Dropped the view {name}.")
