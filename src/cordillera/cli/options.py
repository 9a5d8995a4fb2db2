"""Arguments and options that several commands have, and reading their values."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cordillera.errors import InvalidInputError

if TYPE_CHECKING:
    pass

NamespaceName = Annotated[str, typer.Argument(metavar="NAMESPACE", help="The namespace.")]
DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="namespace.dataset, or namespace.dataset_v2 for one dataset version.",
        show_default=False,
    ),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="namespace.name of the job.")]
TargetName = Annotated[str, typer.Argument(metavar="TARGET", help="The target.")]
SubscriptionId = Annotated[UUID, typer.Argument(metavar="ID", help="The subscription's id.")]
Partition = Annotated[str, typer.Argument(metavar="PARTITION", help="The partition's label, for example 2026-01-31.")]

Owner = Annotated[str, typer.Option("--owner", help="Who answers for it; by default whoever creates it.")]
NewOwner = Annotated[str | None, typer.Option("--owner", help="Who answers for it.")]
Description = Annotated[str, typer.Option("--description", help="What it is about.")]
NewDescription = Annotated[str | None, typer.Option("--description", help="What it is about.")]
Where = Annotated[str | None, typer.Option("--where", metavar="SQL", help="SQL condition on the rows.")]
Columns = Annotated[
    list[str] | None, typer.Option("--columns", metavar="NAMES", help="Columns wanted, separated by commas.")
]
AsOfText = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="WHEN",
        help="Which state: a snapshot's number, a time, a date (the end of that day in UTC), a branch or a tag.",
    ),
]
Branch = Annotated[str, typer.Option("--branch", metavar="BRANCH", help="The branch of the dataset.")]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", metavar="KEY", help="Repeating under the same key has no effect.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Most entries to show.")]
Everything = Annotated[bool, typer.Option("--all", help="Show every entry, however many there are.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]

ToFile = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="Write all rows into a file: .parquet, .csv or .arrow.")
]
RowLimit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Most rows; by default all, but 20 as a table.", show_default=False),
]

DEFAULT_LIMIT = 50


def split_names(values: Sequence[str] | None) -> list[str]:
    """Return the names in comma-separated lists; a name that holds a comma is put into double quotes."""
    return [name for row in csv.reader(values or [], skipinitialspace=True) for name in row if name]


def parse_pairs(values: Sequence[str], what: str) -> dict[str, str]:
    """Read ``key=value`` arguments.

    Raises:
        InvalidInputError: If one has no ``=``, or a key appears twice.
    """
    pairs: dict[str, str] = {}
    for text in values:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidInputError(f"{text!r} is no {what}.", hint="Write it as key=value.")
        if key in pairs:
            raise InvalidInputError(f"The {what} {key!r} is given twice.")
        pairs[key] = value
    return pairs


def read_text(path: Path) -> str:
    """Return the text of a file, or of stdin for ``-``.

    Raises:
        InvalidInputError: If it cannot be read, or is not UTF-8.
    """
    try:
        # Bytes, since text would be given other line ends.
        return (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).decode("utf-8")
    except OSError as error:
        raise InvalidInputError(f"The file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The file {path} is not UTF-8 text.") from error
