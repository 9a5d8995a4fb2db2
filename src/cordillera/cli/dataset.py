"""``cordillera dataset``: finding datasets, looking at them and changing what is said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cordillera.cli.command import command
from cordillera.cli.options import (
    DEFAULT_LIMIT,
    DatasetName,
    DryRun,
    Everything,
    Limit,
    NewDescription,
    NewOwner,
    Yes,
    split_names,
)
from cordillera.cli.output import Part, View, number, show, show_list, show_outcome
from cordillera.cli.paging import paged
from cordillera.cli.session import OutputFormat, current_session, open_lake
from cordillera.cli.terminal import announce, go_ahead
from cordillera.errors import InvalidInputError
from cordillera.spec.counting import counted

if TYPE_CHECKING:
    from cordillera.client.backend import LakeBackend
    from cordillera.spec.catalog import SearchResult

app = typer.Typer(
    name="dataset",
    no_args_is_help=True,
    help="A named, owned, documented table-like thing: its rows and what is known.",
)

VIEW: View = {
    "name": "full_name",
    "owner": "owner",
    "description": "description",
    "tags": "tags",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
_DELETED = {**VIEW, "deleted_at": "deleted_at", "purge_after": "purge_after"}
_HITS: View = {
    "name": "dataset.full_name",
    "owner": "dataset.owner",
    "lifecycle": "version.lifecycle",
    "rows": "version.rows",
    "matched": "matched",
}
DETAILS: View = {
    "name": "dataset.full_name",
    "description": "dataset.description",
    "owner": "dataset.owner",
    "tags": "dataset.tags",
    "dataset_version": number("version.number"),
    "lifecycle": "version.lifecycle",
    "key": "version.key",
    "sequence_column": "version.sequence_column",
    "partitioning": "version.partitioning",
    "sort_order": "version.sort_order",
    "completion_unit": "version.completion_unit",
    "write_mode": "version.write_mode",
    "merge_rule": "semantics.rule",
    "aggregates": "semantics.aggregates",
    "snapshot": number("version.sequence_number"),
    "rows": "version.rows",
    "bytes": "version.bytes",
    "files": "version.files",
    "updated_at": "version.updated_at",
    "format_version": number("version.format_version"),
    "metadata_location": "version.metadata_location",
}
_COLUMNS: View = {"column": "name", "type": "type", "required": "required", "description": "doc"}
_VERSIONS: View = {
    "dataset_version": number("number"),
    "lifecycle": "lifecycle",
    "rows": "rows",
    "snapshot": number("sequence_number"),
    "updated_at": "updated_at",
}


@command(app, "list", example="cordillera dataset list sales --all --output csv")
def list_datasets(
    namespace: Annotated[str | None, typer.Argument(metavar="NAMESPACE", help="Only of this namespace.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted datasets that can still be restored.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    all: Everything = False,
) -> None:
    """List the datasets by name."""
    with open_lake() as lake:
        found = paged(
            lambda after, size: lake.backend.datasets(namespace, after, size, deleted=deleted),
            "",
            lambda one: one.full_name,
            limit=limit,
            everything=all,
        )
        where = f" in {namespace}" if namespace else ""
        none = f"You see no dataset{where}. Make one with: cordillera dataset create."
        show_list(found, _DELETED if deleted else VIEW, none="There are no such datasets." if deleted else none)


@command(app, "search", example="cordillera dataset search departure delay --tag aviation")
def search(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="What to look for; all by default.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Only of this namespace.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Only of this owner.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Only with this tag.")] = "",
    lifecycle: Annotated[str, typer.Option("--lifecycle", help="Only in this state.")] = "",
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """Find datasets by words in names, descriptions, tags and columns."""
    filters = {"namespace": namespace, "owner": owner, "tag": tag, "lifecycle": lifecycle}
    with open_lake() as lake:
        found = lake.backend.search(
            " ".join(words or []), {name: value for name, value in filters.items() if value}, limit=limit
        )
    if current_session().output is OutputFormat.JSON:
        show(found, {})
        return
    show_list(found.hits, _HITS, none="No dataset was found.")
    if found.hits:
        announce(_summary(found))


def _summary(found: SearchResult) -> str:
    """Say how many datasets were found, and of which owners, tags and the like they are."""
    by_name: dict[str, list[str]] = {}
    for facet in found.facets:
        by_name.setdefault(facet.name, []).append(f"{facet.value} ({facet.count:,})")
    lines = [f"{name}: {', '.join(values)}" for name, values in by_name.items()]
    return "\n".join([f"{len(found.hits):,} of {found.total:,} found.", *lines])


@command(
    app, "show", example="cordillera dataset show sales.orders\ncordillera dataset show sales.orders_v2 --output json"
)
def show_dataset(name: DatasetName) -> None:
    """Show what is known of a dataset: its owner, key, columns, dataset versions and size."""
    with open_lake() as lake:
        found = lake.backend.dataset(name)
    parts = [Part("Columns", found.columns, _COLUMNS)]
    if len(found.versions) > 1:
        parts.append(Part("Dataset versions", found.versions, _VERSIONS))
    show(found, DETAILS, parts)


@command(app, "update", example='cordillera dataset update sales.orders --owner team-commerce --tags "finance,daily"')
def update(
    name: DatasetName,
    owner: NewOwner = None,
    description: NewDescription = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tags", help="All of its tags, separated by commas; '' for none.")
    ] = None,
) -> None:
    """Change a dataset's owner, description or tags; what is not given stays."""
    if owner is None and description is None and not tags:
        raise InvalidInputError("There is nothing to change.", hint="Give --owner, --description or --tags.")
    with open_lake() as lake:
        changed = lake.backend.update_dataset(
            name, owner=owner, description=description, tags=split_names(tags) if tags else None
        )
    show_outcome(f"Updated the dataset {changed.full_name}.", changed, VIEW)


@command(app, "lifecycle", example="cordillera dataset lifecycle sales.orders_v2 active")
def lifecycle(
    name: DatasetName,
    state: Annotated[str, typer.Argument(metavar="STATE", help="unreleased, active, deprecated or retired.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; needed to retire it earlier than promised.")] = "",
) -> None:
    """Change where a dataset version is in its life. Activating one deprecates the one that was active."""
    with open_lake() as lake:
        changed = lake.backend.set_lifecycle(name, state, reason=reason)
    label = changed.dataset.ref(changed.version.number)
    show_outcome(f"{label} is {changed.version.lifecycle}.", changed, DETAILS)


@command(
    app,
    "register",
    example="cordillera dataset register sales.orders s3://bucket/sales/orders/0199a1c2-8f3e-7b2a-9c4d-5e6f708192a3"
    "/metadata/00007-0199a1c2-9d10-7001-8b1f-0a1b2c3d4e5f.metadata.json",
)
def register(
    name: DatasetName,
    metadata_location: Annotated[str, typer.Argument(metavar="METADATA", help="The table's metadata file.")],
) -> None:
    """Make a table in the lake's storage that belongs to no dataset one; that of a deleted one brings it back."""
    with open_lake() as lake:
        registered = lake.backend.register_dataset(name, metadata_location)
    show_outcome(f"Registered {name} with {counted(registered.version.rows, 'row')}.", registered, DETAILS)


@command(app, "rename", example="cordillera dataset rename sales.orders commerce.orders")
def rename(
    name: DatasetName,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="namespace.dataset; both may be others.")],
) -> None:
    """Call a dataset otherwise, or move it to another namespace. Subscriptions go with it; its files stay."""
    with open_lake() as lake:
        renamed = lake.backend.rename_dataset(name, new_name)
    show_outcome(f"{name} is called {renamed.full_name} now.", renamed, VIEW)


@command(
    app,
    "delete",
    example="cordillera dataset delete sales.scratch --dry-run\ncordillera dataset delete sales.scratch --yes",
)
def delete(name: DatasetName, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Delete a dataset. It can be restored for a while; its files are removed after that."""
    with open_lake() as lake:
        if go_ahead(_consequence(lake.backend, name), dry_run=dry_run, yes=yes):
            deleted = lake.backend.delete_dataset(name)
            show_outcome(
                f"Deleted the dataset {deleted.full_name}. Until {deleted.purge_after:%Y-%m-%d %H:%M} UTC it can be "
                f"restored with: cordillera dataset restore {deleted.full_name}.",
                deleted,
                _DELETED,
            )


def _consequence(lake: LakeBackend, name: str) -> str:
    """Say what goes with a dataset, and who depends on it."""
    from cordillera.spec.lineage import Node, NodeKind

    found = lake.dataset(name)
    full_name = found.dataset.full_name
    rows = sum(version.rows for version in found.versions)
    graph = lake.lineage(Node(NodeKind.DATASET, full_name), upstream=0, downstream=1)
    dependents = [str(node) for node in graph.nodes() if node != graph.focus]
    used = f" These depend on it: {', '.join(dependents)}." if dependents else " Nothing is known to depend on it."
    return (
        f"The dataset {full_name} with {counted(rows, 'row')} would be deleted; it can be restored for a while.{used}"
    )


@command(app, "restore", example="cordillera dataset restore sales.scratch")
def restore(name: DatasetName) -> None:
    """Bring back the deleted dataset of that name."""
    with open_lake() as lake:
        restored = lake.backend.restore_dataset(name)
    show_outcome(f"Restored the dataset {restored.full_name}.", restored, VIEW)
