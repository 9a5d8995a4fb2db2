"""Which files a table needs: everything that its metadata leads to, for any snapshot, branch or earlier pointer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from cordillera.errors import CorruptDataError
from cordillera.ports.storage import Storage
from cordillera.spec.object_uri import canonical
from cordillera.spec.table_metadata import IcebergSnapshot, TableMetadata
from cordillera.table.content_file import ManifestFile, Status
from cordillera.table.io import TableIO
from cordillera.table.live_files import SnapshotFiles
from cordillera.table.tombstones import tombstone_indexes

_STATISTICS = ("statistics", "partition-statistics")


def referenced_files(io: TableIO, metadata: TableMetadata) -> set[str]:
    """Return the URIs of all files that a table needs, but for its metadata file itself.

    Args:
        io: Access to the table's files.
        metadata: The table.
    """
    used = {str(entry["metadata-file"]) for entry in metadata.metadata_log}
    used |= _tombstones(io.storage, metadata) | set(statistics_files(metadata))
    used |= {snapshot.manifest_list for snapshot in metadata.snapshots}
    for path, manifest in _manifests(io.files, metadata.snapshots).items():
        used.add(path)
        used |= {one.file.file_path for one in io.files.entries(manifest) if one.status is not Status.DELETED}
    return used


def snapshot_files(io: TableIO, before: TableMetadata, after: TableMetadata) -> Iterator[str]:
    """Yield the files that only snapshots of ``before`` need, which ``after`` no longer has.

    Data files come before the manifests that name them, so that whoever is interrupted can begin again. A file that
    ``after`` needs in whatever way stays: nothing keeps an engine from saying that statistics are in one with rows.
    """
    files = io.files
    left = {snapshot.snapshot_id for snapshot in after.snapshots}
    gone = [snapshot for snapshot in before.snapshots if snapshot.snapshot_id not in left]
    kept = _manifests(files, after.snapshots)
    dropped = {path: one for path, one in _manifests(files, gone).items() if path not in kept}
    named = {canonical(entry.file.file_path) for one in dropped.values() for entry in files.entries(one)}
    named |= set(_only(statistics_files(before), statistics_files(after)))
    if named:
        named -= set(map(canonical, referenced_files(io, after)))
    yield from sorted(named)
    yield from dropped
    yield from _only((one.manifest_list for one in gone), (one.manifest_list for one in after.snapshots))


def _manifests(files: SnapshotFiles, snapshots: Iterable[IcebergSnapshot]) -> dict[str, ManifestFile]:
    return {canonical(one.manifest_path): one for snapshot in snapshots for one in files.manifests(snapshot)}


def _only(these: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return files that are not among others."""
    return sorted({canonical(one) for one in these} - {canonical(one) for one in others})


def statistics_files(metadata: TableMetadata) -> list[str]:
    """Return the files with statistics of a table, which other engines write."""
    listed: list[Mapping[str, Any]] = [item for name in _STATISTICS for item in metadata.extra.get(name, ())]
    return [str(item["statistics-path"]) for item in listed]


def place_of(uri: str) -> str:
    """Return what two URIs of one object have in common, however their schemes are written (``s3``, ``s3a``)."""
    parts = urlsplit(uri)
    scheme = "s3" if parts.scheme in ("s3a", "s3n") else parts.scheme
    authority = "" if scheme == "file" else parts.netloc
    # A query or fragment cannot be in a URI of storage: such characters belong to the name.
    rest = uri.split("://", 1)[1] if "://" in uri else uri.split(":", 1)[-1] if parts.scheme else uri
    path = rest[len(parts.netloc) :] if "://" in uri else rest
    return f"{scheme or 'file'}://{authority}/{path.lstrip('/')}"


def _tombstones(storage: Storage, metadata: TableMetadata) -> set[str]:
    used: set[str] = set()
    for index in tombstone_indexes(metadata):
        try:
            used |= {index, *(file["path"] for file in orjson.loads(storage.read(index)))}
        except (orjson.JSONDecodeError, TypeError, KeyError) as error:
            raise CorruptDataError(f"The tombstone index {index} cannot be read: {error}.") from error
    return used
