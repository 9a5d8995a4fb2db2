"""Describing a snapshot's file changes as the entries of a Cordillera manifest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import PrimitiveType

from cordillera.spec.arrow_types import primitive
from cordillera.spec.manifest import FileContent, FileEntry
from cordillera.spec.table_metadata import TableMetadata
from cordillera.table.content_file import Content, ContentFile
from cordillera.table.data_writer import partition_path
from cordillera.table.snapshot_producer import FileChanges

_CONTENT = {
    Content.DATA: FileContent.DATA,
    Content.POSITION_DELETES: FileContent.POSITION_DELETES,
    Content.EQUALITY_DELETES: FileContent.EQUALITY_DELETES,
}


def describe_changes(changes: FileChanges, metadata: TableMetadata) -> tuple[FileEntry, ...]:
    """Return an entry for every file that the changes add or remove."""
    removed = [live.file for live in changes.removed]
    removed += [live.vector.file for live in changes.removed if live.vector]
    removed += [live.vector.file for live, _ in changes.vectors if live.vector]
    added = [*changes.added, *(vector for _, vector in changes.vectors)]
    return describe_files(added, removed, metadata)


def describe_files(
    added: Iterable[ContentFile], removed: Iterable[ContentFile], metadata: TableMetadata
) -> tuple[FileEntry, ...]:
    """Return an entry for every file that comes or goes."""
    return tuple(
        _entry(file, metadata, added=is_added)
        for files, is_added in ((added, True), (removed, False))
        for file in _in_order(files)
    )


def _in_order(files: Iterable[ContentFile]) -> list[ContentFile]:
    return sorted(files, key=lambda file: (file.content, file.file_path, file.content_offset or 0))


def _entry(file: ContentFile, metadata: TableMetadata, *, added: bool) -> FileEntry:
    return FileEntry(
        path=file.referenced_data_file or file.file_path if file.is_deletion_vector else file.file_path,
        content=FileContent.DELETION_VECTOR if file.is_deletion_vector else _CONTENT[file.content],
        added=added,
        partition=partition_path(metadata.spec_by_id(file.spec_id), metadata.schema, file.partition),
        rows=file.record_count,
        bytes=file.content_size_in_bytes or file.file_size_in_bytes,
        statistics=_key_statistics(file, metadata),
        checksum=file.checksum,
    )


def _key_statistics(file: ContentFile, metadata: TableMetadata) -> dict[str, list[str]]:
    statistics = {}
    for name in metadata.semantics.key:
        field = metadata.schema.find_field(name)
        low, high = file.lower_bounds.get(field.field_id), file.upper_bounds.get(field.field_id)
        if low is not None and high is not None:
            statistics[name] = [_readable(primitive(field), low), _readable(primitive(field), high)]
    return statistics


def _readable(kind: PrimitiveType, bound: bytes) -> str:
    """Return a bound as people read it: dates and times as such, not as counts since 1970."""
    text: str = IdentityTransform[Any]().to_human_string(kind, from_bytes(kind, bound))
    return text
