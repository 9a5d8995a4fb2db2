"""Namespaces, datasets and dataset versions: creating, finding, changing and deleting them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import pyarrow as pa

from cordillera.catalog.lineage_names import rename_node
from cordillera.catalog.new_table import TableOptions, new_table
from cordillera.catalog.tables import MetadataFile, TableService, columns_of, with_state
from cordillera.context import current
from cordillera.errors import (
    AlreadyExistsError,
    DatasetNotFoundError,
    DatasetVersionNotFoundError,
    InvalidInputError,
    InvalidNameError,
    NamespaceNotFoundError,
    NotAllowedError,
    SnapshotNotFoundError,
    StorageFullError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.spec.catalog import (
    Column,
    Dataset,
    DatasetVersion,
    Lifecycle,
    Namespace,
    SearchResult,
    Snapshot,
    check_transition,
)
from cordillera.spec.completion import CompletionUnit, parse_unit
from cordillera.spec.event import Topic
from cordillera.spec.lineage import NodeKind
from cordillera.spec.manifest import Manifest
from cordillera.spec.names import DatasetRef, check_dataset_name, check_name, parse_dataset_ref
from cordillera.spec.partitioning import describe_partitioning
from cordillera.spec.sort_order import describe_sort_order
from cordillera.spec.table_metadata import MAIN_BRANCH, TableMetadata
from cordillera.spec.texts import changed_properties, check_tags, check_texts

DELETED_DATASET_RETENTION = timedelta(days=7)
_MAX_PAGE = 1000
_EXAMPLES = 5
_NOTHING: Mapping[str, str] = {}


def _nothing_else(tx: Transaction, version: DatasetVersion) -> None:
    pass


@dataclass(frozen=True, slots=True)
class ResolvedDataset:
    """A dataset with the dataset version that a reference means."""

    dataset: Dataset
    version: DatasetVersion

    @property
    def name(self) -> str:
        """How to call it in messages."""
        return self.dataset.full_name


class CatalogService:
    """The catalog of one lake.

    Args:
        store: The metadata store.
        tables: Creates the tables behind dataset versions.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, tables: TableService, clock: Clock) -> None:
        self._store, self._tables, self._clock = store, tables, clock

    # --- namespaces ----------------------------------------------------------------------------------------------

    def create_namespace(
        self, name: str, *, owner: str = "", description: str = "", properties: Mapping[str, str] | None = None
    ) -> Namespace:
        """Create a namespace, owned by whoever creates it unless ``owner`` says otherwise.

        Raises:
            InvalidNameError: If the name breaks the naming rules.
            InvalidInputError: If the owner, the description or a property is too long, or there are too many of these.
            AlreadyExistsError: If it is taken.
        """
        check_name(name, "namespace")
        check_texts("namespace", name, owner=owner, description=description)
        noted, now = changed_properties("namespace", name, {}, properties or {}), self._clock.now()
        namespace = Namespace(self._clock.new_id(), name, owner or current().principal, description, now, noted)
        with self._store.write() as tx:
            tx.namespaces.insert(namespace)
            self._audit(tx, "namespace.create", "namespace", name, {"owner": namespace.owner})
        return namespace

    def namespace(self, name: str) -> Namespace:
        """Return a namespace by name, or raise ``NamespaceNotFoundError``."""
        with self._store.read() as tx:
            return _existing_namespace(tx, name)

    def namespaces(self, after: str = "", limit: int = 100) -> list[Namespace]:
        """Return a page of namespaces by name."""
        with self._store.read() as tx:
            return tx.namespaces.page(after, _page(limit))

    def update_namespace(
        self,
        name: str,
        *,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> Namespace:
        """Change a namespace's owner, description or properties: those that are named, where None removes."""
        check_texts("namespace", name, owner=owner, description=description)
        with self._store.write() as tx:
            found = _existing_namespace(tx, name, lock=True)
            changed = replace(
                found,
                owner=found.owner if owner is None else owner,
                description=found.description if description is None else description,
                properties=changed_properties("namespace", name, found.properties, properties or {}),
            )
            tx.namespaces.update(changed)
            details = {"owner": changed.owner, "properties": sorted(properties or ())}
            self._audit(tx, "namespace.update", "namespace", name, details)
        return changed

    def delete_namespace(self, name: str) -> None:
        """Remove an empty namespace; raises ``NotEmptyError`` while it holds datasets."""
        with self._store.write() as tx:
            _existing_namespace(tx, name)
            tx.namespaces.delete(name)
            self._audit(tx, "namespace.delete", "namespace", name, {})

    # --- datasets ------------------------------------------------------------------------------------------------

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
            owner: Owner; empty takes the namespace's.
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
        ref = _unversioned(name)
        check_dataset_name(ref.name)
        check_texts("dataset", name, owner=owner, description=description)
        labels = _tags(name, tags)
        now = self._clock.now()
        with self._store.read() as tx:
            namespace = _existing_namespace(tx, ref.namespace)
            if tx.datasets.get(ref.namespace, ref.name) is not None:
                raise AlreadyExistsError(
                    f"The dataset {ref} exists already.",
                    hint="Write to it, choose another name, or create a dataset version of it.",
                )
        return Dataset(
            self._clock.new_id(), ref.namespace, ref.name, owner or namespace.owner, description, labels, now, now
        )

    def create_dataset_version(
        self, name: str, schema: pa.Schema, options: TableOptions, *, active: bool = False
    ) -> ResolvedDataset:
        """Create the next dataset version beside the existing ones, unreleased unless ``active``."""
        dataset = self.dataset(name).dataset
        number = max(v.number for v in self.dataset_versions(name)) + 1
        version = self._create_version(dataset, number, Lifecycle.UNRELEASED, schema, options)
        if active:
            self.set_lifecycle(str(dataset.ref(number)), Lifecycle.ACTIVE)
        return self.dataset(str(dataset.ref(version.number)))

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
                self._audit(tx, "dataset.create", "dataset", str(name), {"key": list(version.key)})
                self._dataset_event(tx, dataset, version, "created")
                also(tx, version)
        except (AlreadyExistsError, NamespaceNotFoundError, StorageFullError):
            self._tables.forget_metadata(file.location)
            raise
        return version

    def dataset(self, name: str) -> ResolvedDataset:
        """Return a dataset by name: the dataset version named, else the active one, else the newest.

        Raises:
            DatasetNotFoundError, DatasetVersionNotFoundError: As their names say.
        """
        ref = parse_dataset_ref(name)
        with self._store.read() as tx:
            return resolve(tx, ref)

    def present(self, target: ResolvedDataset) -> ResolvedDataset:
        """Return a dataset version as it is now; see the function of that name."""
        with self._store.read() as tx:
            return present(tx, target)

    def datasets(
        self, namespace: str | None = None, after: str = "", limit: int = 100, *, deleted: bool = False
    ) -> list[Dataset]:
        """Return a page of datasets by full name, of one namespace or all; live ones, or deleted ones."""
        with self._store.read() as tx:
            if namespace is not None:
                _existing_namespace(tx, namespace)
            return tx.datasets.page(namespace, after, _page(limit), deleted=deleted)

    def dataset_versions(self, name: str) -> list[DatasetVersion]:
        """Return all dataset versions of a dataset."""
        with self._store.read() as tx:
            return tx.dataset_versions.page(_existing_dataset(tx, parse_dataset_ref(name)).id)

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
            version = resolve(tx, parse_dataset_ref(name)).version
            return tx.snapshots.page(version.id, before, _page(limit), branch)

    def snapshot(self, name: str, sequence_number: int) -> Snapshot:
        """Return a snapshot, or raise ``SnapshotNotFoundError``."""
        with self._store.read() as tx:
            version = resolve(tx, parse_dataset_ref(name)).version
            found = tx.snapshots.get(version.id, sequence_number)
        if found is None:
            raise SnapshotNotFoundError(
                f"{name} has no snapshot {sequence_number}.", hint=f"Its newest is {version.sequence_number}."
            )
        return found

    def manifest(self, name: str, sequence_number: int) -> Manifest | None:
        """Return the manifest of a snapshot."""
        with self._store.read() as tx:
            version = resolve(tx, parse_dataset_ref(name)).version
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
            found = _existing_dataset(tx, parse_dataset_ref(name), lock=True)
            changed = replace(
                found,
                owner=found.owner if owner is None else owner,
                description=found.description if description is None else description,
                tags=found.tags if tags is None else _tags(name, tags),
                updated_at=self._clock.now(),
            )
            tx.datasets.update(changed)
            version = _meant(tx, found, None)
            tx.search.index(changed, tx.dataset_versions.columns(version.id))
            details = {"owner": changed.owner, "tags": list(changed.tags)}
            self._audit(tx, "dataset.update", "dataset", changed.full_name, details)
            self._dataset_event(tx, changed, version, "updated")
        return changed

    def rename_dataset(self, name: str, new_name: str) -> Dataset:
        """Call a dataset otherwise, or move it to another namespace. Its files stay where they are.

        Subscriptions, grants on it and its history go with it; events and audit entries keep the name it had. Jobs name
        datasets in their SQL, which nobody rewrites unasked.

        Args:
            name: The dataset.
            new_name: ``namespace.dataset``; both may be others.

        Raises:
            NotAllowedError: If a job reads or writes it.
            AlreadyExistsError: If the new name is taken.
            DatasetNotFoundError, NamespaceNotFoundError, InvalidNameError: As their names say.
        """
        ref, wanted = _unversioned(name), _unversioned(new_name)
        check_dataset_name(wanted.name)
        if wanted == ref:
            raise AlreadyExistsError(f"The dataset {ref} is called that already.", hint="Choose another name.")
        with self._store.write() as tx:
            _existing_namespace(tx, wanted.namespace)
            found = _existing_dataset(tx, ref, lock=True)
            if jobs := tx.jobs.naming(found.full_name, _EXAMPLES + 1):
                others = " and others" if len(jobs) > _EXAMPLES else ""
                raise NotAllowedError(
                    f"{found.full_name} cannot be renamed: the jobs {', '.join(jobs[:_EXAMPLES])}{others} name it.",
                    hint="Delete them first, and create them again with the new name.",
                )
            now = self._clock.now()
            renamed = replace(found, namespace=wanted.namespace, name=wanted.name, updated_at=now)
            tx.datasets.update(renamed)
            version = _meant(tx, renamed, None)
            tx.search.index(renamed, tx.dataset_versions.columns(version.id))
            rename_node(tx.lineage, NodeKind.DATASET, found.full_name, renamed.full_name, now)
            self._audit(tx, "dataset.rename", "dataset", found.full_name, {"to": renamed.full_name})
            self._dataset_event(tx, renamed, version, "renamed", {"from": found.full_name})
        return renamed

    def set_lifecycle(self, name: str, lifecycle: Lifecycle) -> ResolvedDataset:
        """Change a dataset version's lifecycle. Activating one deprecates the one that was active.

        Raises:
            LifecycleError: If the rules allow no such change.
        """
        ref = parse_dataset_ref(name)
        with self._store.write() as tx:
            found = resolve(tx, ref)
            check_transition(str(found.dataset.ref(found.version.number)), found.version.lifecycle, lifecycle)
            now = self._clock.now()
            if lifecycle is Lifecycle.ACTIVE:
                for other in tx.dataset_versions.page(found.dataset.id):
                    if other.lifecycle is Lifecycle.ACTIVE:
                        tx.dataset_versions.set_lifecycle(other.id, Lifecycle.DEPRECATED, now)
            tx.dataset_versions.set_lifecycle(found.version.id, lifecycle, now)
            tx.search.index(found.dataset, tx.dataset_versions.columns(_meant(tx, found.dataset, None).id))
            self._audit(tx, "dataset.lifecycle", "dataset", str(ref), {"lifecycle": lifecycle})
            self._dataset_event(tx, found.dataset, found.version, lifecycle)
            return resolve(tx, found.dataset.ref(found.version.number))

    def delete_dataset(self, name: str) -> Dataset:
        """Delete a dataset. It can be restored until its retention passes; its files stay until then."""
        ref = _unversioned(name)
        now = self._clock.now()
        with self._store.write() as tx:
            found = _existing_dataset(tx, ref, lock=True)
            deleted = replace(found, deleted_at=now, purge_after=now + DELETED_DATASET_RETENTION, updated_at=now)
            tx.datasets.update(deleted)
            tx.search.remove(found.id)
            self._audit(tx, "dataset.delete", "dataset", found.full_name, {"purge_after": str(deleted.purge_after)})
            self._dataset_event(tx, deleted, _meant(tx, found, None), "deleted")
        return deleted

    def restore_dataset(self, name: str) -> Dataset:
        """Bring back the dataset of that name that was deleted last.

        Raises:
            DatasetNotFoundError: If no deleted dataset has the name.
            AlreadyExistsError: If a new dataset took the name meanwhile.
        """
        ref = _unversioned(name)
        with self._store.write() as tx:
            deleted = [d for d in tx.datasets.page(ref.namespace, "", _MAX_PAGE, deleted=True) if d.name == ref.name]
            if not deleted:
                raise DatasetNotFoundError(
                    f"No deleted dataset is called {ref}.",
                    hint="List deleted ones with: cordillera dataset list --deleted.",
                )
            newest = max(deleted, key=lambda d: d.deleted_at or d.created_at)
            restored = replace(newest, deleted_at=None, purge_after=None, updated_at=self._clock.now())
            tx.datasets.update(restored)
            version = _meant(tx, restored, None)
            tx.search.index(restored, tx.dataset_versions.columns(version.id))
            self._audit(tx, "dataset.restore", "dataset", restored.full_name, {})
            self._dataset_event(tx, restored, version, "restored")
        return restored

    def has_version(self, version_id: UUID) -> bool:
        """Tell whether a dataset, deleted ones included, has a dataset version of that id."""
        with self._store.read() as tx:
            return tx.dataset_versions.get(version_id) is not None

    def restore_table(self, version_id: UUID, metadata_location: str, name: str) -> ResolvedDataset:
        """Bring back, under any name, the deleted dataset that a table belongs to.

        Args:
            version_id: The dataset version that is the table.
            metadata_location: The table's metadata file, which has to be its newest: there is no other state of it.
            name: What the dataset is to be called.

        Raises:
            NotAllowedError: If the dataset is not deleted, or the file is not the newest.
            AlreadyExistsError, NamespaceNotFoundError, InvalidNameError: As their names say.
        """
        ref = _unversioned(name)
        check_dataset_name(ref.name)
        with self._store.write() as tx:
            version = tx.dataset_versions.get(version_id)
            deleted = None if version is None else tx.datasets.get_by_id(version.dataset_id)
            if version is None or deleted is None or deleted.deleted_at is None:
                whose = "another dataset" if deleted is None else f"the dataset {deleted.full_name}"
                raise NotAllowedError(f"The table of {metadata_location} belongs to {whose}.", hint="Rename that one.")
            if version.metadata_location != metadata_location:
                raise NotAllowedError(
                    f"{metadata_location} is not the newest metadata file of {deleted.full_name}, which was deleted.",
                    hint=f"Its newest is {version.metadata_location}.",
                )
            _existing_namespace(tx, ref.namespace)
            now = self._clock.now()
            restored = replace(
                deleted, namespace=ref.namespace, name=ref.name, deleted_at=None, purge_after=None, updated_at=now
            )
            tx.datasets.update(restored)
            tx.search.index(restored, tx.dataset_versions.columns(_meant(tx, restored, None).id))
            if tx.datasets.get(deleted.namespace, deleted.name) is None:  # else the lineage is another's as well
                rename_node(tx.lineage, NodeKind.DATASET, deleted.full_name, restored.full_name, now)
            details = {"from": deleted.full_name, "metadata_location": metadata_location}
            self._audit(tx, "dataset.register", "dataset", restored.full_name, details)
            self._dataset_event(tx, restored, version, "restored", {"from": deleted.full_name})
        return ResolvedDataset(restored, version)

    def purge_deleted(self, limit: int = 100) -> int:
        """Remove deleted datasets whose retention has passed, rows first, then files; return how many."""
        purged = 0
        with self._store.read() as tx:
            due = tx.datasets.due_for_purge(self._clock.now(), limit)
        for dataset in due:
            with self._store.write() as tx:
                again = tx.datasets.get_by_id(dataset.id)
                if again is None or again.deleted_at is None:
                    continue
                versions = tx.dataset_versions.page(dataset.id)
                tx.datasets.purge(dataset.id)
                self._audit(tx, "dataset.purge", "dataset", dataset.full_name, {})
            for version in versions:
                self._tables.remove_files(version.location)
            purged += 1
        return purged

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
            return tx.search.search(text[:500], filters or {}, after, _page(limit))

    # --- helpers -------------------------------------------------------------------------------------------------

    def _audit(self, tx: Transaction, action: str, kind: str, name: str, details: Mapping[str, object]) -> None:
        context = current()
        tx.audit.append(
            at=self._clock.now(),
            principal=context.principal,
            action=action,
            object_kind=kind,
            object_name=name,
            details=details,
            trace_id=context.trace_id,
        )

    def _dataset_event(
        self, tx: Transaction, dataset: Dataset, version: DatasetVersion, what: str, more: Mapping[str, str] = _NOTHING
    ) -> None:
        context = current()
        tx.events.append(
            Topic.DATASET_CHANGED,
            at=self._clock.now(),
            principal=context.principal,
            trace_id=context.trace_id,
            dataset=dataset.full_name,
            dataset_version_id=version.id,
            payload={"change": what, **more},
        )


def resolve(tx: Transaction, ref: DatasetRef) -> ResolvedDataset:
    """Return the dataset and dataset version that a reference means, within a transaction."""
    dataset = _existing_dataset(tx, ref)
    return ResolvedDataset(dataset, _meant(tx, dataset, ref.version))


def present(tx: Transaction, target: ResolvedDataset) -> ResolvedDataset:
    """Return a dataset version as it is now, whatever it is called by now.

    Raises:
        DatasetNotFoundError: If it was deleted.
    """
    version, dataset = tx.dataset_versions.get(target.version.id), tx.datasets.get_by_id(target.dataset.id)
    if version is None or dataset is None or dataset.deleted_at is not None:
        raise DatasetNotFoundError(
            f"The dataset {target.name} was deleted.",
            hint=f"Restore it with: cordillera dataset restore {target.name}.",
        )
    return ResolvedDataset(dataset, version)


def _meant(tx: Transaction, dataset: Dataset, number: int | None) -> DatasetVersion:
    versions = tx.dataset_versions.page(dataset.id)
    if number is not None:
        found = next((v for v in versions if v.number == number), None)
        if found is None:
            raise DatasetVersionNotFoundError(
                f"The dataset {dataset.full_name} has no dataset version {number}.",
                hint=f"It has: {', '.join(str(v.number) for v in versions)}.",
            )
        return found
    return next((v for v in versions if v.lifecycle is Lifecycle.ACTIVE), versions[-1])


def _existing_namespace(tx: Transaction, name: str, *, lock: bool = False) -> Namespace:
    found = tx.namespaces.get(name, lock=lock)
    if found is None:
        raise NamespaceNotFoundError(
            f"There is no namespace {name!r}.", hint=f"Create it with: cordillera namespace create {name}."
        )
    return found


def _existing_dataset(tx: Transaction, ref: DatasetRef, *, lock: bool = False) -> Dataset:
    found = (tx.datasets.lock if lock else tx.datasets.get)(ref.namespace, ref.name)
    if found is None:
        similar = [d.full_name for d in tx.datasets.page(ref.namespace, "", 10)]
        raise DatasetNotFoundError(
            f"There is no dataset {ref.full_name}.",
            hint=f"Datasets in {ref.namespace}: {', '.join(similar)}."
            if similar
            else "List datasets with: cordillera dataset list.",
        )
    return found


def _unversioned(name: str) -> DatasetRef:
    ref = parse_dataset_ref(name)
    if ref.version is not None:
        raise InvalidNameError(
            f"{name!r} names a dataset version, a dataset is wanted.", hint=f"Use {ref.full_name!r}."
        )
    return ref


def _tags(name: str, tags: Sequence[str]) -> tuple[str, ...]:
    check_tags("dataset", name, tags)
    return tuple(sorted({check_name(tag.replace("-", "_"), "tag").replace("_", "-") for tag in tags}))


def _page(limit: int) -> int:
    if not 1 <= limit <= _MAX_PAGE:
        raise InvalidInputError(f"A page of {limit} is not possible.", hint=f"Ask for 1 to {_MAX_PAGE}.")
    return limit


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
