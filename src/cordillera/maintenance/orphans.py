"""Files that nothing refers to: found, and removed once they are certainly nobody's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice

from cordillera.catalog.lookup import Lookup
from cordillera.catalog.service import CatalogService
from cordillera.catalog.tables import TableService
from cordillera.catalog.trail import Trail
from cordillera.errors import NotAllowedError
from cordillera.maintenance.results import Orphan, OrphanRemoval
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
from cordillera.ports.storage import StoredObject, UnfinishedObject
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import Dataset, DatasetVersion
from cordillera.table.reachable import place_of, referenced_files

SAFE_AGE = timedelta(days=3)
LEAST_AGE = timedelta(days=1)
_PAGE = 500
_AT_ONCE = 1_000
_EXAMPLES = 1_000


class OrphanService:
    """Finds and removes orphaned files.

    Args:
        store: Keeps the audit log.
        lookup: Knows who may look at everything that is stored.
        catalog: Knows the tables.
        tables: Knows their files.
        clock: Time.
    """

    def __init__(
        self, store: MetadataStore, lookup: Lookup, catalog: CatalogService, tables: TableService, clock: Clock
    ) -> None:
        self._store, self._lookup, self._catalog = store, lookup, catalog
        self._tables, self._clock = tables, clock

    def find(self, older_than: timedelta) -> Iterator[Orphan]:
        """Yield files that no snapshot refers to, and what is stored of files that were never finished.

        Args:
            older_than: Younger files are passed over: a writer may be about to commit them, or be writing them.

        Raises:
            AccessDeniedError: If whoever asks does not administer the lake.
        """
        self._check_allowed()
        return (orphan for orphan, _ in self._found(older_than))

    def _found(self, older_than: timedelta) -> Iterator[tuple[Orphan, StoredObject]]:
        horizon, storage = self._clock.now() - older_than, self._tables.io.storage
        for dataset, version in self._versions():
            name = str(dataset.ref(version.number))
            for begun in storage.list_unfinished(version.location):
                if begun.modified_at <= horizon:
                    yield Orphan(name, begun.uri, begun.size, unfinished=True), begun
            found = [file for file in storage.list(version.location) if file.modified_at <= horizon]
            # The metadata is read after the list was made: what has been committed in between is no orphan.
            needed = self._needed(version)
            for file in found:
                if needed is not None and place_of(file.uri) not in needed:
                    yield Orphan(name, file.uri, file.size), file

    def _remove(self, files: Sequence[StoredObject]) -> None:
        unfinished = [file for file in files if isinstance(file, UnfinishedObject)]
        self._tables.io.storage.discard(unfinished)
        self._tables.io.storage.delete(file.uri for file in files if not isinstance(file, UnfinishedObject))

    def remove(self, older_than: timedelta = SAFE_AGE, *, dry_run: bool = True, force: bool = False) -> OrphanRemoval:
        """Remove files that no snapshot refers to, and what is stored of files that were never finished.

        Args:
            older_than: Younger files stay: a writer may be about to commit them, or be writing them.
            dry_run: Only say what would go.
            force: Allow an age below a day. Nobody must be writing then.

        Raises:
            NotAllowedError: If the age is below a day without ``force``.
            AccessDeniedError: If whoever asks does not administer the lake.
        """
        self._check_allowed()
        if older_than < LEAST_AGE and not (force or dry_run):
            raise NotAllowedError(
                "Files younger than a day may belong to a write that is not done, so they are not removed.",
                hint="Wait, or stop every writer and force it.",
            )
        files = size = unfinished = 0
        examples: list[Orphan] = []
        found = self._found(older_than)
        while batch := list(islice(found, _AT_ONCE)):
            if not dry_run:
                self._remove([file for _, file in batch])
            orphans = [orphan for orphan, _ in batch]
            files, size = files + len(orphans), size + sum(orphan.bytes for orphan in orphans)
            unfinished += sum(orphan.unfinished for orphan in orphans)
            examples += orphans[: _EXAMPLES - len(examples)]
        result = OrphanRemoval(not dry_run, files, size, tuple(examples), unfinished)
        if files and not dry_run:
            self._audit(result)
        return result

    def _check_allowed(self) -> None:
        with self._store.read() as tx:
            self._lookup.lake(tx, Privilege.ADMINISTER)

    def _needed(self, version: DatasetVersion) -> set[str] | None:
        """Return the places of all files that a table needs as it is now; None if the table is gone.

        It is found by its id: meanwhile its name may be another's, of which none of its files is one.
        """
        with self._store.read() as tx:
            now = tx.dataset_versions.get(version.id)
            held = [one.metadata_location for one in tx.pointers.held(version.id)]
        if now is None:
            return None
        metadata = self._tables.load(now)
        found = referenced_files(self._tables.io, metadata)
        return {place_of(uri) for uri in (now.metadata_location, *found, *held)}

    def _versions(self) -> Iterator[tuple[Dataset, DatasetVersion]]:
        after = ""
        while page := self._catalog.datasets(after=after, limit=_PAGE):
            for dataset in page:
                with self._store.read() as tx:
                    versions = tx.dataset_versions.page(dataset.id)
                for version in versions:
                    yield dataset, version
            after = page[-1].full_name

    def _audit(self, done: OrphanRemoval) -> None:
        details = {"files": done.files, "bytes": done.bytes, "unfinished": done.unfinished}
        with self._store.write() as tx:
            Trail(tx, self._clock.now()).audit("lake.remove_orphans", "lake", "", details)
