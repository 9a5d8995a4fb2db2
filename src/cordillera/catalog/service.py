"""Datasets and dataset versions: creating, finding and changing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.consumers import check_retirement
from cordillera.catalog.lineage_names import rename_node
from cordillera.catalog.lookup import Lookup, ResolvedDataset, meant_version, page_limit, unversioned
from cordillera.catalog.new_table import TableOptions, new_table
from cordillera.catalog.requests import OTHER_DATASETS
from cordillera.catalog.tables import MetadataFile, TableService, columns_of, with_state
from cordillera.catalog.trail import Trail
from cordillera.catalog.waking import wake_inside
from cordillera.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NamespaceNotFoundError,
    NotAllowedError,
    SnapshotNotFoundError,
    StorageFullError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.access import Privilege, SecurableKind
from cordillera.spec.catalog import (
    Column,
    Dataset,
    DatasetVersion,
    Lifecycle,
    SearchResult,
    Snapshot,
    check_transition,
)
from cordillera.spec.completion import CompletionUnit, parse_unit
from cordillera.spec.lineage import NodeKind
from cordillera.spec.manifest import Manifest
from cordillera.spec.names import check_dataset_name, check_name, parse_dataset_ref
from cordillera.spec.partitioning import describe_partitioning
from cordillera.spec.sort_order import describe_sort_order
from cordillera.spec.table_metadata import MAIN_BRANCH, TableMetadata
from cordillera.spec.texts import check_tags, check_texts

_EXAMPLES = 5


def _nothing_else(tx: Transaction, version: DatasetVersion) -> None:
    pass


class CatalogService:
    """The catalog of one lake.

    Args:
        store: The metadata store.
        lookup: Finds what whoever acts may.
        tables: Creates the tables behind dataset versions.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, tables: TableService, clock: Clock) -> None:
        self._store, self._lookup, self._tables, self._clock = store, lookup, tables, clock

    def create_dataset(
        self,
        name: str,
        schema: pa.Schema,
        options: TableOptions,
        *,
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
    ) -> ResolvedDataset:
        """Create a dataset with its first dataset version, active from the start.

        Args:
            name: ``namespace.dataset``.
            schema: Its columns.
            options: Key, sequence, partitioning and the like.
            owner: Owner; empty takes the namespace's if whoever acts is or acts for him, else whoever acts.
            description: What it is about.
            tags: Labels for search.

        Raises:
            InvalidSchemaError: If the schema, key or partitioning cannot be.
            InvalidInputError: If the owner, the description or a tag is too long, or there are too many tags.
            NamespaceNotFoundError, AlreadyExistsError, InvalidNameError: As their names say.
        """
        dataset = self.new_dataset(name, owner=owner, description=description, tags=tags)
        version = self._create_version(dataset, 1, Lifecycle.ACTIVE, schema, options)
        return ResolvedDataset(dataset, version)

    def new_dataset(self, name: str, *, owner: str = "", description: str = "", tags: Sequence[str] = ()) -> Dataset:
        """Return a dataset that could be created; nothing is stored. The parameters are those of ``create_dataset``."""
        ref = unversioned(name)
        check_dataset_name(ref.name)
        check_texts("dataset", name, owner=owner, description=description)
        labels = _tags(name, tags)
        now = self._clock.now()
        with self._store.read() as tx:
            namespace = self._lookup.namespace(tx, ref.namespace, Privilege.CREATE)
            if tx.views.get(ref.namespace, ref.name) is not None:
                raise AlreadyExistsError(f"The view {ref} exists already.", hint="Choose another name.")
            if tx.datasets.get(ref.namespace, ref.name) is not None:
                raise AlreadyExistsError(
                    f"The dataset {ref} exists already.",
                    hint="Write to it, choose another name, or create a dataset version of it.",
                )
            owner = self._lookup.new_owner(tx, namespace, owner)
        return Dataset(self._clock.new_id(), ref.namespace, ref.name, owner, description, labels, now, now)

    def create_dataset_version(
        self, name: str, schema: pa.Schema, options: TableOptions, *, active: bool = False
    ) -> ResolvedDataset:
        """Create the next dataset version beside the existing ones, unreleased unless ``active``."""
        with self._store.read() as tx:
            dataset = self._lookup.dataset(tx, parse_dataset_ref(name), Privilege.ALTER)
        number = max(v.number for v in self.dataset_versions(name)) + 1
        version = self._create_version(dataset, number, Lifecycle.UNRELEASED, schema, options)
        if active:
            self.set_lifecycle(str(dataset.ref(number)), Lifecycle.ACTIVE)
        return self.dataset(str(dataset.ref(version.number)), Privilege.ALTER)

    def _create_version(
        self, dataset: Dataset, number: int, lifecycle: Lifecycle, schema: pa.Schema, options: TableOptions
    ) -> DatasetVersion:
        unit = parse_unit(options.completion_unit)
        version_id, now = self._clock.new_id(), self._clock.now()
        metadata = new_table(self._tables.new_location(dataset, version_id), schema, options, self._clock.new_id(), now)
        return self.insert_version(dataset, version_id, number, lifecycle, metadata, unit)

    def insert_version(
        self,
        dataset: Dataset,
        version_id: UUID,
        number: int,
        lifecycle: Lifecycle,
        metadata: TableMetadata,
        unit: str = CompletionUnit.WHOLE,
        also: Callable[[Transaction, DatasetVersion], None] = _nothing_else,
    ) -> DatasetVersion:
        """Store a new dataset version, with its dataset if it is the first one.

        Args:
            dataset: What it is a version of.
            version_id, number, lifecycle: What it is.
            metadata: Its table.
            unit: How its partitions are declared complete.
            also: Writes what else goes into the same transaction.
        """
        self._tables.make_folders(metadata.location)
        file, now = MetadataFile(self._tables.write_metadata(metadata, 0), metadata), self._clock.now()
        columns = columns_of(metadata.schema)
        version = with_state(_unborn(dataset, version_id, number, lifecycle, metadata, unit, now), file, now)
        try:
            with self._store.write() as tx:
                if number == 1:
                    tx.datasets.insert(dataset)
                tx.dataset_versions.insert(version, columns)
                tx.search.index(dataset, columns)
                name = dataset.ref(number if number > 1 else None)
                trail = Trail(tx, now)
                trail.audit("dataset.create", "dataset", str(name), {"key": list(version.key)})
                trail.dataset_changed(dataset, version, "created")
                also(tx, version)
        except (AlreadyExistsError, NamespaceNotFoundError, StorageFullError):
            self._tables.forget_metadata(file.location)
            raise
        return version

    def dataset(self, name: str, needed: Privilege = Privilege.ADMINISTER, *further: Privilege) -> ResolvedDataset:
        """Return a dataset by name: the dataset version named, else the active one, else the newest.

        Args:
            name: The dataset, or one of its dataset versions.
            needed, further: The privileges that whoever acts needs for what he is about to do; all of them unless it is
                said that fewer do.

        Raises:
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
            AccessDeniedError: If he lacks one.
        """
        ref = parse_dataset_ref(name)
        with self._store.read() as tx:
            return self._lookup.resolve(tx, ref, needed, *further)

    def readable(self, name: str) -> ResolvedDataset:
        """Return a dataset by name, and what is shown of its rows to whoever acts; see ``Lookup.readable``.

        Raises:
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
            AccessDeniedError: If he may not read any.
        """
        with self._store.read() as tx:
            return self._lookup.readable(tx, parse_dataset_ref(name))

    def present(self, target: ResolvedDataset) -> ResolvedDataset:
        """Return a dataset version as it is now; see ``Lookup.present``."""
        with self._store.read() as tx:
            return self._lookup.present(tx, target)

    def datasets(
        self, namespace: str | None = None, after: str = "", limit: int = 100, *, deleted: bool = False
    ) -> list[Dataset]:
        """Return a page of datasets by full name, of one namespace or all; live ones, or deleted ones."""
        with self._store.read() as tx:
            if namespace is not None:
                self._lookup.namespace(tx, namespace)
            viewer = self._lookup.viewer(tx)
            return tx.datasets.page(namespace, after, page_limit(limit), deleted=deleted, viewer=viewer)

    def dataset_versions(self, name: str) -> list[DatasetVersion]:
        """Return the dataset versions of a dataset that whoever asks may discover."""
        with self._store.read() as tx:
            return self._lookup.versions(tx, parse_dataset_ref(name))

    def columns(self, version: DatasetVersion) -> list[Column]:
        """Return the columns of a dataset version."""
        with self._store.read() as tx:
            return tx.dataset_versions.columns(version.id)

    def snapshots(
        self, name: str, before: int | None = None, limit: int = 100, branch: str = MAIN_BRANCH
    ) -> list[Snapshot]:
        """Return a page of a dataset's snapshots, newest first, below sequence number ``before`` where given.

        Args:
            name: The dataset.
            before: A sequence number.
            limit: Most snapshots to return.
            branch: Those committed to this branch and not published yet, or those on ``main``.
        """
        with self._store.read() as tx:
            version = self._lookup.resolve(tx, parse_dataset_ref(name), Privilege.READ).version
            found = tx.snapshots.page(version.id, before, page_limit(limit), branch)
            return [self._shown(tx, snapshot) for snapshot in found]

    def snapshot(self, name: str, sequence_number: int) -> Snapshot:
        """Return a snapshot, or raise ``SnapshotNotFoundError``."""
        with self._store.read() as tx:
            version = self._lookup.resolve(tx, parse_dataset_ref(name), Privilege.READ).version
            found = tx.snapshots.get(version.id, sequence_number)
            if found is None:
                raise SnapshotNotFoundError(
                    f"{name} has no snapshot {sequence_number}.", hint=f"Its newest is {version.sequence_number}."
                )
            return self._shown(tx, found)

    def _shown(self, tx: Transaction, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot without the names of what else its transaction wrote to, which are not for everybody."""
        if OTHER_DATASETS not in snapshot.properties:
            return snapshot
        viewer = self._lookup.viewer(tx)
        if viewer is None or viewer.sees_all(Privilege.DISCOVER):
            return snapshot
        shown = {key: value for key, value in snapshot.properties.items() if key != OTHER_DATASETS}
        return replace(snapshot, properties=shown)

    def manifest(self, name: str, sequence_number: int) -> Manifest | None:
        """Return the manifest of a snapshot."""
        with self._store.read() as tx:
            version = self._lookup.resolve(tx, parse_dataset_ref(name), Privilege.READ).version
            return tx.snapshots.manifest(version.id, sequence_number)

    def update_dataset(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Dataset:
        """Change what people say about a dataset: owner, description, tags."""
        check_texts("dataset", name, owner=owner, description=description)
        with self._store.write() as tx:
            found = self._lookup.dataset(tx, parse_dataset_ref(name), Privilege.ALTER, lock=True)
            if owner is not None and owner != found.owner:
                self._lookup.require(tx, found, Privilege.ADMINISTER)
            changed = replace(
                found,
                owner=found.owner if owner is None else owner,
                description=found.description if description is None else description,
                tags=found.tags if tags is None else _tags(name, tags),
                updated_at=self._clock.now(),
            )
            tx.datasets.update(changed)
            version = meant_version(tx, found)
            tx.search.index(changed, tx.dataset_versions.columns(version.id))
            trail = Trail(tx, changed.updated_at)
            details = {"owner": changed.owner, "tags": list(changed.tags)}
            trail.audit("dataset.update", "dataset", changed.full_name, details)
            trail.dataset_changed(changed, version, "updated")
            if changed.owner != found.owner:
                wake_inside(tx, SecurableKind.DATASET, found.id, self._clock)
        return changed

    def rename_dataset(self, name: str, new_name: str) -> Dataset:
        """Call a dataset otherwise, or move it to another namespace. Its files stay where they are.

        Subscriptions, its contract and its history go with it; events and audit entries keep the name it had. Jobs name
        datasets in their SQL, which nobody rewrites unasked.

        Args:
            name: The dataset.
            new_name: ``namespace.dataset``; both may be others.

        In another namespace others may have more to say about it, so whoever moves it there has to administer it.

        Raises:
            NotAllowedError: If a job reads or writes it.
            AlreadyExistsError: If the new name is taken.
            AccessDeniedError: If whoever acts may not.
            DatasetNotFoundError, NamespaceNotFoundError, InvalidNameError: As their names say.
        """
        ref, wanted = unversioned(name), unversioned(new_name)
        check_dataset_name(wanted.name)
        if wanted == ref:
            raise AlreadyExistsError(f"The dataset {ref} is called that already.", hint="Choose another name.")
        with self._store.write() as tx:
            needed = Privilege.ALTER if wanted.namespace == ref.namespace else Privilege.ADMINISTER
            self._lookup.namespace(tx, wanted.namespace, Privilege.CREATE)
            found = self._lookup.dataset(tx, ref, needed, lock=True)
            self._refuse_named(tx, found)
            now = self._clock.now()
            renamed = replace(found, namespace=wanted.namespace, name=wanted.name, updated_at=now)
            tx.datasets.update(renamed)
            version = meant_version(tx, renamed)
            tx.search.index(renamed, tx.dataset_versions.columns(version.id))
            rename_node(tx.lineage, NodeKind.DATASET, found.full_name, renamed.full_name, now)
            trail = Trail(tx, now)
            trail.audit("dataset.rename", "dataset", found.full_name, {"to": renamed.full_name})
            trail.dataset_changed(renamed, version, "renamed", {"from": found.full_name})
            if wanted.namespace != ref.namespace:  # its privileges are others there
                wake_inside(tx, SecurableKind.DATASET, found.id, self._clock)
        return renamed

    def _refuse_named(self, tx: Transaction, dataset: Dataset) -> None:
        """Refuse to rename a dataset that jobs name; only who sees everything is told which."""
        jobs, viewer = tx.jobs.naming(dataset.full_name, _EXAMPLES + 1), self._lookup.viewer(tx)
        if jobs and viewer is not None and not viewer.sees_all(Privilege.DISCOVER):
            raise NotAllowedError(
                f"{dataset.full_name} cannot be renamed: jobs name it.", hint="Ask an administrator of the lake."
            )
        if jobs:
            others = " and others" if len(jobs) > _EXAMPLES else ""
            raise NotAllowedError(
                f"{dataset.full_name} cannot be renamed: the jobs {', '.join(jobs[:_EXAMPLES])}{others} name it.",
                hint="Delete them first, and create them again with the new name.",
            )

    def set_lifecycle(self, name: str, lifecycle: Lifecycle, *, reason: str = "") -> ResolvedDataset:
        """Change a dataset version's lifecycle. Activating one deprecates the one that was active.

        Args:
            name: The dataset version.
            lifecycle: What it is to be.
            reason: Why; with one, whoever administers the dataset may retire it earlier than its contract promises.

        Raises:
            LifecycleError: If the rules allow no such change.
            BreakingChangeError: If it is to be retired, and its contract promises it to others, or for longer.
        """
        check_texts("dataset version", name, purpose=reason)
        ref = parse_dataset_ref(name)
        with self._store.write() as tx:
            found = self._lookup.resolve(tx, ref, Privilege.ALTER)
            self._lookup.require(tx, found.dataset, Privilege.ALTER)  # the others' lifecycle may change with it
            check_transition(found.pinned_name, found.version.lifecycle, lifecycle)
            now, overridden = self._clock.now(), ""
            if lifecycle is Lifecycle.RETIRED:
                overridden = check_retirement(tx, self._lookup, found, now, reason)
            if lifecycle is Lifecycle.ACTIVE:
                for other in tx.dataset_versions.page(found.dataset.id):
                    if other.lifecycle is Lifecycle.ACTIVE:
                        tx.dataset_versions.set_lifecycle(other.id, Lifecycle.DEPRECATED, now)
            tx.dataset_versions.set_lifecycle(found.version.id, lifecycle, now)
            tx.search.index(found.dataset, tx.dataset_versions.columns(meant_version(tx, found.dataset).id))
            trail = Trail(tx, now)
            said = {"reason": reason} if reason else {}
            promise = {"promised_until": overridden} if overridden else {}
            trail.audit("dataset.lifecycle", "dataset", str(ref), {"lifecycle": lifecycle, **said, **promise})
            trail.dataset_changed(found.dataset, found.version, lifecycle, said)
            return self._lookup.resolve(tx, found.dataset.ref(found.version.number))

    def search(
        self, text: str = "", filters: Mapping[str, str] | None = None, after: str = "", limit: int = 50
    ) -> SearchResult:
        """Find datasets by words in names, descriptions, tags and columns, narrowed by facets."""
        unknown = set(filters or {}) - {"namespace", "owner", "tag", "lifecycle"}
        if unknown:
            raise InvalidInputError(
                f"There is no search filter {', '.join(sorted(unknown))}.",
                hint="Filters: namespace, owner, tag, lifecycle.",
            )
        with self._store.read() as tx:
            viewer = self._lookup.viewer(tx)
            return tx.search.search(text[:500], filters or {}, after, page_limit(limit), viewer=viewer)


def _tags(name: str, tags: Sequence[str]) -> tuple[str, ...]:
    check_tags("dataset", name, tags)
    return tuple(sorted({check_name(tag.replace("-", "_"), "tag").replace("_", "-") for tag in tags}))


def _unborn(
    dataset: Dataset,
    version_id: UUID,
    number: int,
    lifecycle: Lifecycle,
    metadata: TableMetadata,
    unit: str,
    now: datetime,
) -> DatasetVersion:
    """Return a dataset version before its table's metadata is written."""
    return DatasetVersion(
        id=version_id,
        dataset_id=dataset.id,
        number=number,
        lifecycle=lifecycle,
        location=metadata.location,
        metadata_location="",
        format_version=metadata.format_version,
        key=(),
        sequence_column=None,
        partitioning=describe_partitioning(metadata.partition_spec, metadata.schema),
        sort_order=describe_sort_order(metadata),
        write_mode=metadata.semantics.write_mode,
        completion_unit=unit,
        schema_id=metadata.current_schema_id,
        sequence_number=0,
        rows=0,
        bytes=0,
        files=0,
        created_at=now,
        updated_at=now,
    )
