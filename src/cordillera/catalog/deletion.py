"""Deleting datasets, bringing them back while they can be, and removing for good what nobody brought back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from cordillera.catalog.consumers import refuse_while_promised
from cordillera.catalog.lineage_names import rename_node
from cordillera.catalog.lookup import Lookup, ResolvedDataset, meant_version, unversioned
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.errors import DatasetNotFoundError, NotAllowedError
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import Dataset
from cordillera.spec.lineage import NodeKind
from cordillera.spec.names import check_dataset_name

_RETENTION = timedelta(days=7)


class DeletionService:
    """Deletes, restores and purges datasets.

    Args:
        store: The metadata store.
        lookup: Finds what whoever acts may.
        tables: Removes the files of tables.
        clock: The time.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, tables: TableService, clock: Clock) -> None:
        self._store, self._lookup, self._tables, self._clock = store, lookup, tables, clock

    def delete(self, name: str) -> Dataset:
        """Delete a dataset. It can be restored until its retention passes; its files stay until then.

        Raises:
            BreakingChangeError: If its contract promises it to others.
        """
        ref, now = unversioned(name), self._clock.now()
        with self._store.write() as tx:
            found = self._lookup.dataset(tx, ref, Privilege.ADMINISTER, lock=True)
            for version in tx.dataset_versions.page(found.id):
                refuse_while_promised(tx, self._lookup, ResolvedDataset(found, version), "deleted")
            deleted = replace(found, deleted_at=now, purge_after=now + _RETENTION, updated_at=now)
            tx.datasets.update(deleted)
            tx.search.remove(found.id)
            trail = Trail(tx, now)
            trail.audit("dataset.delete", "dataset", found.full_name, {"purge_after": str(deleted.purge_after)})
            trail.dataset_changed(deleted, meant_version(tx, found), "deleted")
        return deleted

    def restore(self, name: str) -> Dataset:
        """Bring back the dataset of that name that was deleted last.

        Raises:
            DatasetNotFoundError: If no deleted dataset has the name.
            AlreadyExistsError: If a new dataset took the name meanwhile.
        """
        ref, now = unversioned(name), self._clock.now()
        with self._store.write() as tx:
            deleted = tx.datasets.deleted_last(ref.namespace, ref.name, viewer=self._lookup.viewer(tx))
            if deleted is None:
                raise DatasetNotFoundError(
                    f"No deleted dataset is called {ref}.",
                    hint="List deleted ones with: cordillera dataset list --deleted.",
                )
            self._lookup.require(tx, deleted, Privilege.ADMINISTER)
            restored = replace(deleted, deleted_at=None, purge_after=None, updated_at=now)
            tx.datasets.update(restored)
            version = meant_version(tx, restored)
            tx.search.index(restored, tx.dataset_versions.columns(version.id))
            trail = Trail(tx, now)
            trail.audit("dataset.restore", "dataset", restored.full_name, {})
            trail.dataset_changed(restored, version, "restored")
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
        ref = unversioned(name)
        check_dataset_name(ref.name)
        with self._store.write() as tx:
            version = tx.dataset_versions.get(version_id)
            deleted = None if version is None else tx.datasets.get_by_id(version.dataset_id)
            held = self._lookup.held(tx, deleted)
            if version is None or deleted is None or deleted.deleted_at is None or Privilege.DISCOVER not in held:
                known = deleted is not None and Privilege.DISCOVER in held
                whose = f"the dataset {deleted.full_name}" if deleted is not None and known else "another dataset"
                raise NotAllowedError(f"The table of {metadata_location} belongs to {whose}.", hint="Rename that one.")
            self._lookup.require(tx, deleted, Privilege.ADMINISTER)
            if version.metadata_location != metadata_location:
                raise NotAllowedError(
                    f"{metadata_location} is not the newest metadata file of {deleted.full_name}, which was deleted.",
                    hint=f"Its newest is {version.metadata_location}.",
                )
            self._lookup.namespace(tx, ref.namespace, Privilege.CREATE)
            now = self._clock.now()
            restored = replace(
                deleted, namespace=ref.namespace, name=ref.name, deleted_at=None, purge_after=None, updated_at=now
            )
            tx.datasets.update(restored)
            tx.search.index(restored, tx.dataset_versions.columns(meant_version(tx, restored).id))
            if tx.datasets.get(deleted.namespace, deleted.name) is None:  # else the lineage is another's as well
                rename_node(tx.lineage, NodeKind.DATASET, deleted.full_name, restored.full_name, now)
            details = {"from": deleted.full_name, "metadata_location": metadata_location}
            trail = Trail(tx, now)
            trail.audit("dataset.register", "dataset", restored.full_name, details)
            trail.dataset_changed(restored, version, "restored", {"from": deleted.full_name})
        return ResolvedDataset(restored, version)

    def purge(self, limit: int = 100) -> int:
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
                Trail(tx, self._clock.now()).audit("dataset.purge", "dataset", dataset.full_name, {})
            for version in versions:
                self._tables.remove_files(version.location)
            purged += 1
        return purged
