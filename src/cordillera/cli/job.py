"""``cordillera job``: work that starts when its inputs are complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import (
    DEFAULT_LIMIT,
    Description,
    DryRun,
    Everything,
    IdempotencyKey,
    JobName,
    Limit,
    Owner,
    Partition,
    Yes,
    parse_pairs,
    read_text,
)
from cordillera.cli.output import Part, View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.run import VIEW as RUN_VIEW
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce, go_ahead, warn
from cordillera.errors import InvalidInputError
from cordillera.spec.completion import CompletionUnit
from cordillera.spec.counting import counted
from cordillera.spec.job_trigger import JobTrigger, Restatements, in_words
from cordillera.spec.workflow import WantedJob

if TYPE_CHECKING:
    from cordillera.client import Lake
    from cordillera.spec.workflow import Job, Run


def _hidden() -> str:
    from cordillera.spec.job_explanation import HIDDEN_INPUT  # heavy libraries behind it

    return HIDDEN_INPUT


app = typer.Typer(
    name="job", no_args_is_help=True, help="SQL that runs for a partition when all its inputs are complete for it."
)
_VIEW: View = {"name": "name", "inputs": "inputs", "output": "output", "enabled": "enabled", "owner": "owner"}
_DETAILS: View = {
    **_VIEW,
    "description": "description",
    "output_condition": "output_condition",
    "mappings": "trigger.mappings",
    "only": "trigger.partitions",
    "restatements": "trigger.restatements",
    "created_at": "created_at",
    "sql": "sql",
}
_WITH_RUNS: View = {header: f"job.{source}" for header, source in _DETAILS.items()}
_WAITING: View = {"partition": "partition", "complete": "complete", "missing": "missing"}

_EXPLANATION: View = {
    "job": "job",
    "partition": "partition",
    "status": "status",
    "why": "text",
    "run": lambda found: found.run and found.run.id,
}
_INPUT: View = {
    "dataset": lambda one: one.dataset or _hidden(),
    "mapping": "mapping",
    "owner": "owner",
    "complete": "complete",
    "snapshot": number("snapshot"),
    "state": "text",
    "why": lambda one: "; ".join(dict.fromkeys(reason for missing in one.missing for reason in missing.reasons)),
}


@dataclass(frozen=True, slots=True)
class _JobDetails:
    """A job with its newest runs."""

    job: Job
    runs: list[Run]


@command(
    app,
    "create",
    example=(
        "cordillera job create sales.daily_totals --sql-file daily_totals.sql \\\n"
        '    --output-condition "day = CAST($partition AS DATE)" \\\n'
        '    --mapping "sales.rates=trailing 7 days" --only "2026-*"'
    ),
)
def create(
    name: JobName,
    output_condition: Annotated[
        str,
        typer.Option(
            "--output-condition",
            metavar="SQL",
            help="Which rows of the output belong to $partition; a run replaces them.",
        ),
    ],
    sql: Annotated[
        str | None, typer.Option("--sql", help="The SELECT; $partition stands for the partition's label.")
    ] = None,
    sql_file: Annotated[
        Path | None, typer.Option("--sql-file", metavar="FILE", help="File that holds the SELECT; - for stdin.")
    ] = None,
    output_dataset: Annotated[
        str,
        typer.Option("--output-dataset", help="The dataset it writes; by default the job's name.", show_default=False),
    ] = "",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="A dataset that has to be complete; by default all those the query reads."),
    ] = None,
    mappings: Annotated[
        list[str] | None,
        typer.Option(
            "--mapping",
            metavar="DATASET=MAPPING",
            help="Which partitions of an input a run needs, if not the same: trailing 7 days, 1 day before, "
            "month of day, days of month, last day of month, latest, fixed LABEL, or counted on the output's calendar: "
            "1 workday before, days since workday.",
        ),
    ] = None,
    partitions: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="PARTITION", help="A partition that concerns the job: a label, EU-*, or FIRST..LAST."
        ),
    ] = None,
    restatements: Annotated[
        Restatements, typer.Option("--restatements", help="What a restated input does to what the job has run for.")
    ] = Restatements.RERUN,
    owner: Owner = "",
    description: Description = "",
) -> None:
    """Create a job; the dataset it writes has to exist."""
    if (sql is None) == (sql_file is None):
        raise InvalidInputError("A job needs one query.", hint="Give --sql or --sql-file.")
    text = sql if sql_file is None else read_text(sql_file)
    trigger = JobTrigger(parse_pairs(mappings or (), "mapping"), tuple(partitions or ()), restatements)
    wanted = WantedJob(
        name, text or "", output_condition, output_dataset, tuple(inputs or ()), owner, description, trigger
    )
    with open_lake() as lake:
        made = lake.backend.create_job(wanted)
        misfit = _misfit(lake, made)
    waits_for = in_words(made.trigger, made.inputs)
    show_outcome(f"Created the job {name}. It runs for a partition when complete: {waits_for}.", made, _DETAILS)
    if misfit:
        warn(misfit)


def _misfit(lake: Lake, job: Job) -> str:
    """Return what to say of a job whose runs complete nothing, since its output is cut otherwise; empty of others."""
    names = (*job.inputs, job.output)
    units = {name: CompletionUnit(lake.backend.dataset(name).version.completion_unit) for name in names}
    cut = units.pop(job.output)
    unit = job.trigger.unit(job.name, units)
    if unit is cut:
        return ""
    return (
        f"The job runs for partitions by {unit}, and {job.output} is cut by {cut}: none of it becomes complete. "
        "Give what it reads and what it writes the same completion unit, or map the inputs with --mapping."
    )


@command(app, "list", example="cordillera job list")
def list_jobs(limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the jobs by name."""
    with open_lake() as lake:
        found = paged(lake.backend.jobs, "", lambda one: one.name, limit=limit, everything=all)
        show_list(found, _VIEW, none="There are no jobs.")


@command(app, "show", example="cordillera job show sales.daily_totals")
def show_job(name: JobName) -> None:
    """Show a job with its newest runs."""
    with open_lake() as lake:
        found = lake.backend.job(name)
        runs = lake.backend.runs(job=name, limit=5)
    show(_JobDetails(found, runs), _WITH_RUNS, [Part("Newest runs", runs, RUN_VIEW)])


@command(app, "enable", example="cordillera job enable sales.daily_totals")
def enable(name: JobName) -> None:
    """Let completions start runs of a job."""
    _set_enabled(name, True)


@command(app, "disable", example="cordillera job disable sales.daily_totals")
def disable(name: JobName) -> None:
    """Let completions start no more runs of a job."""
    _set_enabled(name, False)


def _set_enabled(name: str, enabled: bool) -> None:
    with open_lake() as lake:
        changed = lake.backend.set_job_enabled(name, enabled)
    show_outcome(f"The job {name} is {'enabled' if enabled else 'disabled'}.", changed, _DETAILS)


@command(app, "run", example="cordillera job run sales.daily_totals 2026-01-31")
def run(name: JobName, partition: Partition, idempotency_key: IdempotencyKey = None) -> None:
    """Run a job again for a partition whose inputs are complete; prints the run's id. A worker executes it."""
    with open_lake() as lake:
        made = lake.backend.run_job(name, partition, idempotency_key=idempotency_key)
    show_outcome(f"A run of {name} for {partition} is queued.", made, RUN_VIEW, answer=str(made.id))


@command(app, "waiting", example="cordillera job waiting sales.daily_totals")
def waiting(name: JobName, limit: Limit = DEFAULT_LIMIT) -> None:
    """List the partitions a job waits for, and which inputs are missing."""
    with open_lake() as lake:
        found = lake.backend.waiting(name, limit)
    show_list(found, _WAITING, none=f"{name} waits for nothing.")


@command(app, "explain", example="cordillera job explain sales.daily_totals --partition 2026-01-31")
def explain(
    name: JobName,
    partition: Annotated[
        str | None,
        typer.Option("--partition", help="The partition; by default the latest that it waits for.", show_default=False),
    ] = None,
) -> None:
    """Say why a job has not started for a partition: which inputs are complete, and what it waits for."""
    with open_lake() as lake:
        found = lake.backend.explain_job(name, partition)
    show(found, _EXPLANATION, [Part("Inputs", found.inputs, _INPUT)])


@command(app, "delete", example="cordillera job delete sales.daily_totals --dry-run")
def delete(name: JobName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Delete a job and its runs; the dataset it wrote stays."""
    with open_lake() as lake:
        found = lake.backend.job(name)
        runs = sum(count.count for count in lake.backend.run_counts() if count.job == name)
        consequence = (
            f"The job {name} and its {counted(runs, 'run')} would be deleted; the dataset {found.output} would stay."
        )
        if go_ahead(consequence, dry_run=dry_run, yes=yes):
            lake.backend.delete_job(name)
            announce(f"Deleted the job {name}.")
