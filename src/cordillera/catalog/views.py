"""Views: creating, finding, changing, renaming and dropping them, and queries that read them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from cordillera.catalog.lookup import Lookup, page_limit, unversioned
from cordillera.catalog.trail import Trail
from cordillera.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CommitConflictError,
    CorruptDataError,
    InvalidInputError,
    NamespaceNotFoundError,
    NotAllowedError,
    StorageFullError,
    StorageUnavailableError,
)
from cordillera.ports.clock import Clock
from cordillera.ports.metadata import MetadataStore, Transaction
from cordillera.ports.storage import Storage
from cordillera.spec.access import Privilege
from cordillera.spec.catalog import View
from cordillera.spec.event import Topic
from cordillera.spec.names import DatasetRef, check_dataset_name, parse_dataset_ref
from cordillera.spec.object_uri import canonical, object_key
from cordillera.spec.view_changes import AssertViewUuid, ViewUpdate, change_view, check_view
from cordillera.spec.view_metadata import ViewMetadata
from cordillera.spec.view_query import check_no_cycle
from cordillera.table.live_files import LruCache

_ATTEMPTS = 5
_FILES_KEPT = 10
"""So many earlier metadata files stay, for who has loaded one of them."""
_FOLDERS = 3
_CACHED = 1_000


@dataclass(frozen=True, slots=True)
class ResolvedView:
    """A view and what its metadata says."""

    view: View
    metadata: ViewMetadata


class ViewService:
    """The views of one lake.

    Args:
        store: Knows them by name.
        lookup: Finds what whoever acts may.
        storage: Keeps their metadata files.
        clock: Time and ids.
    """

    def __init__(self, store: MetadataStore, lookup: Lookup, storage: Storage, clock: Clock) -> None:
        self._store, self._lookup, self._storage, self._clock = store, lookup, storage, clock
        self._loaded: LruCache[str, ViewMetadata] = LruCache(_CACHED)

    def view(self, name: str, needed: Privilege = Privilege.READ) -> ResolvedView:
        """Return a view by name, or raise ``ViewNotFoundError``. Its definition names what it reads."""
        with self._store.read() as tx:
            found = self._lookup.view(tx, parse_dataset_ref(name), needed)
        return ResolvedView(found, self._load(found))

    def views(self, namespace: str | None = None, after: str = "", limit: int = 100) -> list[View]:
        """Return a page of views by full name, of one namespace or all."""
        with self._store.read() as tx:
            if namespace is not None:
                self._lookup.namespace(tx, namespace)
            return tx.views.page(namespace, after, page_limit(limit), viewer=self._lookup.viewer(tx))

    def find(self, tx: Transaction, ref: DatasetRef) -> ViewMetadata | None:
        """Return the view of a name, within a transaction; None if the name is not a view's."""
        found = None if ref.version is not None else tx.views.get(ref.namespace, ref.name)
        return None if found is None else self._load(found)

    def readable(self, tx: Transaction, ref: DatasetRef) -> ViewMetadata | None:
        """Return the view of a name for a query; None if the name is not that of a view that may be discovered.

        Raises:
            AccessDeniedError: If whoever asks may discover it, and may not read it.
        """
        found = None if ref.version is not None else tx.views.get(ref.namespace, ref.name)
        if found is None or Privilege.DISCOVER not in self._lookup.authorizer.on_dataset(tx, found, ref.namespace):
            return None
        return self._load(self._lookup.view(tx, ref, Privilege.READ))

    def create(self, name: str, updates: Sequence[ViewUpdate], *, owner: str = "") -> ResolvedView:
        """Create a view.

        Args:
            name: ``namespace.view``; no dataset may be called that.
            updates: What makes it out of nothing.
            owner: Owner; empty takes the namespace's.

        Raises:
            AlreadyExistsError: If a view or a dataset has the name.
            InvalidInputError, NotAllowedError: If it cannot be; see ``change_view``.
            NamespaceNotFoundError, InvalidNameError: As their names say.
        """
        ref, view_id = _new_ref(name), self._clock.new_id()
        empty = ViewMetadata(str(view_id), f"{self._storage.root}/{ref.namespace}/{ref.name}/{view_id}")
        metadata = change_view(empty, updates, str(ref), self._now_ms())
        return self._insert(ref, metadata, "view.create", "created", owner=owner)

    def register(self, name: str, metadata_location: str) -> ResolvedView:
        """Make a view of a metadata file that lies in the lake's storage and belongs to no view.

        Raises:
            AccessDeniedError: If the file lies where no view of this lake can.
            InvalidInputError: If it cannot be read.
            NotAllowedError: If the view is there, whatever it is called.
            AlreadyExistsError, NamespaceNotFoundError, InvalidNameError: As for ``create``.
        """
        ref, metadata_location = _new_ref(name), canonical(metadata_location)
        with self._store.read() as tx:
            self._lookup.namespace(tx, ref.namespace, Privilege.CREATE)
        location, view_id = self._place(metadata_location)
        try:
            metadata = ViewMetadata.from_json(self._storage.read(metadata_location), metadata_location)
            if metadata.location.rstrip("/") != location or metadata.view_uuid != str(view_id):
                raise CorruptDataError(f"{metadata_location} is the metadata of another view.")
            metadata = change_view(replace(metadata, location=location), (), str(ref), self._now_ms())
        except CorruptDataError as error:
            raise InvalidInputError(error.message, hint="Register a view by a metadata file of its own.") from error
        with self._store.read() as tx:
            if (known := tx.views.get_by_id(view_id)) is not None:
                held = self._lookup.authorizer.on_dataset(tx, known, known.namespace)
                called = f"the view {known.full_name}" if Privilege.DISCOVER in held else "another view"
                raise NotAllowedError(f"That is {called}.", hint="Rename that one.")
        return self._insert(ref, metadata, "view.register", "registered", after=metadata_location)

    def change(self, name: str, requirements: Sequence[AssertViewUuid], updates: Sequence[ViewUpdate]) -> ResolvedView:
        """Change a view.

        Args:
            name: The view.
            requirements: What the caller believes about it.
            updates: What is to change.

        Raises:
            CommitConflictError: If a requirement does not hold.
            InvalidInputError, NotAllowedError: If it may not change so; see ``change_view``.
            ViewNotFoundError: If there is none of the name.
        """
        for _ in range(_ATTEMPTS):
            found = self.view(name, Privilege.ALTER)
            check_view(requirements, found.metadata, name)
            metadata = change_view(found.metadata, updates, name, self._now_ms())
            if metadata == found.metadata:
                return found
            self._check_no_cycle(found.view.full_name, metadata)
            changed = self._swap(found.view, metadata)
            if changed is not None:
                return changed
        raise CommitConflictError(f"Others keep changing the view {name}.", hint="Try again.")

    def rename(self, name: str, new_name: str) -> View:
        """Call a view otherwise, or move it to another namespace. Its files stay where they are.

        Raises:
            AlreadyExistsError: If a view or a dataset has the new name.
            ViewNotFoundError, NamespaceNotFoundError, InvalidNameError: As their names say.
        """
        wanted, now = _new_ref(new_name), self._clock.now()
        with self._store.write() as tx:
            ref = parse_dataset_ref(name)
            needed = Privilege.ALTER if wanted.namespace == ref.namespace else Privilege.ADMINISTER
            self._lookup.namespace(tx, wanted.namespace, Privilege.CREATE)
            found = self._lookup.view(tx, ref, needed, lock=True)
            if found.full_name == wanted.full_name:
                raise AlreadyExistsError(f"The view {wanted} is called that already.", hint="Choose another name.")
            renamed = replace(found, namespace=wanted.namespace, name=wanted.name, updated_at=now)
            tx.views.rename(renamed)
            trail = Trail(tx, now)
            trail.audit("view.rename", "view", found.full_name, {"to": renamed.full_name})
            _tell(trail, renamed, "renamed", before=found.full_name)
        return renamed

    def drop(self, name: str) -> View:
        """Remove a view. Its newest metadata file stays, by which it can be registered again."""
        now = self._clock.now()
        with self._store.write() as tx:
            found = self._lookup.view(tx, parse_dataset_ref(name), Privilege.ADMINISTER, lock=True)
            tx.views.delete(found.id)
            trail = Trail(tx, now)
            trail.audit("view.drop", "view", found.full_name, {"metadata_location": found.metadata_location})
            _tell(trail, found, "dropped")
        self._remove_old(found, kept=0)
        return found

    # --- helpers -------------------------------------------------------------------------------------------------

    def _insert(
        self, ref: DatasetRef, metadata: ViewMetadata, action: str, change: str, *, owner: str = "", after: str = ""
    ) -> ResolvedView:
        with self._store.read() as tx:
            self._lookup.namespace(tx, ref.namespace, Privilege.CREATE)
            _check_free(tx, ref)
        self._check_no_cycle(str(ref), metadata)
        file, now = self._write(metadata, after), self._clock.now()
        try:
            with self._store.write() as tx:
                owner = self._lookup.new_owner(tx, self._lookup.namespace(tx, ref.namespace), owner)
                view = View(UUID(metadata.view_uuid), ref.namespace, ref.name, owner, metadata.location, file, now, now)
                tx.views.insert(view)
                trail = Trail(tx, now)
                trail.audit(action, "view", view.full_name, {"dialects": list(metadata.current.sql)})
                _tell(trail, view, change)
        except (AlreadyExistsError, NamespaceNotFoundError, StorageFullError):
            self._storage.delete([file])
            raise
        return ResolvedView(view, metadata)

    def _swap(self, view: View, metadata: ViewMetadata) -> ResolvedView | None:
        """Store a view's new state; None if somebody else was faster."""
        file, now = self._write(metadata, view.metadata_location), self._clock.now()
        changed = replace(view, metadata_location=file, updated_at=now)
        with self._store.write() as tx:
            swapped = tx.views.swap(changed, expected_location=view.metadata_location)
            if swapped:
                current_name = tx.views.get_by_id(view.id) or changed
                trail = Trail(tx, now)
                details = {"version": metadata.current_version_id, "dialects": list(metadata.current.sql)}
                trail.audit("view.change", "view", current_name.full_name, details)
                _tell(trail, current_name, "changed")
        if not swapped:
            self._storage.delete([file])
            return None
        self._remove_old(changed, kept=_FILES_KEPT)
        return ResolvedView(changed, metadata)

    def _load(self, view: View) -> ViewMetadata:
        place = view.metadata_location
        return self._loaded.get(place, lambda: ViewMetadata.from_json(self._storage.read(place), place))

    def _write(self, metadata: ViewMetadata, after: str) -> str:
        number = _number(after) + 1 if after else 0
        location = f"{metadata.location}/metadata/{number:05d}-{self._clock.new_id()}.metadata.json"
        self._storage.write(location, metadata.to_json())
        self._loaded.put(location, metadata)
        return location

    def _remove_old(self, view: View, *, kept: int) -> None:
        """Remove metadata files of a view that are older than the newest and some before it."""
        newest = _number(view.metadata_location)
        with suppress(StorageUnavailableError):  # the next change does it
            files = [file.uri for file in self._storage.list(f"{view.location}/metadata")]
            self._storage.delete([uri for uri in files if _number(uri) < newest - kept])

    def _check_no_cycle(self, name: str, metadata: ViewMetadata) -> None:
        with self._store.read() as tx:
            check_no_cycle(name, metadata, lambda ref: self.find(tx, ref), lake_name(tx))

    def _place(self, metadata_location: str) -> tuple[str, UUID]:
        """Return the folder of a metadata file's view, and the view's id."""
        root = self._storage.root
        folders = object_key(root, metadata_location).split("/")
        try:
            view_id = UUID(folders[_FOLDERS - 1])
        except (IndexError, ValueError):
            view_id = None
        whole = len(folders) == _FOLDERS + 2 and folders[_FOLDERS] == "metadata"
        if view_id is None or not whole or not metadata_location.endswith(".metadata.json"):
            raise AccessDeniedError(
                f"No view of this lake can have its metadata at {metadata_location[:300]!r}.",
                hint=f"Views lie in {root}/namespace/view/id, and their metadata in the folder metadata there.",
            )
        return f"{root}/{'/'.join(folders[:_FOLDERS])}", view_id

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def lake_name(tx: Transaction) -> str:
    """Return what the lake is called, or nothing if it has no name yet."""
    found = tx.lake.get()
    return "" if found is None else found.name


def _new_ref(name: str) -> DatasetRef:
    """Read the name that a view is to have: one that a dataset could have."""
    ref = unversioned(name)
    check_dataset_name(ref.name)
    return ref


def _check_free(tx: Transaction, ref: DatasetRef) -> None:
    """Refuse a name that is taken; whoever takes it later is found out by the database."""
    for what, rows in (("view", tx.views), ("dataset", tx.datasets)):
        if rows.get(ref.namespace, ref.name) is not None:
            raise AlreadyExistsError(f"The {what} {ref} exists already.", hint="Choose another name.")


def _tell(trail: Trail, view: View, change: str, *, before: str = "") -> None:
    payload = {"change": change, "view_id": str(view.id), **({"from": before} if before else {})}
    trail.event(Topic.VIEW_CHANGED, view.full_name, None, payload)


def _number(location: str) -> int:
    number = location.rsplit("/", 1)[-1].split("-", 1)[0]
    return int(number) if number.isdecimal() else 0
