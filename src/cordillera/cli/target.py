"""``cordillera target``: destinations that subscriptions keep equal with datasets."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit, TargetName, parse_pairs
from cordillera.cli.output import View, show, show_list, show_outcome, show_text
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce
from cordillera.spec.external_schema import DEFAULT_ROLE

app = typer.Typer(name="target", no_args_is_help=True, help="A configured destination, such as a PostgreSQL database.")
_KIND_HELP = (
    "postgres, redshift, clickhouse, mariadb, duckdb, iceberg, glue, snowflake_iceberg, snowflake, kafka, parquet, "
    "tsv, or a kind that a package adds."
)
_VIEW: View = {"name": "name", "kind": "kind", "config": "config", "owner": "owner", "created_at": "created_at"}


@command(
    app,
    "create",
    example=(
        "cordillera target create warehouse postgres dsn='host=db dbname=bi user=lake' password_env=BI_PASSWORD\n"
        "cordillera target create analysts duckdb path=/data/analysts.duckdb\n"
        "cordillera target create berlin iceberg uri=https://lake.example.com/iceberg namespace=copies "
        "token_env=BERLIN_TOKEN\n"
        "cordillera target create athena glue database=lake region=eu-central-1"
    ),
)
def create(
    name: TargetName,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=_KIND_HELP)],
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Settings of the kind.")] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not connect to it first.")] = False,
) -> None:
    """Configure a target, and make sure that it can be reached.

    Secrets are not stored: name the environment variable that holds the password, as password_env. A server takes whole
    paths only; in the lake's folder, a relative path counts from where the command runs.
    """
    config = parse_pairs(settings or [], "setting")
    with open_lake() as lake:
        made = lake.backend.create_target(name, kind, config, check=not no_check)
    show_outcome(f"Created the {kind} target {name}.", made, _VIEW)


@command(app, "list", example="cordillera target list")
def list_targets(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the targets by name."""
    with open_lake() as lake:
        found = paged(lake.backend.targets, "", lambda one: one.name, limit=limit, everything=all)
        show_list(found, _VIEW, none="There are no targets. Create one with: cordillera target create NAME KIND.")


@command(app, "show", example="cordillera target show warehouse")
def show_target(name: TargetName) -> None:
    """Show a target."""
    with open_lake() as lake:
        show(lake.backend.target(name), _VIEW)


@command(app, "check", example="cordillera target check warehouse")
def check(name: TargetName) -> None:
    """Connect to a target and make sure that it could be written, changing nothing."""
    with open_lake() as lake:
        lake.backend.check_target(name)
        found = lake.backend.target(name)
    show_outcome(f"The target {name} can be reached and written.", found, _VIEW)


@command(
    app,
    "external-schema",
    example=(
        "cordillera target external-schema athena lake --reader analysts "
        "--iam-role arn:aws:iam::123456789012:role/spectrum\n"
        "cordillera target external-schema snowflake --reader analysts "
        "--iam-role arn:aws:iam::123456789012:role/snowflake"
    ),
)
def external_schema(
    name: TargetName,
    schema: Annotated[
        str, typer.Argument(metavar="SCHEMA", help="What the schema is to be called in Redshift; Snowflake's is known.")
    ] = "",
    iam_role: Annotated[
        str, typer.Option("--iam-role", help="ARN of the role that reads; default is Redshift's own.")
    ] = DEFAULT_ROLE,
    readers: Annotated[
        list[str] | None, typer.Option("--reader", help="A role there that may read it; may be given again.")
    ] = None,
) -> None:
    """Print the SQL by which a warehouse reads what a target points at; nothing is executed.

    Amazon Redshift Spectrum reads what a glue target points at, Snowflake the tables of a snowflake_iceberg target.
    """
    with open_lake() as lake:
        statements = lake.external_schema(name, schema, iam_role=iam_role, readers=readers or ())
    show_text("".join(f"{statement};\n" for statement in statements), statements)


@command(app, "delete", example="cordillera target delete warehouse")
def delete(name: TargetName) -> None:
    """Delete a target that no subscription uses; what was delivered stays there."""
    with open_lake() as lake:
        lake.backend.delete_target(name)
    announce(f"Deleted the target {name}.")
