"""What the catalog holds: namespaces, datasets, dataset versions and their snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from cordillera.errors import LifecycleError
from cordillera.spec.manifest import AnyOperation
from cordillera.spec.merge import WriteMode
from cordillera.spec.names import DatasetRef


class Lifecycle(StrEnum):
    """Where a dataset version is in its life."""

    UNRELEASED = "unreleased"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


_TRANSITIONS = {
    Lifecycle.UNRELEASED: {Lifecycle.ACTIVE, Lifecycle.RETIRED},
    Lifecycle.ACTIVE: {Lifecycle.DEPRECATED},
    Lifecycle.DEPRECATED: {Lifecycle.ACTIVE, Lifecycle.RETIRED},
    Lifecycle.RETIRED: set(),
}


def check_transition(name: str, current: Lifecycle, wanted: Lifecycle) -> None:
    """Refuse a lifecycle change that the rules do not allow.

    Raises:
        LifecycleError: Naming the states that could follow.
    """
    if wanted not in _TRANSITIONS[current]:
        following = ", ".join(sorted(_TRANSITIONS[current])) or "none: retired is final"
        raise LifecycleError(f"{name} is {current} and cannot become {wanted}.", hint=f"Possible: {following}.")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A domain's or team's space; it owns datasets.

    Attributes:
        properties: What else people and engines note about it; nothing here depends on them.
    """

    id: UUID
    name: str
    owner: str
    description: str
    created_at: datetime
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """A query that has a name, and that engines read like a dataset.

    Attributes:
        id: What view metadata has as the view's UUID.
        location: Its folder.
        metadata_location: URI of the current metadata file.
    """

    id: UUID
    namespace: str
    name: str
    owner: str
    location: str
    metadata_location: str
    created_at: datetime
    updated_at: datetime

    @property
    def full_name(self) -> str:
        """``namespace.name``."""
        return f"{self.namespace}.{self.name}"


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """An incompatible line of a dataset: one Iceberg table with its own schema, key and lifecycle.

    Attributes:
        number: 1, 2 …
        completion_unit: How partitions of this dataset version are declared complete (see ``spec.completion``).
        sort_order: Terms like ``ordered_at`` or ``amount desc`` that rows are sorted by within each new file.
        metadata_location: URI of the current Iceberg metadata file.
        sequence_number: Sequence number of the current snapshot; 0 before the first.
        rows: Live rows.
        bytes: Bytes of live data files.
        files: Live data files.
        contract_revision: The contract in force; 0 without one.
    """

    id: UUID
    dataset_id: UUID
    number: int
    lifecycle: Lifecycle
    location: str
    metadata_location: str
    format_version: int
    key: tuple[str, ...]
    sequence_column: str | None
    partitioning: tuple[str, ...]
    sort_order: tuple[str, ...]
    write_mode: WriteMode
    completion_unit: str
    schema_id: int
    sequence_number: int
    rows: int
    bytes: int
    files: int
    created_at: datetime
    updated_at: datetime
    contract_revision: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """A top-level column of a dataset version, as people search for it."""

    field_id: int
    position: int
    name: str
    type: str
    required: bool
    doc: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named, owned, documented table-like thing.

    Attributes:
        deleted_at: When it was deleted; it can be restored until ``purge_after``.
    """

    id: UUID
    namespace: str
    name: str
    owner: str
    description: str
    tags: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    purge_after: datetime | None = None

    @property
    def full_name(self) -> str:
        """``namespace.name``."""
        return f"{self.namespace}.{self.name}"

    def ref(self, number: int | None = None) -> DatasetRef:
        """Return a reference to the dataset, or to one of its dataset versions."""
        return DatasetRef(self.namespace, self.name, number)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a dataset version, with a monotonic sequence number.

    Attributes:
        committed_at: When it became part of its branch; for a published one, when it was published.
        operation: None for a commit by another engine, whose intent is not known.
        branch: Where it was committed; ``main`` once it is published; empty when its branch was dropped.
    """

    dataset_version_id: UUID
    sequence_number: int
    snapshot_id: int
    parent_snapshot_id: int | None
    schema_id: int
    committed_at: datetime
    principal: str
    trace_id: str
    operation: AnyOperation | None
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_late: int
    files_added: int
    files_removed: int
    rows: int
    partitions: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    branch: str = "main"


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A dataset that a search found, with what a result list shows."""

    dataset: Dataset
    version: DatasetVersion
    matched: str
    """Where the text was found: a snippet of the name, description or column that matched."""


@dataclass(frozen=True, slots=True)
class Facet:
    """One value of a search facet and how many of the results have it."""

    name: str
    value: str
    count: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A page of search hits with the facets of the whole result."""

    hits: tuple[SearchHit, ...]
    total: int
    facets: tuple[Facet, ...]
    next_page: str | None
