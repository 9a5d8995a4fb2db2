"""``cordillera run``: executions of jobs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Everything, Limit
from cordillera.cli.output import View, number, show, show_list
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake

app = typer.Typer(name="run", no_args_is_help=True, help="One execution of a job for a partition.")
VIEW: View = {
    "id": "id",
    "job": "job",
    "partition": "partition",
    "state": "state",
    "attempts": "attempts",
    "rows_written": "rows_written",
    "created_at": "created_at",
    "finished_at": "finished_at",
    "error": "error",
}
_DETAILS: View = {
    **VIEW,
    "started_at": "started_at",
    "output_snapshot": number("output_sequence"),
    "input_revisions": "input_revisions",
    "trace_id": "trace_id",
}


@command(app, "list", example="cordillera run list --job sales.daily_totals --state failed")
def list_runs(
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Only in this state: queued, running, succeeded, failed, superseded.")
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Only for this partition.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List runs, newest first."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.runs(
                job=job, state=state, partition=partition, before=before, limit=size
            ),
            None,
            lambda one: one.id,
            limit=limit,
            everything=all,
        )
        show_list(found, VIEW, none="There are no such runs.")


@command(app, "show", example="cordillera run show 0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3")
def show_run(id: Annotated[UUID, typer.Argument(metavar="ID", help="The run's id.")]) -> None:
    """Show a run: its inputs, what it wrote, and its error."""
    with open_lake() as lake:
        show(lake.backend.run(id), _DETAILS)
