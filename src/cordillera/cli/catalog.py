"""``cordillera catalog``: Iceberg REST catalogs as engines see them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cordillera.cli.command import Place, command
from cordillera.cli.failures import DOCTOR_ERROR
from cordillera.cli.options import parse_pairs, read_text
from cordillera.cli.output import View, show_list

app = typer.Typer(name="catalog", no_args_is_help=True, help="Iceberg REST catalogs, as engines see them.")
_STEPS: View = {"step": "check", "verdict": "verdict", "message": "message", "hint": "hint"}


@command(
    app,
    "verify",
    example=(
        "cordillera catalog verify http://127.0.0.1:8470/iceberg sales.orders --token-file token.txt\n"
        "cordillera catalog verify https://lake.example.com/iceberg sales.orders --client-id engines --write"
    ),
    place=Place.NOWHERE,
)
def verify(
    uri: Annotated[str, typer.Argument(metavar="URI", help="The catalog, as engines are told: what comes before /v1.")],
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Namespace and table, with a dot between.")],
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            show_default=False,
            help="A file with the token, or with the secret of client credentials; by default it is in the environment "
            "variable CORDILLERA_TOKEN.",
        ),
    ] = None,
    client_id: Annotated[
        str, typer.Option("--client-id", metavar="ID", show_default=False, help="The id of client credentials.")
    ] = "",
    warehouse: Annotated[
        str,
        typer.Option("--warehouse", metavar="NAME", show_default=False, help="What the engine calls the warehouse."),
    ] = "",
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="KEY=VALUE", help="A further property of the engine's; may be repeated."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Try also to put a file beside the table's data.")] = False,
) -> None:
    """Go through what an engine does to use a table, and say which step fails."""
    from cordillera.client.catalog_check import EngineConfiguration, verify_catalog
    from cordillera.client.connection import TOKEN_VARIABLE

    token = read_text(token_file).strip() if token_file else os.environ.get(TOKEN_VARIABLE, "")
    given = EngineConfiguration(uri, table, token, client_id, warehouse, parse_pairs(properties or [], "property"))
    steps = verify_catalog(given, write=write)
    show_list(steps, _STEPS, none="There was nothing to check.")
    raise typer.Exit(DOCTOR_ERROR if steps[-1].verdict == "error" else 0)
