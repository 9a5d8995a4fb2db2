"""Files that nothing refers to: found, and removed once they are certainly nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from cordillera.catalog.service import CatalogService, resolve
from cordillera.catalog.tables import TableService
from cordillera.context import current
from cordillera.errors import NotAllowedError
from cordillera.maintenance.results import Orphan, OrphanRemoval
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore
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
        catalog: Knows the tables.
        tables: Knows their files.
        clock: Time.
    """

    def __init__(self, store: MetadataStore, catalog: CatalogService, tables: TableService, clock: Clock) -> None:
        self._store, self._catalog, self._tables, self._clock = store, catalog, tables, clock

    def find(self, older_than: timedelta) -> Iterator[Orphan]:
        """Yield files that no snapshot refers to.

        Args:
            older_than: Younger files are passed over: a writer may be about to commit them.
        """
        horizon = self._clock.now() - older_than
        for dataset, version in self._versions():
            location = version.location
            found = [file for file in self._tables.io.storage.list(location) if file.modified_at <= horizon]
            # The metadata is read after the list was made: what has been committed in between is no orphan.
            needed = self._needed(dataset, version)
            for file in found:
                if place_of(file.uri) not in needed:
                    yield Orphan(str(dataset.ref(version.number)), file.uri, file.size)

    def remove(self, older_than: timedelta = SAFE_AGE, *, dry_run: bool = True, force: bool = False) -> OrphanRemoval:
        """Remove files that no snapshot refers to.

        Args:
            older_than: Younger files stay: a writer may be about to commit them.
            dry_run: Only say what would go.
            force: Allow an age below a day. Nobody must be writing then.

        Raises:
            NotAllowedError: If the age is below a day without ``force``.
        """
        if older_than < LEAST_AGE and not (force or dry_run):
            raise NotAllowedError(
                "Files younger than a day may belong to a write that is not done, so they are not removed.",
                hint="Wait, or stop every writer and force it.",
            )
        files = size = 0
        examples: list[Orphan] = []
        orphans = self.find(older_than)
        while batch := list(islice(orphans, _AT_ONCE)):
            if not dry_run:
                self._tables.io.storage.delete(orphan.uri for orphan in batch)
            files, size = files + len(batch), size + sum(orphan.bytes for orphan in batch)
            examples += batch[: _EXAMPLES - len(examples)]
        if files and not dry_run:
            self._audit(files, size)
        return OrphanRemoval(not dry_run, files, size, tuple(examples))

    def _needed(self, dataset: Dataset, version: DatasetVersion) -> set[str]:
        """Return the places of all files that a table needs as it is now."""
        with self._store.read() as tx:
            now = resolve(tx, dataset.ref(version.number)).version
        metadata = self._tables.load(now)
        return {place_of(uri) for uri in referenced_files(self._tables.io, metadata, now.metadata_location)}

    def _versions(self) -> Iterator[tuple[Dataset, DatasetVersion]]:
        after = ""
        while page := self._catalog.datasets(after=after, limit=_PAGE):
            for dataset in page:
                for version in self._catalog.dataset_versions(dataset.full_name):
                    yield dataset, version
            after = page[-1].full_name

    def _audit(self, files: int, size: int) -> None:
        context = current()
        with self._store.write() as tx:
            tx.audit.append(
                at=self._clock.now(),
                principal=context.principal,
                action="lake.remove_orphans",
                object_kind="lake",
                object_name="",
                details={"files": files, "bytes": size},
                trace_id=context.trace_id,
            )
