"""The files that make up a snapshot: every live data file with the deletes that apply to it.

Manifests never change, so what was read once is kept; a snapshot that differs from the last by one manifest costs
one read.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Generic, Protocol, TypeVar

from pyiceberg.schema import Schema
from pyroaring import BitMap64

from cordillera.errors import CorruptDataError
from cordillera.ports.storage import Storage
from cordillera.spec.table_metadata import IcebergSnapshot
from cordillera.table.content_file import Content, ContentFile, ManifestEntry, ManifestFile, Status
from cordillera.table.delete_files import DeleteFile, DeleteIndex
from cordillera.table.deletion_vector import decode_vector
from cordillera.table.manifests import decode_manifest, decode_manifest_list, inherited, manifest_schema

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, eq=False)
class LiveFile:
    """A data file that is part of a snapshot, with the deletes that apply to it.

    Compared by identity: a snapshot's live files are made once.

    Attributes:
        data: Its manifest entry.
        vector: The entry of its deletion vector, if it has one.
        deletes: Position and equality delete files, which other engines write.
        resolve: Reads how many rows these take out; needed where there are any.
    """

    data: ManifestEntry
    vector: ManifestEntry | None
    deletes: tuple[DeleteFile, ...] = ()
    resolve: Callable[[LiveFile], BitMap64 | None] | None = None

    @property
    def file(self) -> ContentFile:
        """The data file."""
        return self.data.file

    @property
    def path(self) -> str:
        """The data file's URI."""
        return self.data.file.file_path

    @property
    def live_rows(self) -> int:
        """Rows that are not deleted."""
        if self.deletes and self.resolve is not None:
            return self.file.record_count - len(self.resolve(self) or ())
        return self.file.record_count - (self.vector.file.record_count if self.vector else 0)

    def every_position(self) -> BitMap64:
        """Return the positions of all its rows, those that are deleted among them."""
        return BitMap64(range(self.file.record_count))

    @property
    def key(self) -> tuple[str, int | None]:
        """Identifies the file together with its deletes: equal keys mean equal rows."""
        vector = self.vector.file if self.vector else None
        marks: list[object] = [(vector.file_path, vector.content_offset)] if vector else []
        marks += sorted(one.file.file_path for one in self.deletes)
        return self.path, hash(tuple(marks)) if marks else None


class LruCache(Generic[K, V]):
    """A small thread-safe cache of values that never change, bounded by total weight."""

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._capacity, self._weigh = capacity, weigh
        self._weight = 0
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, load: Callable[[], V]) -> V:
        """Return the value of ``key``, loading it if it is not there."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        value = load()
        self.put(key, value)
        return value

    def known(self, key: K) -> V | None:
        """Return the value of ``key`` if it is there."""
        with self._lock:
            return self._items.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, letting go of the ones longest unused."""
        with self._lock:
            if key in self._items:
                return
            self._items[key] = value
            self._weight += self._weigh(value)
            while self._weight > self._capacity and len(self._items) > 1:
                _, dropped = self._items.popitem(last=False)
                self._weight -= self._weigh(dropped)

    def forget(self, key: K) -> None:
        """Let go of a value that is not wanted any more."""
        with self._lock:
            if key in self._items:
                self._weight -= self._weigh(self._items.pop(key))


_STATISTICS = 2_000_000
"""How many values of manifest entries are kept in memory over all tables; about 100 bytes each."""
_MANIFESTS = 20_000
_LIVE_FILES = 200_000


def _weight(entries: Sequence[ManifestEntry]) -> int:
    """Return about how many values entries hold: for every column there are up to six."""
    return len(entries) * (8 + 6 * len(entries[0].file.value_counts)) if entries else 1


@dataclass(frozen=True, slots=True)
class _Live:
    """The files of a snapshot, and how those of the next are told from them.

    Attributes:
        files: The live data files, in the order of manifests.
        manifests: What the manifests are known by.
        newest_delete: The highest sequence number of a delete; -1 if there is none.
    """

    files: tuple[LiveFile, ...]
    manifests: tuple[tuple[str, int | None], ...]
    newest_delete: int


class RowDeletes(Protocol):
    """Reads delete files."""

    def positions(self, live: LiveFile) -> BitMap64:
        """Return the positions that its delete files take out of a data file."""


class SnapshotFiles:
    """Reads which files a snapshot consists of.

    Args:
        storage: Where the table lives.
        row_deletes: Reads delete files.
    """

    def __init__(self, storage: Storage, row_deletes: RowDeletes) -> None:
        self._storage, self._row_deletes = storage, row_deletes
        self._manifests: LruCache[tuple[str, int | None], tuple[ManifestEntry, ...]] = LruCache(_STATISTICS, _weight)
        self._lists: LruCache[str, tuple[ManifestFile, ...]] = LruCache(_MANIFESTS, len)
        self._live: LruCache[str, _Live] = LruCache(_LIVE_FILES, lambda live: len(live.files) + len(live.manifests))
        self._list_of: LruCache[int, str] = LruCache(_MANIFESTS)
        self._vectors: LruCache[tuple[str, int], BitMap64] = LruCache(2_000)
        self._resolved: LruCache[object, BitMap64] = LruCache(2_000)

    def manifests(self, snapshot: IcebergSnapshot | None) -> tuple[ManifestFile, ...]:
        """Return the manifests of a snapshot; none for an empty table."""
        if snapshot is None:
            return ()
        path = snapshot.manifest_list
        return self._lists.get(path, lambda: decode_manifest_list(self._storage.read(path), path))

    def entries(self, manifest: ManifestFile) -> tuple[ManifestEntry, ...]:
        """Return the entries of a manifest, deleted ones included."""
        path = manifest.manifest_path
        return self._manifests.get(_identity(manifest), lambda: decode_manifest(self._storage.read(path), manifest))

    def remember(
        self,
        manifest_list: str,
        manifests: Sequence[ManifestFile],
        entries: Mapping[str, Sequence[ManifestEntry]],
    ) -> None:
        """Keep a manifest list that was just written, and the entries of manifests that were, by path."""
        self._lists.put(manifest_list, tuple(manifests))
        for manifest in manifests:
            if (written := entries.get(manifest.manifest_path)) is not None:
                self._manifests.put(_identity(manifest), inherited(map(_as_stored, written), manifest))

    def live(self, snapshot: IcebergSnapshot | None) -> tuple[LiveFile, ...]:
        """Return the live data files of a snapshot with their deletion vectors."""
        if snapshot is None:
            return ()
        return self._live.get(snapshot.manifest_list, lambda: self._load_live(snapshot)).files

    def deleted_positions(self, file: LiveFile) -> BitMap64 | None:
        """Return the row positions deleted from a file, or None.

        Raises:
            CorruptDataError: If a vector or delete file is missing or damaged, marks another number of rows than its
                manifest says, or rows that the file does not have.
        """
        if not file.deletes:
            return self._marked(file)
        return self._resolved.get(file.key, lambda: self._checked(file, self._row_deletes.positions(file)))

    def _marked(self, file: LiveFile) -> BitMap64 | None:
        """Return the positions in a file's deletion vector."""
        if file.vector is None:
            return None
        vector = file.vector.file
        path, offset, size = vector.file_path, vector.content_offset or 0, vector.content_size_in_bytes
        bitmap = self._vectors.get((path, offset), lambda: decode_vector(self._storage.read(path, offset, size), path))
        if len(bitmap) != vector.record_count:
            raise CorruptDataError(
                f"The deletion vector of {file.path} marks {len(bitmap)} rows, its manifest says {vector.record_count}."
            )
        return _inside(file, bitmap)

    def _checked(self, file: LiveFile, found: BitMap64) -> BitMap64:
        return _inside(file, found | (self._marked(file) or BitMap64()))

    def _load_live(self, snapshot: IcebergSnapshot) -> _Live:
        manifests = self.manifests(snapshot)
        live = self._appended(snapshot, manifests) or self._read_live(manifests)
        self._list_of.put(snapshot.snapshot_id, snapshot.manifest_list)
        return live

    def _appended(self, snapshot: IcebergSnapshot, manifests: Sequence[ManifestFile]) -> _Live | None:
        """Return the files of a snapshot that has all of its parent's, and new ones that no delete is about.

        Nothing is believed of what it says of itself: which manifests it has decides.
        """
        known = self._list_of.known(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id is not None else None
        before = self._live.known(known) if known is not None else None
        if before is None or not before.manifests:
            return None
        names = tuple(_identity(manifest) for manifest in manifests)
        first = names.index(before.manifests[0]) if before.manifests[0] in names else len(names)
        end = first + len(before.manifests)
        if names[first:end] != before.manifests:
            return None
        sides = [self._data_newer_than(before.newest_delete, part) for part in (manifests[:first], manifests[end:])]
        if sides[0] is None or sides[1] is None:
            return None
        return _Live((*sides[0], *before.files, *sides[1]), names, before.newest_delete)

    def _data_newer_than(self, delete: int, manifests: Sequence[ManifestFile]) -> list[LiveFile] | None:
        """Return the live files of manifests; None if one is a delete, or may have rows that a delete is about."""
        entries = [entry for manifest in manifests for entry in self.entries(manifest)]
        live = [entry for entry in entries if entry.status is not Status.DELETED]
        if any(e.file.content is not Content.DATA or (e.sequence_number or 0) <= delete for e in live):
            return None
        return [LiveFile(entry, None) for entry in live]

    def _read_live(self, manifests: Sequence[ManifestFile]) -> _Live:
        data: list[ManifestEntry] = []
        index = DeleteIndex()
        newest = -1
        for manifest in manifests:
            live = [entry for entry in self.entries(manifest) if entry.status is not Status.DELETED]
            deletes = [entry for entry in live if entry.file.content is not Content.DATA]
            if not deletes:
                data += live
                continue
            schema = cache(partial(self._schema, manifest))
            for entry in deletes:
                index.add(entry, schema)
                newest = max(newest, entry.sequence_number or 0)
            data += [entry for entry in live if entry.file.content is Content.DATA]
        files = tuple(self._live_file(entry, index) for entry in data)
        return _Live(files, tuple(map(_identity, manifests)), newest)

    def _live_file(self, data: ManifestEntry, index: DeleteIndex) -> LiveFile:
        vector = index.vector_of(data)
        deletes = index.deletes_of(data, vector)
        return LiveFile(data, vector, deletes, self.deleted_positions if deletes else None)

    def _schema(self, manifest: ManifestFile) -> Schema:
        return manifest_schema(self._storage.read(manifest.manifest_path), manifest.manifest_path)


def _identity(manifest: ManifestFile) -> tuple[str, int | None]:
    """Return what stands for the entries of a manifest, which gets row ids when its table is upgraded to version 3."""
    return manifest.manifest_path, manifest.first_row_id


def _as_stored(entry: ManifestEntry) -> ManifestEntry:
    """Return an entry as it will be read: a manifest does not tell the checksum of a file."""
    return replace(entry, file=replace(entry.file, checksum="")) if entry.file.checksum else entry


def _inside(file: LiveFile, deleted: BitMap64) -> BitMap64:
    if deleted and deleted.max() >= file.file.record_count:
        raise CorruptDataError(
            f"Row {deleted.max()} of {file.path} is deleted, but the file has {file.file.record_count} rows."
        )
    return deleted
