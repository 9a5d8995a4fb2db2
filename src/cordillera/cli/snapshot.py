"""``cordillera snapshot``: a dataset's history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import DEFAULT_LIMIT, Branch, DatasetName, Everything, Limit
from cordillera.cli.output import Part, View, number, show, show_list
from cordillera.cli.paging import paged
from cordillera.cli.session import open_lake

if TYPE_CHECKING:
    from cordillera.spec.catalog import Snapshot
    from cordillera.spec.manifest import Manifest

app = typer.Typer(name="snapshot", no_args_is_help=True, help="One commit of a dataset version, with what it changed.")
_VIEW: View = {
    "snapshot": number("sequence_number"),
    "committed_at": "committed_at",
    "operation": "operation",
    "inserted": "rows_inserted",
    "updated": "rows_updated",
    "deleted": "rows_deleted",
    "late": "rows_late",
    "rows": "rows",
    "principal": "principal",
}
_DETAILS: View = {
    "snapshot": number("snapshot.sequence_number"),
    "committed_at": "snapshot.committed_at",
    "operation": "snapshot.operation",
    "inserted": "snapshot.rows_inserted",
    "updated": "snapshot.rows_updated",
    "deleted": "snapshot.rows_deleted",
    "late": "snapshot.rows_late",
    "rows": "snapshot.rows",
    "principal": "snapshot.principal",
    "trace_id": "snapshot.trace_id",
    "snapshot_id": number("snapshot.snapshot_id"),
    "schema_id": number("snapshot.schema_id"),
    "partitions": "snapshot.partitions",
    "properties": "snapshot.properties",
}
_FILES: View = {
    "change": lambda entry: "added" if entry.added else "removed",
    "content": "content",
    "partition": "partition",
    "rows": "rows",
    "bytes": "bytes",
    "path": "path",
}


@dataclass(frozen=True, slots=True)
class _SnapshotDetails:
    """A snapshot with its manifest."""

    snapshot: Snapshot
    manifest: Manifest


@command(app, "list", example="cordillera snapshot list sales.orders --limit 10")
def list_snapshots(
    name: DatasetName, branch: Branch = "main", limit: Limit = DEFAULT_LIMIT, all: Everything = False
) -> None:
    """List a dataset's snapshots, newest first; of a branch, those it has not published."""
    with open_lake() as lake:
        found = paged(
            lambda before, size: lake.backend.snapshots(name, before, size, branch),
            None,
            lambda one: one.sequence_number,
            limit=limit,
            everything=all,
        )
        show_list(found, _VIEW, none=f"{name} has no snapshots: nothing has been written.")


@command(app, "show", example="cordillera snapshot show sales.orders 41 --output json")
def show_snapshot(
    name: DatasetName,
    sequence_number: Annotated[int, typer.Argument(metavar="SNAPSHOT", help="The snapshot's sequence number.")],
) -> None:
    """Show a snapshot with its manifest: the files it added and removed, with key ranges and checksums."""
    with open_lake() as lake:
        snapshot = lake.backend.snapshot(name, sequence_number)
        manifest = lake.backend.manifest(name, sequence_number)
    show(_SnapshotDetails(snapshot, manifest), _DETAILS, [Part("Files", manifest.entries, _FILES)])
