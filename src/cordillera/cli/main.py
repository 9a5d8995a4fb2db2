"""The command line's entry point."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import typer

from cordillera.cli import (
    access,
    access_request,  # noqa: F401 - registers commands
    approver,
    branch,
    catalog,
    completion,
    contract,
    contract_candidate,  # noqa: F401 - registers commands
    contract_proposal,  # noqa: F401 - registers commands
    dataset,
    dataset_consumers,  # noqa: F401 - registers commands
    dataset_create,  # noqa: F401 - registers commands
    dataset_evolve,  # noqa: F401 - registers commands
    dataset_maintenance,  # noqa: F401 - registers commands
    dataset_rows,  # noqa: F401 - registers commands
    dataset_transaction,  # noqa: F401 - registers commands
    demo,
    deputy,
    destination,
    job,
    lake,
    lake_key,
    lineage,
    login,
    namespace,
    operations,
    policy_tag,
    role,
    run,
    snapshot,
    subscription,
    subscription_change,  # noqa: F401 - registers commands
    subscription_costs,  # noqa: F401 - registers commands
    subscription_verification,  # noqa: F401 - registers commands
    target,
    token,
    view,
)
from cordillera.cli.command import root_options
from cordillera.cli.failures import EXIT_CODES, report
from cordillera.cli.session import OutputFormat, Session, new_session

_EPILOG = "\n\n".join(
    [
        "\n".join(["[bold]Exit codes[/bold]", *(f"{code:>5}  {meaning}" for code, meaning in EXIT_CODES)]),
        "\n".join(
            [
                "[bold]Environment[/bold]",
                "  Every option has a variable: those above as shown, the others like",
                "  CORDILLERA_DATASET_WRITE_OPERATION for --operation of dataset write.",
                "  What is typed goes first. NO_COLOR is respected.",
            ]
        ),
        "Results go to stdout; messages, progress and errors go to stderr.",
    ]
)
_PANELS = {
    "Datasets": [
        namespace.app,
        dataset.app,
        view.app,
        snapshot.app,
        branch.app,
        branch.tag_app,
        contract.app,
        completion.app,
        lineage.app,
    ],
    "Delivery and work": [target.app, subscription.app, job.app, run.app],
    "Access": [access.app, approver.app, deputy.app, role.app, policy_tag.app, token.app, lake_key.app],
    "Operations": [
        catalog.app,
        operations.event_app,
        destination.app,
        operations.audit_app,
        operations.task_app,
        demo.app,
    ],
}
app = typer.Typer(
    name="cordillera",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
_built = cache(typer.main.get_command)  # a tenth of a second
app.add_typer(lake.app)
app.add_typer(login.app)
for _panel, _nouns in _PANELS.items():
    for _noun in _nouns:
        app.add_typer(_noun, rich_help_panel=_panel)


def _show_version(wanted: bool) -> None:
    if wanted:
        from cordillera import __version__

        print(f"cordillera {__version__}")
        raise typer.Exit


@app.callback()
@root_options
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the release and end.")
    ] = False,
) -> None:
    """A data lake with keyed datasets, contracts, subscriptions and lineage, in a folder or behind a server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: What follows the program's name; by default what the shell gave.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with new_session(Session(output=_output_wanted(given), debug="--debug" in given)):
        try:
            code = _built(app).main(given, prog_name="cordillera", standalone_mode=False)
        except Exception as error:
            return report(error)
    return code if isinstance(code, int) else 0


def _output_wanted(arguments: Sequence[str]) -> OutputFormat:
    """Return the output format as far as it can be told before the command line is understood."""
    wanted = os.environ.get("CORDILLERA_OUTPUT", "")
    for name, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if name in ("--output", "-o"):
            wanted = value
        elif name.startswith("--output="):
            wanted = name.removeprefix("--output=")
    return OutputFormat.JSON if wanted == "json" else OutputFormat.TABLE


if __name__ == "__main__":
    sys.exit(main())
