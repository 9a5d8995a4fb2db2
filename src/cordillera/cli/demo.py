"""``cordillera demo``: a year of New York's flights, end to end."""

from __future__ import annotations

from pathlib import Path

import typer

from cordillera.cli.command import Place, command
from cordillera.cli.options import DryRun, Yes
from cordillera.cli.session import current_session
from cordillera.cli.terminal import announce, console, go_ahead

app = typer.Typer(
    name="demo", no_args_is_help=True, help="A year of New York's flights, end to end, with real servers."
)
_FOLDER = Path("demo-lake")


@command(app, "run", example="cordillera demo run --lake ./demo-lake", place=Place.FOLDER)
def run() -> None:
    """Run the demo, or go on with it, in the folder --lake names (by default ./demo-lake)."""
    from cordillera.demo.flights import run as run_demo

    output = console()
    output.quiet = current_session().quiet
    run_demo(_folder(), output)


@command(app, "clean", example="cordillera demo clean --lake ./demo-lake --dry-run", place=Place.FOLDER)
def clean(dry_run: DryRun = False, yes: Yes = False) -> None:
    """Remove the demo's lake with everything in it."""
    from cordillera.demo.flights import clean as clean_demo

    folder = _folder()
    if go_ahead(
        f"The demo in {folder}, with its lake and its servers' data, would be removed.", dry_run=dry_run, yes=yes
    ):
        clean_demo(folder)
        announce(f"Removed {folder}.")


def _folder() -> Path:
    return current_session().lake or _FOLDER
