"""``cordillera completion``: which partitions of a dataset are complete."""

from __future__ import annotations

from typing import Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, DatasetName, Everything, IdempotencyKey, Limit, Partition
from cordillera.cli.output import View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import NotFoundError

app = typer.Typer(
    name="completion", no_args_is_help=True, help='"Partition P of this dataset is complete as of snapshot S".'
)
_VIEW: View = {
    "partition": "partition",
    "revision": "revision",
    "restated": "restated",
    "snapshot": number("sequence_number"),
    "declared_by": "declared_by",
    "declared_at": "declared_at",
}


@command(app, "declare", example="cordillera completion declare sales.orders 2026-01-31")
def declare(name: DatasetName, partition: Partition, idempotency_key: IdempotencyKey = None) -> None:
    """Declare a partition complete as of the current snapshot; again restates it. Jobs that wait for it start."""
    with open_lake() as lake:
        made = lake.backend.complete(name, partition, idempotency_key=idempotency_key)
    again = f", restated (revision {made.revision})" if made.restated else ""
    show_outcome(f"{made.partition} of {name} is complete as of snapshot {made.sequence_number}{again}.", made, _VIEW)


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
