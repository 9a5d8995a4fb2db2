"""``cordillera dataset write-together``: writes to several datasets in one commit."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.dataset import app
from cordillera.cli.dataset_rows import OUTCOME, read_yaml, summary
from cordillera.cli.options import IdempotencyKey
from cordillera.cli.output import View, number, show_list
from cordillera.cli.session import OutputFormat, current_session, open_lake
from cordillera.cli.terminal import announce
from cordillera.errors import InvalidInputError

if TYPE_CHECKING:
    from cordillera.catalog.requests import CommitResult, DatasetWrite
    from cordillera.client.backend import LakeBackend

_OUTCOMES: View = {
    "dataset": "dataset",
    "snapshot": number("result.sequence_number"),
    **{name: f"result.{name}" for name in OUTCOME if name != "snapshot"},
}


@dataclass(frozen=True, slots=True)
class _Outcome:
    dataset: str
    result: CommitResult


@command(
    app,
    "write-together",
    example='cordillera dataset write-together close-may.yaml --message "May is closed"',
)
def write_together(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON file: a list of writes.")],
    message: Annotated[str, typer.Option("--message", "-m", help="What it is about; the history says it.")] = "",
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Write to several datasets in one commit: all of it becomes visible in one moment, or nothing.

    A write has dataset, operation and file, whose path counts from the list's folder, and may have where, completes
    and branch. A delete by where has no file.
    """
    listed = read_yaml(file)
    if not isinstance(listed, list):
        raise InvalidInputError(f"The file {file} is not a list of writes.", hint="Begin each write with: - dataset:")
    with open_lake() as lake, ExitStack() as opened:
        writes = [_write(lake.backend, place, item, file.parent, opened) for place, item in enumerate(listed, 1)]
        results = lake.backend.write_together(writes, message=message, idempotency_key=idempotency_key)
    outcomes = [_Outcome(write.dataset, result) for write, result in zip(writes, results, strict=True)]
    for one in outcomes:
        announce(summary(one.dataset, one.result))
    if current_session().output is not OutputFormat.TABLE:
        show_list(outcomes, _OUTCOMES, none="")


def _write(backend: LakeBackend, place: int, item: object, folder: Path, opened: ExitStack) -> DatasetWrite:
    """Return a write of the list, with its file opened."""
    from cordillera.cli.files import rows_of
    from cordillera.transaction_codec import write_from_plain

    fields = dict(item) if isinstance(item, dict) else {}
    name = fields.pop("file", None)
    write = write_from_plain(place, fields if isinstance(item, dict) else item)
    if (name is not None) != write.takes_rows:
        raise InvalidInputError(
            f"Write {place}, the {write.operation} of {write.dataset}, has {'a' if name is not None else 'no'} file.",
            hint="Every write needs a file but a delete by a condition, which has none.",
        )
    if name is None:
        return write
    return replace(write, rows=opened.enter_context(rows_of(folder / str(name), None, backend.schema(write.dataset))))
