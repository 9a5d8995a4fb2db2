"""Rows of the catalog: namespaces, datasets, dataset versions, snapshots, search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.catalog import Column, Dataset, DatasetVersion, Namespace, SearchResult, Snapshot, View
from cordillera.spec.manifest import Manifest


class NamespaceRows(Protocol):
    """Namespaces by name."""

    def insert(self, namespace: Namespace) -> None:
        """Add a namespace.

        Raises ``AlreadyExistsError`` if the name is taken, ``NamespaceNotFoundError`` if that it is within is missing.
        """

    def get(self, name: str, *, lock: bool = False) -> Namespace | None:
        """Return a namespace by name; with ``lock`` nobody else changes it before the transaction ends."""

    def with_parents(self, name: str) -> list[Namespace]:
        """Return a namespace by name and those that it is within, the nearest first; nothing if it is not there."""

    def page(
        self, after: str, limit: int, *, parent: str | None = None, viewer: Viewer | None = None
    ) -> list[Namespace]:
        """Return namespaces whose name sorts behind ``after`` (empty: from the first), by name.

        A viewer gets those that he may discover, or sees something in.

        Args:
            after: The name before the first one.
            limit: How many at most.
            parent: Only those directly within the namespace of this name; empty for those that are within none.
            viewer: Who sees them; None for everybody's.
        """

    def is_seen(self, name: str, viewer: Viewer) -> bool:
        """Tell whether a viewer may discover a namespace that is there, or something in it."""

    def update(self, namespace: Namespace) -> None:
        """Store a namespace's owner, description and properties anew."""

    def delete(self, name: str) -> None:
        """Remove a namespace; raises ``NotEmptyError`` while there is anything in it, deleted datasets included."""


class DatasetRows(Protocol):
    """Datasets. A deleted dataset keeps its row until it is purged; its name is free again."""

    def insert(self, dataset: Dataset) -> None:
        """Add a dataset.

        Raises ``AlreadyExistsError`` if a live one or a view has the name, ``NamespaceNotFoundError`` …
        """

    def get(self, namespace: str, name: str) -> Dataset | None:
        """Return a live dataset by name."""

    def with_versions(self, namespace: str, name: str) -> tuple[Dataset | None, list[DatasetVersion]]:
        """Return a live dataset by name, and its dataset versions by number."""

    def lock(self, namespace: str, name: str) -> Dataset | None:
        """Return a live dataset by name; nobody else changes it, or commits to it, before the transaction ends."""

    def get_by_id(self, dataset_id: UUID) -> Dataset | None:
        """Return a dataset by id, deleted or not."""

    def deleted_last(self, namespace: str, name: str, *, viewer: Viewer | None = None) -> Dataset | None:
        """Return, of the deleted datasets of a name that a viewer may discover, the one that was deleted last."""

    def page(
        self,
        namespace: str | None,
        after: str,
        limit: int,
        *,
        deleted: bool = False,
        viewer: Viewer | None = None,
    ) -> list[Dataset]:
        """Return datasets (of one namespace, or all) by full name behind ``after``; live ones, or deleted ones.

        A viewer gets those that he may discover.
        """

    def update(self, dataset: Dataset) -> None:
        """Store a dataset's names, owner, description, tags, ``deleted_at`` and ``purge_after`` anew.

        Raises ``AlreadyExistsError`` if that gives it the name of a live one or of a view, ``NamespaceNotFoundError`` …
        """

    def purge(self, dataset_id: UUID) -> None:
        """Remove a dataset and every row that belongs to it, for good."""

    def due_for_purge(self, now: datetime, limit: int) -> list[Dataset]:
        """Return deleted datasets whose retention has passed."""

    def count(self) -> int:
        """Return the number of live datasets."""


class ViewRows(Protocol):
    """Views. No view has the name of a live dataset, and no live dataset that of a view."""

    def insert(self, view: View) -> None:
        """Add a view; raises ``AlreadyExistsError`` if a view or dataset has the name, ``NamespaceNotFoundError`` …"""

    def get(self, namespace: str, name: str, *, lock: bool = False) -> View | None:
        """Return a view by name; with ``lock`` nobody else changes it before the transaction ends."""

    def get_by_id(self, view_id: UUID) -> View | None:
        """Return a view by id."""

    def page(self, namespace: str | None, after: str, limit: int, *, viewer: Viewer | None = None) -> list[View]:
        """Return views (of one namespace, or all) by full name behind ``after``.

        A viewer gets those that he may discover.
        """

    def swap(self, view: View, *, expected_location: str) -> bool:
        """Store a view's metadata location anew if it is still ``expected_location``; False if it is not."""

    def rename(self, view: View) -> None:
        """Store a view's names anew; raises ``AlreadyExistsError`` and ``NamespaceNotFoundError`` as ``insert``."""

    def delete(self, view_id: UUID) -> None:
        """Remove a view."""


class DatasetVersionRows(Protocol):
    """Dataset versions."""

    def insert(self, version: DatasetVersion, columns: Sequence[Column]) -> None:
        """Add a dataset version; raises ``AlreadyExistsError`` if the dataset has that number."""

    def get(self, version_id: UUID) -> DatasetVersion | None:
        """Return a dataset version by id."""

    def page(self, dataset_id: UUID) -> list[DatasetVersion]:
        """Return the dataset versions of a dataset by number."""

    def lock(self, version_id: UUID) -> None:
        """Keep others from committing to a dataset version, and from declaring partitions of it complete, until this
        transaction ends.
        """

    def swap(
        self,
        version: DatasetVersion,
        columns: Sequence[Column] | None,
        *,
        expected_location: str,
        writer: UUID | None = None,
    ) -> bool:
        """Store a dataset version anew if its metadata location is still ``expected_location``, its contract the same.

        One compare-and-swap decides every race between writers, and between them and new contracts.

        Args:
            version: The new state; id, dataset, number, location and ``created_at`` do not change, nor does the
                lifecycle. ``contract_revision`` is what has to be in force now.
            columns: The new columns, or None where they stay.
            expected_location: What ``metadata_location`` has to be now.
            writer: Who may store it although commits are reserved for him at the time of ``version.updated_at``.

        Returns:
            False, with nothing changed, if somebody else was faster, or commits are reserved for another.
        """

    def reserve(self, version_id: UUID, writer: UUID, now: datetime, until: datetime) -> bool:
        """Reserve commits to a dataset version for a writer, anew or for longer; False if another has reserved them."""

    def reserved_for(self, version_id: UUID, now: datetime) -> UUID | None:
        """Return the writer that commits to a dataset version are reserved for."""

    def release(self, version_id: UUID, writer: UUID) -> None:
        """End a writer's reservation, if it has one."""

    def set_lifecycle(self, version_id: UUID, lifecycle: str, now: datetime) -> None:
        """Change the lifecycle."""

    def columns(self, version_id: UUID) -> list[Column]:
        """Return the columns in order."""


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """What an idempotency key stands for: the request's fingerprint and what came of it.

    ``sequence_number`` is None for a commit that made no snapshot.
    """

    request_hash: str
    sequence_number: int | None
    result: Mapping[str, Any]


class SnapshotRows(Protocol):
    """Snapshots of all branches, their manifests, and the receipts of idempotent commits."""

    def insert(self, snapshot: Snapshot, manifest: Manifest) -> None:
        """Add a snapshot with its manifest."""

    def get(self, version_id: UUID, sequence_number: int) -> Snapshot | None:
        """Return a snapshot by sequence number."""

    def at(self, version_id: UUID, moment: datetime) -> Snapshot | None:
        """Return the newest snapshot on ``main`` committed at or before a moment."""

    def following(self, version_id: UUID, sequence_number: int) -> Snapshot | None:
        """Return the first snapshot on ``main`` behind a sequence number."""

    def page(self, version_id: UUID, before: int | None, limit: int, branch: str = "main") -> list[Snapshot]:
        """Return snapshots of a branch newest first, those below sequence number ``before`` where it is given."""

    def publish(self, version_id: UUID, sequence_numbers: Sequence[int], now: datetime) -> None:
        """Make snapshots of other branches part of ``main``, as committed now."""

    def drop_branch(self, version_id: UUID, branch: str) -> None:
        """Take a branch's name from its snapshots; they stay, on no branch."""

    def manifest(self, version_id: UUID, sequence_number: int) -> Manifest | None:
        """Return the manifest of a snapshot."""

    def receipt(self, version_id: UUID, key: str) -> CommitReceipt | None:
        """Return what was committed under an idempotency key."""

    def add_receipt(self, version_id: UUID, key: str, receipt: CommitReceipt, now: datetime) -> None:
        """Remember an idempotent commit; raises ``AlreadyExistsError`` if the key was used meanwhile."""


class SearchRows(Protocol):
    """Full-text search over live datasets: names, descriptions, tags, column names and column documentation."""

    def index(self, dataset: Dataset, columns: Sequence[Column]) -> None:
        """Put a dataset into the index, in the place of what was there."""

    def remove(self, dataset_id: UUID) -> None:
        """Take a dataset out of the index."""

    def search(
        self, text: str, filters: Mapping[str, str], after: str, limit: int, *, viewer: Viewer | None = None
    ) -> SearchResult:
        """Find datasets, by name; those whose full names have all the words go first.

        Args:
            text: Words, the last of which may be a beginning; all have to match. Empty finds everything.
            filters: Facet values to keep to: ``namespace``, ``owner``, ``tag``, ``lifecycle``.
            after: The ``next_page`` of the page before, or empty.
            limit: Most hits to return.
            viewer: Who asks; he gets, and counts, what he may discover.

        Returns:
            Hits by full name, each with a snippet of where it matched, the total, and counts of every facet value
            within the result. ``version`` is the active dataset version, else the newest.
        """
