"""Datasets and dataset versions: finding, making, changing and deleting them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from cordillera.api.downloads import Accept, schema_response, wants_arrow
from cordillera.api.parameters import (
    After,
    AsOfText,
    Backend,
    BeforeNumber,
    Branch,
    Limit,
    Name,
    Number,
    Text,
)
from cordillera.api.schema_changes import AnyChange
from cordillera.catalog.commits import CommitResult
from cordillera.catalog.new_table import TableOptions
from cordillera.client.backend import DatasetDetails
from cordillera.codec import Page, page
from cordillera.schema_codec import ColumnSpec, columns_to_schema, schema_to_columns
from cordillera.spec.catalog import Dataset, SearchResult, Snapshot
from cordillera.spec.consumer import Consumers
from cordillera.spec.manifest import Manifest
from cordillera.spec.table_metadata import MAIN_BRANCH

router = APIRouter(tags=["datasets"])


class NewDatasetVersion(BaseModel):
    """The columns of a table, and how it stores and merges rows."""

    columns: list[ColumnSpec] = Field(max_length=10_000)
    options: TableOptions = TableOptions()


class NewDataset(NewDatasetVersion):
    """A dataset to be made; the namespace's owner owns it unless another is named."""

    name: Text = Field(description="`namespace.dataset`", examples=["sales.orders"])
    owner: Text = ""
    description: Text = ""
    tags: list[Text] = []


class RegisteredTable(BaseModel):
    """A table that is there."""

    metadata_location: Text = Field(description="Its metadata file.")


class NewName(BaseModel):
    """What a dataset is to be called."""

    name: Text = Field(description="`namespace.dataset`; both may be others.")


class DatasetChange(BaseModel):
    """What is to change; null leaves a field as it is."""

    owner: Text | None = None
    description: Text | None = None
    tags: list[Text] | None = None


class LifecycleChange(BaseModel):
    """The lifecycle wanted."""

    lifecycle: Text = Field(examples=["active"])
    reason: Text = Field("", description="Why; needed to retire it earlier than its contract promises.")


class SchemaChanges(BaseModel):
    """Changes, made in order, all of them or none."""

    changes: list[AnyChange] = Field(min_length=1, max_length=1000)


class Partitioning(BaseModel):
    """The partitioning wanted."""

    partitioning: list[Text] = Field(
        max_length=100, description="All terms that are to hold; none for one partition.", examples=[["month(day)"]]
    )


class SortOrder(BaseModel):
    """The sort order wanted."""

    sort_order: list[Text] = Field(
        max_length=100,
        description="All terms that are to hold; none for rows as they come.",
        examples=[["ordered_at", "amount desc nulls last"]],
    )


class WriteModeChange(BaseModel):
    """The write mode wanted."""

    write_mode: Text = Field(description="How rows are taken out of files.", examples=["copy-on-write"])


class BloomFilters(BaseModel):
    """The Bloom filters wanted."""

    columns: list[Text] = Field(
        max_length=100, description="All columns that are to have filters.", examples=[["customer"]]
    )
    false_positives: float = Field(default=0.01, description='How often a filter may say "perhaps" wrongly.')


class Search(BaseModel, extra="forbid"):
    """What to look for."""

    text: Text = Field("", description="Words in names, descriptions, tags and columns.")
    namespace: Text | None = None
    owner: Text | None = None
    tag: Text | None = None
    lifecycle: Text | None = None
    after: Text = Field("", description="The `next_page` of the page before.")
    limit: int = Field(50, ge=1, le=1000, description="Most hits on the page.")


class MetadataLocation(BaseModel):
    """Where other engines find a table."""

    metadata_location: str = Field(description="URI of the current Iceberg metadata file.")


@router.get("/datasets", summary="List datasets")
def list_datasets(
    backend: Backend,
    namespace: Annotated[Text | None, Query(description="Only those of one namespace.")] = None,
    after: After = "",
    limit: Limit = 100,
    deleted: Annotated[bool, Query(description="Those that are deleted and can be restored.")] = False,
) -> Page[Dataset]:
    """Datasets by full name."""
    found = backend.datasets(namespace, after, limit, deleted=deleted)
    return page(found, limit, lambda dataset: dataset.full_name)


@router.get("/search", summary="Search datasets")
def search_datasets(backend: Backend, wanted: Annotated[Search, Query()]) -> SearchResult:
    """Find datasets by words, narrowed by facets."""
    filters = wanted.model_dump(include={"namespace", "owner", "tag", "lifecycle"}, exclude_none=True)
    return backend.search(wanted.text, filters, wanted.after, wanted.limit)


@router.post("/datasets", status_code=201, summary="Create a dataset")
def create_dataset(backend: Backend, wanted: NewDataset) -> DatasetDetails:
    """Make a dataset with its first dataset version, active from the start."""
    return backend.create_dataset(
        wanted.name,
        columns_to_schema(wanted.columns),
        wanted.options,
        owner=wanted.owner,
        description=wanted.description,
        tags=wanted.tags,
    )


@router.get("/datasets/{name}", summary="Show a dataset")
def show_dataset(backend: Backend, name: Name) -> DatasetDetails:
    """A dataset with the dataset version named, else the active one, else the newest."""
    return backend.dataset(name)


@router.patch("/datasets/{name}", summary="Change a dataset")
def update_dataset(backend: Backend, name: Name, change: DatasetChange) -> Dataset:
    """Change the owner, the description or the tags."""
    return backend.update_dataset(name, owner=change.owner, description=change.description, tags=change.tags)


@router.post("/datasets/{name}/register", status_code=201, summary="Register a table")
def register_dataset(backend: Backend, name: Name, wanted: RegisteredTable) -> DatasetDetails:
    """Make a table that lies in the lake's storage, and belongs to no dataset, one; its snapshots are checked first."""
    return backend.register_dataset(name, wanted.metadata_location)


@router.post("/datasets/{name}/rename", summary="Rename a dataset")
def rename_dataset(backend: Backend, name: Name, wanted: NewName) -> Dataset:
    """Call a dataset otherwise, or move it to another namespace; refused while a job names it."""
    return backend.rename_dataset(name, wanted.name)


@router.delete("/datasets/{name}", summary="Delete a dataset")
def delete_dataset(backend: Backend, name: Name) -> Dataset:
    """Delete a dataset; it can be restored until `purge_after`."""
    return backend.delete_dataset(name)


@router.post("/datasets/{name}/restore", summary="Restore a dataset")
def restore_dataset(backend: Backend, name: Name) -> Dataset:
    """Bring back the dataset of that name that was deleted last."""
    return backend.restore_dataset(name)


@router.post("/datasets/{name}/versions", status_code=201, summary="Create a dataset version")
def create_dataset_version(
    backend: Backend,
    name: Name,
    wanted: NewDatasetVersion,
    active: Annotated[bool, Query(description="Make it the active one at once.")] = False,
) -> DatasetDetails:
    """Make the next dataset version beside those there are."""
    return backend.create_dataset_version(name, columns_to_schema(wanted.columns), wanted.options, active=active)


@router.put("/datasets/{name}/lifecycle", summary="Change a lifecycle")
def set_lifecycle(backend: Backend, name: Name, wanted: LifecycleChange) -> DatasetDetails:
    """Change a dataset version's lifecycle. Activating one deprecates the one that was active."""
    return backend.set_lifecycle(name, wanted.lifecycle, reason=wanted.reason)


@router.get("/datasets/{name}/consumers", summary="Show consumers")
def show_consumers(backend: Backend, name: Name) -> Consumers:
    """Who relies on a dataset version, and how far each has moved to the one that takes its place. Whoever administers
    the dataset sees all of them, others those whom they speak for.
    """
    return backend.consumers(name)


@router.get("/datasets/{name}/schema", summary="Show a schema", response_model=list[ColumnSpec])
def show_schema(backend: Backend, name: Name, accept: Accept, as_of: AsOfText = None) -> Response | list[ColumnSpec]:
    """The columns, now or as of a moment; as an Arrow stream without rows where that is accepted."""
    schema = backend.schema(name, as_of)
    return schema_response(schema) if wants_arrow(accept) else schema_to_columns(schema)


@router.post("/datasets/{name}/schema-changes", summary="Change a schema")
def evolve(backend: Backend, name: Name, wanted: SchemaChanges) -> CommitResult:
    """Change the columns; data files stay as they are."""
    return backend.evolve(name, [change.to_spec() for change in wanted.changes])


@router.put("/datasets/{name}/partitioning", summary="Change a partitioning")
def partition_by(backend: Backend, name: Name, wanted: Partitioning) -> CommitResult:
    """Lay out new files by other partitions; files there are stay as they are."""
    return backend.partition_by(name, wanted.partitioning)


@router.put("/datasets/{name}/sort-order", summary="Change a sort order")
def sort_by(backend: Backend, name: Name, wanted: SortOrder) -> CommitResult:
    """Sort the rows within new files; files there are stay as they are."""
    return backend.sort_by(name, wanted.sort_order)


@router.put("/datasets/{name}/write-mode", summary="Change the write mode")
def set_write_mode(backend: Backend, name: Name, wanted: WriteModeChange) -> CommitResult:
    """Take rows out of files in another way from now on; files there are stay as they are."""
    return backend.set_write_mode(name, wanted.write_mode)


@router.get("/datasets/{name}/bloom-filters", summary="Show which columns have Bloom filters")
def show_bloom_filters(backend: Backend, name: Name) -> list[str]:
    """The columns of which new files have Bloom filters."""
    return backend.bloom_filters(name)


@router.put("/datasets/{name}/bloom-filters", summary="Change which columns have Bloom filters")
def set_bloom_filters(backend: Backend, name: Name, wanted: BloomFilters) -> CommitResult:
    """Give new files Bloom filters of columns; files there are stay as they are."""
    return backend.set_bloom_filters(name, wanted.columns, false_positives=wanted.false_positives)


@router.get("/datasets/{name}/metadata-location", summary="Find the Iceberg metadata")
def show_metadata_location(backend: Backend, name: Name) -> MetadataLocation:
    """Where engines that read tables by path find the table as it is now."""
    return MetadataLocation(metadata_location=backend.metadata_location(name))


@router.get("/datasets/{name}/snapshots", summary="List snapshots")
def list_snapshots(
    backend: Backend, name: Name, before: BeforeNumber = None, limit: Limit = 100, branch: Branch = MAIN_BRANCH
) -> Page[Snapshot]:
    """Snapshots of a branch, newest first; a branch lists what it has committed and not published."""
    return page(backend.snapshots(name, before, limit, branch), limit, lambda snapshot: snapshot.sequence_number)


@router.get("/datasets/{name}/snapshots/{sequence_number}", summary="Show a snapshot")
def show_snapshot(backend: Backend, name: Name, sequence_number: Number) -> Snapshot:
    """One snapshot."""
    return backend.snapshot(name, sequence_number)


@router.get("/datasets/{name}/snapshots/{sequence_number}/manifest", summary="Show a manifest")
def show_manifest(backend: Backend, name: Name, sequence_number: Number) -> Manifest:
    """What a snapshot changed, file by file."""
    return backend.manifest(name, sequence_number)
