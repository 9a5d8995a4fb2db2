"""``cordillera dataset compact``, ``expire``, ``rewrite-manifests``, ``maintenance``, ``advise``: tables in shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.dataset import app
from cordillera.cli.options import Columns, DatasetName, DryRun, Where, Yes, parse_pairs, split_names
from cordillera.cli.output import Part, View, show, show_list, show_outcome
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import go_ahead, progress
from cordillera.spec.counting import counted
from cordillera.spec.durations import of_hours

if TYPE_CHECKING:
    from cordillera.maintenance.results import CompactionResult
    from cordillera.spec.advice import Proposal

_COMPACTED: View = {
    "files_rewritten": "files_rewritten",
    "files_written": "files_written",
    "bytes_rewritten": "bytes_rewritten",
    "bytes_written": "bytes_written",
    "rows_moved": "rows_moved",
    "deletes_removed": "deletes_removed",
    "commits": "commits",
    "groups_left": "groups_left",
    "seconds": "seconds",
}
_EXPIRED: View = {"snapshots": "snapshots", "refs": "refs", "files": "files"}
_MANIFESTS: View = {"before": "before", "after": "after"}
_STATISTICS: View = {
    "column": "column",
    "distinct_values": "distinct_values",
    "sequence_number": "sequence_number",
}
_COUNTED: View = {"files_read": "files_read", "bytes_read": "bytes_read", "seconds": "seconds"}
_STATUS: View = {
    "files": "counters.files",
    "bytes": "counters.bytes",
    "deleted_rows": "counters.deleted",
    "snapshots": "counters.snapshots",
    "enabled": "policy.enabled",
    "small_files": "policy.small_files",
    "delete_ratio": "policy.delete_ratio",
    "strategy": "policy.strategy",
    "columns": "policy.columns",
    "expire_snapshots": "policy.expire_snapshots",
    "max_snapshot_age": "policy.max_snapshot_age",
    "min_snapshots": "policy.min_snapshots",
    "target_file_size": "policy.target_file_size",
    "refresh_statistics": "policy.refresh_statistics",
}
_ADVICE: View = {
    "task": "task",
    "due": "due",
    "reason": "reason",
    "files": "files",
    "bytes": "bytes",
    "predicted_seconds": "predicted_seconds",
}
_ADVISED: View = {
    "dataset": "dataset",
    "days": "days",
    "scans": "scans",
    "merges": "merges",
    "files": "files",
    "bytes": "bytes",
    "note": "note",
}
_PROPOSAL: View = {"": lambda line: line[0], " ": lambda line: line[1]}
_RUNS: View = {
    "task": "task",
    "finished_at": "finished_at",
    "seconds": "seconds",
    "files_rewritten": "files_rewritten",
    "files_written": "files_written",
    "bytes_rewritten": "bytes_rewritten",
}


@command(
    app,
    "compact",
    example=(
        "cordillera dataset compact sales.orders\n"
        "cordillera dataset compact sales.orders --strategy z-order --columns customer,day\n"
        "cordillera dataset compact sales.orders --where \"day > '2026-01-01'\""
    ),
)
def compact(
    name: DatasetName,
    strategy: Annotated[str, typer.Option("--strategy", help="bin-pack, sort or z-order.")] = "bin-pack",
    columns: Columns = None,
    where: Where = None,
    target_file_size: Annotated[
        int | None, typer.Option("--target-file-size", metavar="MB", min=1, help="By default as the table says.")
    ] = None,
    delete_ratio: Annotated[
        float, typer.Option("--delete-ratio", min=0, max=1, help="Leave files with at most this share deleted.")
    ] = 0.0,
    rewrite_all: Annotated[
        bool | None, typer.Option("--rewrite-all/--as-needed", help="Rewrite files that need it for nothing else, too.")
    ] = None,
    max_groups: Annotated[
        int | None, typer.Option("--max-groups", min=1, help="End after so many groups of files.")
    ] = None,
) -> None:
    """Move rows into fewer, larger or better sorted files. No row changes; others may read and write meanwhile."""
    with open_lake() as lake, progress("Compacting", "bytes") as advance:
        shown = 0

        def report(done: CompactionResult) -> None:
            nonlocal shown
            advance(done.bytes_rewritten - shown)
            shown = done.bytes_rewritten

        result = lake.dataset(name).compact(
            strategy,
            columns=split_names(columns),
            where=where,
            target_file_size=None if target_file_size is None else target_file_size * 1024 * 1024,
            delete_ratio=delete_ratio,
            rewrite_all=rewrite_all,
            max_groups=max_groups,
            progress=report,
        )
    message = (
        f"Rewrote {counted(result.files_rewritten, 'file')} of {name} as {counted(result.files_written, 'file')}"
        if result.files_rewritten
        else f"No file of {name} needed rewriting"
    )
    left = f"; {counted(result.groups_left, 'group')} of files left" if result.groups_left else ""
    show_outcome(f"{message}{left}.", result, _COMPACTED)


@command(
    app,
    "expire",
    example=(
        "cordillera dataset expire sales.orders --older-than 168 --dry-run\n"
        "cordillera dataset expire sales.orders --older-than 168 --keep-last 5 --yes"
    ),
)
def expire(
    name: DatasetName,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", metavar="HOURS", min=0, help="Younger snapshots stay; by default as the policy."),
    ] = None,
    keep_last: Annotated[
        int | None, typer.Option("--keep-last", min=1, help="So many stay of every branch; by default as the policy.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Forget old snapshots and remove the files that only they need. What branches and tags keep stays."""
    age = None if older_than is None else of_hours(older_than)
    with open_lake() as lake:
        dataset = lake.dataset(name)
        planned = dataset.expire_snapshots(older_than=age, keep_last=keep_last, dry_run=True)
        consequence = f"{counted(len(planned.snapshots), 'snapshot')} of {name} would be forgotten for good."
        if go_ahead(consequence, dry_run=dry_run, yes=yes or not planned.snapshots):
            result = dataset.expire_snapshots(older_than=age, keep_last=keep_last)
            gone = f"{counted(len(result.snapshots), 'snapshot')} of {name} and removed {counted(result.files, 'file')}"
            show_outcome(
                f"Forgot {gone}.",
                result,
                _EXPIRED,
            )


@command(app, "rewrite-manifests", example="cordillera dataset rewrite-manifests sales.orders")
def rewrite_manifests(name: DatasetName) -> None:
    """Write Iceberg's manifests anew, as few as the files need, so that planning reads less."""
    with open_lake() as lake:
        result = lake.dataset(name).rewrite_manifests()
    show_outcome(f"{name} had {counted(result.before, 'manifest')}, and has {result.after:,}.", result, _MANIFESTS)


@command(app, "statistics", example="cordillera dataset statistics sales.orders")
def statistics(name: DatasetName) -> None:
    """Show how many distinct values columns had when statistics were last refreshed, by whatever engine."""
    with open_lake() as lake:
        known = lake.dataset(name).statistics()
    show_list(known, _STATISTICS, none=f"Nothing has been counted. See: cordillera dataset refresh-statistics {name}")


@command(
    app,
    "refresh-statistics",
    example=(
        "cordillera dataset refresh-statistics sales.orders\n"
        "cordillera dataset refresh-statistics sales.orders --columns customer,country"
    ),
)
def refresh_statistics(
    name: DatasetName,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", metavar="NAMES", help="Also these, separated by commas; from then on they are counted always."
        ),
    ] = None,
) -> None:
    """Count the distinct values of the key, the partition columns and those counted before, for query planners."""
    with open_lake() as lake:
        result = lake.dataset(name).refresh_statistics(split_names(columns))
    done = f"{counted(len(result.columns), 'column')} of {name}, in {counted(result.files_read, 'file')}"
    show_outcome(f"Counted the distinct values of {done}.", result, _COUNTED)


@command(
    app,
    "maintenance",
    example=(
        "cordillera dataset maintenance sales.orders\n"
        "cordillera dataset maintenance sales.orders --set small-files=64 --set expire-snapshots=false"
    ),
)
def maintenance(
    name: DatasetName,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change the policy first; an empty value is the default."),
    ] = None,
) -> None:
    """Show what maintenance is due and how long it will take, and what is done without being asked."""
    from cordillera.spec.maintenance import policy_property

    changed = {policy_property(key): value or None for key, value in parse_pairs(settings or [], "setting").items()}
    with open_lake() as lake:
        if changed:
            lake.backend.configure_maintenance(name, changed)
        status = lake.dataset(name).maintenance()
    parts = [Part("What could be done", status.advice, _ADVICE)]
    if status.runs:
        parts.append(Part("What was done", status.runs, _RUNS))
    show(status, _STATUS, parts)


@command(app, "advise", example="cordillera dataset advise sales.orders")
def advise(name: DatasetName) -> None:
    """Show what would serve the scans and merges of the last 30 days better, and the commands that do it."""
    with open_lake() as lake:
        advice = lake.dataset(name).advise()
    show(advice, _ADVISED, [Part(one.what, _lines(one), _PROPOSAL) for one in advice.proposals])


def _lines(proposal: Proposal) -> list[tuple[str, str]]:
    """Return what a proposal says, line by line."""
    commands = [("command", command) for command in proposal.commands]
    return [("why", proposal.why), ("effect", proposal.effect), *commands]
