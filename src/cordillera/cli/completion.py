"""``cordillera completion``: which partitions of a dataset are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, DatasetName, Everything, IdempotencyKey, Limit, Partition, read_text
from cordillera.cli.output import View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import InvalidInputError, NotFoundError
from cordillera.spec.counting import counted

app = typer.Typer(
    name="completion", no_args_is_help=True, help='"Partition P of this dataset is complete as of snapshot S".'
)
_RULE: View = {
    "column": "rule.column",
    "timezone": "rule.timezone",
    "min_rows": "rule.min_rows",
    "announced": "rule.announced",
    "totals": "rule.totals",
    "lateness_seconds": "rule.lateness_seconds",
    "upstream": "rule.upstream",
    "workdays": "rule.workdays",
    "holidays": "rule.holidays",
    "set_by": "set_by",
    "set_at": "set_at",
    "counted_upto": number("cursor_sequence"),
    "watermark": "watermark",
    "problem": "problem",
}
_STATE: View = {
    "partition": "partition",
    "announced_rows": "announced_rows",
    "announced_totals": "announced_totals",
    "rows": "rows",
}
_EXPLANATION: View = {
    "partition": "partition",
    "status": "status",
    "why": lambda found: "; ".join(reason.text for reason in found.reasons),
    "rows": "rows",
    "announced_rows": "announced_rows",
    "revision": lambda found: found.completion and found.completion.revision,
    "declared_at": lambda found: found.completion and found.completion.declared_at,
}
_VIEW: View = {
    "partition": "partition",
    "revision": "revision",
    "restated": "restated",
    "snapshot": number("sequence_number"),
    "declared_by": "declared_by",
    "declared_at": "declared_at",
}


@command(app, "declare", example="cordillera completion declare sales.orders 2026-01-30 2026-01-31")
def declare(
    name: DatasetName,
    partitions: Annotated[
        list[str],
        typer.Argument(metavar="PARTITION...", help="Labels of up to 1,000 partitions, for example 2026-01-31."),
    ],
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Declare partitions complete as of the current snapshot, all of them or none; again restates them.

    Jobs that wait for them start. What several became is a list; what one became is an object.
    """
    with open_lake() as lake:
        made = lake.backend.complete_all(name, partitions, idempotency_key=idempotency_key)
    first, restated = made[0], sum(one.restated for one in made)
    if len(partitions) == 1:
        again = f", restated (revision {first.revision})" if restated else ""
        text = f"{first.partition} of {name} is complete as of snapshot {first.sequence_number}{again}."
        show_outcome(text, first, _VIEW)
        return
    again = f", {restated:,} of them restated" if restated else ""
    are = counted(len(made), f"partition of {name} is", f"partitions of {name} are")
    announce(f"{are} complete as of snapshot {first.sequence_number}{again}.")
    show_list(made, _VIEW, none="")


@command(app, "list", example="cordillera completion list sales.orders --limit 10")
def list_completions(name: DatasetName, limit: Limit = DEFAULT_LIMIT, all: Everything = False) -> None:
    """List the complete partitions of a dataset, highest label first."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.completions(name, before, size),
            None,
            lambda one: one.partition,
            limit=limit,
            everything=all,
        )
        show_list(found, _VIEW, none=f"No partition of {name} is complete.")


@command(app, "show", example="cordillera completion show sales.orders 2026-01-31")
def show_completion(name: DatasetName, partition: Partition) -> None:
    """Show whether a partition is complete; the exit code is 3 while it is not."""
    with open_lake() as lake:
        found = lake.backend.completion(name, partition)
    if found is None:
        raise NotFoundError(
            f"Partition {partition} of {name} is not complete.",
            hint=f"Wait for it with: cordillera completion wait {name} {partition}.",
        )
    show(found, _VIEW)


@command(app, "wait", example="cordillera completion wait sales.orders 2026-01-31 --timeout 3600 && ./report.sh")
def wait(
    name: DatasetName,
    partition: Partition,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait; then the exit code is 75.")
    ] = 60.0,
) -> None:
    """Wait until a partition is complete."""
    announce(f"Waiting for {partition} of {name} …")
    with open_lake() as lake:
        show(lake.backend.wait_until_complete(name, partition, timeout), _VIEW)


@command(app, "explain", example="cordillera completion explain sales.orders 2026-01-31")
def explain(name: DatasetName, partition: Partition) -> None:
    """Say how a partition stands: complete, restated, or what it waits for."""
    with open_lake() as lake:
        show(lake.backend.explain_completion(name, partition), _EXPLANATION)


@command(app, "rule", example="cordillera completion rule sales.orders")
def rule(name: DatasetName) -> None:
    """Show the rule by which partitions of a dataset are complete; the exit code is 3 if there is none."""
    with open_lake() as lake:
        found = lake.backend.completion_rule(name)
    if found is None:
        raise NotFoundError(
            f"{name} has no completion rule.", hint=f"Set one with: cordillera completion set-rule {name} --column …"
        )
    show(found, _RULE)


@command(
    app,
    "set-rule",
    example=(
        "cordillera completion set-rule sales.orders --column ordered_at --lateness 3600 \\\n"
        '    --upstream "sales.rates=trailing 2 days" --workdays mon-fri'
    ),
)
def set_rule(
    name: DatasetName,
    column: Annotated[
        str, typer.Option("--column", help="The column that tells the partition of a row; none with unit whole.")
    ] = "",
    timezone: Annotated[str, typer.Option("--timezone", help="Where days begin, for a column with a zone.")] = "UTC",
    min_rows: Annotated[int | None, typer.Option("--min-rows", help="Complete with so many rows.")] = None,
    announced: Annotated[
        bool, typer.Option("--announced", help="Complete with the rows that were announced: completion announce.")
    ] = False,
    totals: Annotated[
        list[str] | None, typer.Option("--total", metavar="COLUMN", help="A column whose sum has to be as announced.")
    ] = None,
    lateness: Annotated[
        int | None,
        typer.Option("--lateness", metavar="SECONDS", help="Complete when a row came from so long after its end."),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream",
            metavar="DATASET[=MAPPING]",
            help="Complete when partitions of another dataset are: same, latest, trailing 7 days, month of day …",
        ),
    ] = None,
    workdays: Annotated[str, typer.Option("--workdays", help="Days on which data is expected: mon-fri.")] = "",
    holidays: Annotated[
        Path | None, typer.Option("--holidays", metavar="FILE", help="Dates without data, one a line; - for stdin.")
    ] = None,
) -> None:
    """Say when partitions are complete, so that nobody need declare them. All conditions given have to hold."""
    from cordillera.spec.calendar import workdays_of
    from cordillera.spec.completion_rule import CompletionRule

    wanted = CompletionRule(
        column=column,
        timezone=timezone,
        min_rows=min_rows,
        announced=announced,
        totals=tuple(totals or ()),
        lateness_seconds=lateness,
        upstream={one.partition("=")[0].strip(): one.partition("=")[2].strip() or "same" for one in upstream or ()},
        workdays=workdays_of(workdays),
        holidays=tuple(read_text(holidays).split()) if holidays else (),
    )
    with open_lake() as lake:
        made = lake.backend.put_completion_rule(name, wanted)
    show_outcome(f"Partitions of {name} follow the rule from now on.", made, _RULE)


@command(app, "remove-rule", example="cordillera completion remove-rule sales.orders")
def remove_rule(name: DatasetName) -> None:
    """Remove the completion rule; what is complete stays so."""
    with open_lake() as lake:
        lake.backend.remove_completion_rule(name)
    announce(f"{name} has no completion rule any more.")


@command(
    app, "announce", example="cordillera completion announce sales.orders 2026-01-31 --rows 1200 --total amount=99.50"
)
def announce_partition(
    name: DatasetName,
    partition: Partition,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows it will hold.")],
    totals: Annotated[
        list[str] | None, typer.Option("--total", metavar="COLUMN=SUM", help="The sum of a column over them.")
    ] = None,
) -> None:
    """Say what a partition will hold; a rule with --announced calls it complete when exactly that is there."""
    sums = {one.partition("=")[0]: one.partition("=")[2] for one in totals or ()}
    if "" in sums.values():
        raise InvalidInputError("A control total needs a column and its sum.", hint="Write --total amount=99.50.")
    with open_lake() as lake:
        made = lake.backend.announce(name, partition, rows, sums)
    show_outcome(f"{rows:,} rows are announced for {made.partition} of {name}.", made, _STATE)
