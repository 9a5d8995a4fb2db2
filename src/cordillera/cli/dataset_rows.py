"""``cordillera dataset write``, ``read``, ``changes`` and ``delete-rows``: a dataset's rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.dataset import app
from cordillera.cli.options import (
    AsOfText,
    Branch,
    Columns,
    DatasetName,
    DryRun,
    IdempotencyKey,
    RowLimit,
    ToFile,
    Where,
    Yes,
    read_text,
    split_names,
)
from cordillera.cli.output import Part, View, number, show, show_outcome
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import go_ahead, progress
from cordillera.errors import InvalidInputError
from cordillera.spec.counting import counted

if TYPE_CHECKING:
    from cordillera.catalog.commits import CommitResult
    from cordillera.client.backend import LakeBackend
    from cordillera.spec.explanation import WriteExplanation

OUTCOME: View = {
    "snapshot": number("sequence_number"),
    "snapshot_committed": "snapshot_committed",
    "replayed": "replayed",
    "rows_inserted": "rows_inserted",
    "rows_updated": "rows_updated",
    "rows_deleted": "rows_deleted",
    "rows_late": "rows_late",
}

EXPLANATION: View = {
    name: name
    for name in (
        "operation", "write_mode", "rows_inserted", "rows_updated", "rows_deleted", "rows_late", "files_in_table",
        "files_searched", "bytes_searched", "bytes_rewritten", "files_written", "bytes_written", "vectors_written",
    )
}  # fmt: skip
FILES: View = {name: name for name in ("action", "size", "rows", "deleted", "reason", "path")}
_Explain = Annotated[
    bool, typer.Option("--explain", help="Only say which files would be read and written, and why; nothing changes.")
]


@command(
    app,
    "write",
    example=(
        "cordillera dataset write sales.orders orders.parquet --operation upsert\n"
        "cordillera dataset write sales.orders day.csv --operation replace --where \"day = '2026-01-31'\"\n"
        "zcat orders.jsonl.gz | cordillera dataset write sales.orders - --format jsonl --completes 2026-01-31"
    ),
)
def write(
    name: DatasetName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, CSV, JSON-lines or Arrow file; - for stdin.")],
    operation: Annotated[
        str, typer.Option("--operation", help="append, upsert, partial_update, delete, replace, replace_partitions.")
    ] = "append",
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="With replace: which rows are replaced.")
    ] = None,
    completes: Annotated[
        str | None, typer.Option("--completes", metavar="PARTITION", help="The partition this write completes.")
    ] = None,
    branch: Branch = "main",
    idempotency_key: IdempotencyKey = None,
    format: Annotated[
        str | None, typer.Option("--format", help="parquet, csv, jsonl or arrow; by default what the ending says.")
    ] = None,
    explain: _Explain = False,
) -> None:
    """Write rows into a dataset, all of them or none.

    In CSV an empty cell is NULL, and "" the empty string. CSV and JSON values take the types of the dataset's columns.
    """
    from cordillera.cli.files import rows_of
    from cordillera.cli.rows import watched

    with (
        open_lake() as lake,
        rows_of(file, format, lake.backend.schema(name)) as rows,
        progress(f"Writing {name}") as advance,
    ):
        if explain:
            _show_explanation(
                lake.backend.explain_write(name, watched(rows, advance), operation, where=where, branch=branch)
            )
            return
        result = lake.backend.write(
            name,
            watched(rows, advance),
            operation,
            where=where,
            idempotency_key=idempotency_key,
            completes=completes,
            branch=branch,
        )
    show_outcome(summary(name, result), result, OUTCOME)


@command(
    app,
    "merge",
    example="cordillera dataset merge sales.orders changes.parquet --clauses merge.yaml",
)
def merge(
    name: DatasetName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, CSV, JSON-lines or Arrow file; - for stdin.")],
    clauses: Annotated[
        Path,
        typer.Option("--clauses", metavar="FILE", help="YAML or JSON file: a list of clauses.", show_default=False),
    ],
    completes: Annotated[
        str | None, typer.Option("--completes", metavar="PARTITION", help="The partition this merge completes.")
    ] = None,
    branch: Branch = "main",
    idempotency_key: IdempotencyKey = None,
    format: Annotated[
        str | None, typer.Option("--format", help="parquet, csv, jsonl or arrow; by default what the ending says.")
    ] = None,
    explain: _Explain = False,
) -> None:
    """Merge rows into a dataset by clauses: update, delete or insert, all of it or nothing.

    A clause has when (matched, not_matched, not_matched_by_source) and then (update, delete, insert), and may have a
    condition, columns to take from the file, and set: columns with SQL over source.column and target.column.
    """
    from cordillera.cli.files import rows_of
    from cordillera.cli.rows import watched
    from cordillera.merge_codec import clauses_from_plain

    wanted = clauses_from_plain(read_yaml(clauses))
    with (
        open_lake() as lake,
        rows_of(file, format, lake.backend.schema(name)) as rows,
        progress(f"Merging into {name}") as advance,
    ):
        if explain:
            _show_explanation(lake.backend.explain_merge(name, watched(rows, advance), wanted, branch=branch))
            return
        result = lake.backend.merge(
            name,
            watched(rows, advance),
            wanted,
            idempotency_key=idempotency_key,
            completes=completes,
            branch=branch,
        )
    show_outcome(summary(name, result), result, OUTCOME)


def read_yaml(path: Path) -> object:
    """Read a YAML file, which a JSON file is too."""
    import yaml

    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(f"The file {path} is no YAML: {reason}.", hint="Correct it.") from error


@command(
    app,
    "read",
    example=(
        "cordillera dataset read sales.orders --columns id,total --where \"day = '2026-01-31'\"\n"
        "cordillera dataset read sales.orders --as-of 41 --to orders.parquet\n"
        "cordillera dataset read sales.customers --as-was 2026-01-31"
    ),
)
def read(
    name: DatasetName,
    columns: Columns = None,
    where: Where = None,
    as_of: AsOfText = None,
    as_was: Annotated[
        str | None, typer.Option("--as-was", metavar="MOMENT", help="Of a history: the rows that held then.")
    ] = None,
    limit: RowLimit = None,
    to: ToFile = None,
) -> None:
    """Read rows of a dataset: as a table, JSON or CSV, or into a file."""
    from cordillera.cli.rows import deliver_rows, most_rows

    with open_lake() as lake:
        held = lake.dataset(name).as_was(as_was).where if as_was is not None else None
        rows = lake.backend.scan(
            name,
            columns=split_names(columns) if columns else None,
            where=f"({where}) AND ({held})" if where and held else where or held,
            as_of=as_of,
            limit=most_rows(to=to, limit=limit),
        )
        deliver_rows(rows, to=to, limit=limit)


@command(
    app,
    "changes",
    example=(
        "cordillera dataset changes sales.orders --after 41\n"
        "cordillera dataset changes sales.orders --after 2026-01-30 --upto 2026-01-31 --to changes.parquet\n"
        "cordillera dataset changes sales.orders --after main --upto audit"
    ),
)
def changes(
    name: DatasetName,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="WHEN",
            help="The state to begin from, in the forms of read --as-of; by default the empty dataset.",
        ),
    ] = None,
    upto: Annotated[
        str | None,
        typer.Option("--upto", metavar="WHEN", help="The state to end with, likewise; by default the current one."),
    ] = None,
    columns: Columns = None,
    where: Where = None,
    each_commit: Annotated[
        bool, typer.Option("--each-commit", help="The changes of every commit, instead of one for each row.")
    ] = False,
    limit: RowLimit = None,
    to: ToFile = None,
) -> None:
    """Show what changed between two states: rows that came, changed (before and after) or went, at the cost of these.

    The column _change_type says which: insert, update_before, update_after, delete.
    """
    from cordillera.cli.rows import deliver_rows, most_rows

    with open_lake() as lake:
        rows = lake.backend.changes(
            name,
            after=after,
            upto=upto,
            columns=split_names(columns) if columns else None,
            where=where,
            net=not each_commit,
            limit=most_rows(to=to, limit=limit),
        )
        deliver_rows(rows, to=to, limit=limit)


@command(
    app,
    "delete-rows",
    example='cordillera dataset delete-rows sales.orders --where "customer_id = 17" --dry-run',
)
def delete_rows(
    name: DatasetName,
    where: Annotated[str, typer.Option("--where", metavar="SQL", help="SQL condition on the rows to delete.")],
    branch: Branch = "main",
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
    explain: _Explain = False,
    yes: Yes = False,
) -> None:
    """Delete the rows that satisfy a condition. Earlier snapshots still have them."""
    with open_lake() as lake:
        if explain:
            _show_explanation(lake.backend.explain_delete(name, where, branch=branch))
            return
        known = dry_run or not yes
        count = _count(lake.backend, name, where, branch) if known else 0
        consequence = f"{counted(count, 'row')} of {name} would be deleted."
        if go_ahead(consequence, dry_run=dry_run, yes=yes):
            result = lake.backend.delete_where(name, where, idempotency_key=idempotency_key, branch=branch)
            show_outcome(summary(name, result), result, OUTCOME)


def _show_explanation(explanation: WriteExplanation) -> None:
    show(explanation, EXPLANATION, [Part("Files that rows are taken out of", explanation.files, FILES)])


def _count(lake: LakeBackend, name: str, where: str, branch: str) -> int:
    first = lake.schema(name).names[:1]
    return sum(batch.num_rows for batch in lake.scan(name, columns=first, where=where, as_of=branch))


def summary(name: str, result: CommitResult) -> str:
    """Return what came of a write, as a sentence."""
    counts = {
        "inserted": result.rows_inserted,
        "updated": result.rows_updated,
        "deleted": result.rows_deleted,
        "late and dropped": result.rows_late,
    }
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "no rows changed"
    again = " It had been committed before; nothing happened this time." if result.replayed else ""
    complete = f" {result.completion.partition} is complete." if result.completion else ""
    return f"{name}: {said}, snapshot {result.sequence_number}.{complete}{again}"
