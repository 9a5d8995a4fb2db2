"""``cordillera branch`` and ``cordillera tag``: names for snapshots, and writing where nobody looks yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.dataset import app as dataset_app
from cordillera.cli.dataset_rows import OUTCOME
from cordillera.cli.options import AsOfText, DatasetName, DryRun, Yes
from cordillera.cli.output import View, number, show_list, show_outcome
from cordillera.cli.session import open_lake
from cordillera.cli.terminal import go_ahead

if TYPE_CHECKING:
    from cordillera.spec.refs import Ref, Retention

app = typer.Typer(name="branch", no_args_is_help=True, help="Rows to write and check before readers see them.")
tag_app = typer.Typer(name="tag", no_args_is_help=True, help="A lasting name for a snapshot.")
_VIEW: View = {
    "name": "name",
    "snapshot": number("sequence_number"),
    "max_ref_age_ms": number("retention.max_ref_age_ms"),
    "max_snapshot_age_ms": number("retention.max_snapshot_age_ms"),
    "min_snapshots_to_keep": number("retention.min_snapshots_to_keep"),
}
_DAY_MS = 86_400_000

BranchName = Annotated[str, typer.Argument(metavar="BRANCH", help="The branch.")]
TagName = Annotated[str, typer.Argument(metavar="TAG", help="The tag.")]
KeepDays = Annotated[
    int | None, typer.Option("--keep-days", min=1, help="Days after which snapshot expiry drops the name itself.")
]
SnapshotDays = Annotated[
    int | None, typer.Option("--snapshot-days", min=1, help="Days after which its snapshots may expire.")
]
MinSnapshots = Annotated[int | None, typer.Option("--min-snapshots", min=1, help="Snapshots that never expire.")]


@command(app, "list", example="cordillera branch list sales.orders")
def list_branches(name: DatasetName) -> None:
    """List the branches of a dataset."""
    show_list(_refs(name, "branch"), _VIEW, none=f"{name} has no branches: nothing has been written.")


@command(tag_app, "list", example="cordillera tag list sales.orders")
def list_tags(name: DatasetName) -> None:
    """List the tags of a dataset."""
    show_list(_refs(name, "tag"), _VIEW, none=f"{name} has no tags.")


@command(app, "create", example="cordillera branch create sales.orders audit")
def create_branch(
    name: DatasetName,
    branch: BranchName,
    as_of: AsOfText = None,
    keep_days: KeepDays = None,
    snapshot_days: SnapshotDays = None,
    min_snapshots: MinSnapshots = None,
) -> None:
    """Make a branch of the current rows, or of an earlier snapshot. What is written to it, only its readers see."""
    _create(name, branch, "branch", as_of, _retention(keep_days, snapshot_days, min_snapshots))


@command(tag_app, "create", example="cordillera tag create sales.orders year-end-2026 --as-of 2026-12-31")
def create_tag(name: DatasetName, tag: TagName, as_of: AsOfText = None, keep_days: KeepDays = None) -> None:
    """Give the current snapshot, or an earlier one, a name to read it by: dataset read --as-of TAG."""
    _create(name, tag, "tag", as_of, _retention(keep_days, None, None))


@command(app, "retain", example="cordillera branch retain sales.orders audit --keep-days 30")
def retain(
    name: DatasetName,
    branch: BranchName,
    keep_days: KeepDays = None,
    snapshot_days: SnapshotDays = None,
    min_snapshots: MinSnapshots = None,
) -> None:
    """Set how long snapshot expiry keeps a branch, and its snapshots; what is not given follows the dataset's own."""
    with open_lake() as lake:
        kept = lake.backend.retain_ref(name, branch, _retention(keep_days, snapshot_days, min_snapshots))
    show_outcome(f"Changed how long {branch} of {name} is kept.", kept, _VIEW)


@command(app, "drop", example="cordillera branch drop sales.orders audit --yes")
def drop_branch(name: DatasetName, branch: BranchName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Drop a branch, with whatever it has not published."""
    _drop(name, branch, "branch", dry_run=dry_run, yes=yes)


@command(tag_app, "drop", example="cordillera tag drop sales.orders year-end-2026 --yes")
def drop_tag(name: DatasetName, tag: TagName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Drop a tag; its snapshot may expire then."""
    _drop(name, tag, "tag", dry_run=dry_run, yes=yes)


@command(app, "publish", example="cordillera branch publish sales.orders audit --completes 2026-01-31")
def publish(
    name: DatasetName,
    branch: BranchName,
    completes: Annotated[
        str | None, typer.Option("--completes", metavar="PARTITION", help="The partition that is complete with it.")
    ] = None,
) -> None:
    """Make everything committed to a branch visible at once. Refused if the dataset was written to meanwhile."""
    with open_lake() as lake:
        result = lake.dataset(name).publish(branch, completes=completes)
    show_outcome(f"Published {branch}: {name} is at snapshot {result.sequence_number}.", result, OUTCOME)


@command(app, "fast-forward", example="cordillera branch fast-forward sales.orders audit")
def fast_forward(
    name: DatasetName,
    branch: BranchName,
    to: Annotated[str, typer.Option("--to", metavar="REF", help="The branch or tag to move on to.")] = "main",
) -> None:
    """Move a branch on to a later snapshot that was made from its own."""
    with open_lake() as lake:
        result = lake.dataset(name).fast_forward(branch, to)
    show_outcome(f"{branch} of {name} is at snapshot {result.sequence_number}.", result, OUTCOME)


@command(app, "cherry-pick", example="cordillera branch cherry-pick sales.orders 41")
def cherry_pick(
    name: DatasetName,
    snapshot: Annotated[int, typer.Argument(metavar="SNAPSHOT", help="The snapshot's sequence number.")],
    onto: Annotated[str, typer.Option("--onto", metavar="BRANCH", help="The branch that takes it over.")] = "main",
) -> None:
    """Do to a branch, by default to what readers see, what a snapshot of another branch did to its own."""
    with open_lake() as lake:
        result = lake.dataset(name).cherry_pick(snapshot, onto)
    show_outcome(f"{onto} of {name} has taken it over as snapshot {result.sequence_number}.", result, OUTCOME)


@command(dataset_app, "rollback", example="cordillera dataset rollback sales.orders 40")
def rollback(
    name: DatasetName,
    to: Annotated[str, typer.Argument(metavar="TO", help="A snapshot's sequence number, a date, a time, or a tag.")],
) -> None:
    """Give a dataset the rows it had at an earlier snapshot, by a new one that can be rolled back in its turn."""
    with open_lake() as lake:
        result = lake.dataset(name).rollback(to)
    show_outcome(f"{name} has the rows of {to} again, as snapshot {result.sequence_number}.", result, OUTCOME)


@command(dataset_app, "upgrade", example="cordillera dataset upgrade sales.orders --yes")
def upgrade(name: DatasetName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Raise a dataset's Iceberg format version to 3. No file changes; old clients may not read it any more."""
    with open_lake() as lake:
        consequence = f"{name} would have Iceberg format version 3, which cannot be undone."
        if go_ahead(consequence, dry_run=dry_run, yes=yes):
            result = lake.dataset(name).upgrade()
            show_outcome(f"{name} has Iceberg format version 3.", result, OUTCOME)


def _refs(name: str, kind: str) -> list[Ref]:
    with open_lake() as lake:
        return [ref for ref in lake.backend.refs(name) if ref.kind == kind]


def _create(name: str, ref: str, kind: str, as_of: str | None, retention: Retention) -> None:
    with open_lake() as lake:
        made = lake.backend.create_ref(name, ref, kind, as_of=as_of, retention=retention)
    show_outcome(f"Created the {kind} {ref} of {name} at snapshot {made.sequence_number}.", made, _VIEW)


def _drop(name: str, ref: str, kind: str, *, dry_run: bool, yes: bool) -> None:
    with open_lake() as lake:
        if go_ahead(f"The {kind} {ref} of {name} would be dropped.", dry_run=dry_run, yes=yes):
            lake.backend.drop_ref(name, ref)
            show_outcome(f"Dropped the {kind} {ref} of {name}.", {"dropped": ref}, {"dropped": "dropped"})


def _retention(keep_days: int | None, snapshot_days: int | None, min_snapshots: int | None) -> Retention:
    from cordillera.spec.refs import Retention

    ref_age, snapshot_age = (None if days is None else days * _DAY_MS for days in (keep_days, snapshot_days))
    return Retention(ref_age, snapshot_age, min_snapshots)
