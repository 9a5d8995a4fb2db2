"""Content files (Iceberg's word for data files and delete files) and their manifest entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any


class Content(IntEnum):
    """What a content file holds, by its number in manifests."""

    DATA = 0
    POSITION_DELETES = 1
    EQUALITY_DELETES = 2


class Status(IntEnum):
    """What a snapshot did with a content file, by its number in manifests."""

    EXISTING = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class ContentFile:
    """A data or delete file as manifests describe it. Bounds are in Iceberg's single-value binary form, by field id."""

    content: Content
    file_path: str
    file_format: str
    spec_id: int
    partition: tuple[Any, ...]
    record_count: int
    file_size_in_bytes: int
    column_sizes: Mapping[int, int] = field(default_factory=dict)
    value_counts: Mapping[int, int] = field(default_factory=dict)
    null_value_counts: Mapping[int, int] = field(default_factory=dict)
    nan_value_counts: Mapping[int, int] = field(default_factory=dict)
    lower_bounds: Mapping[int, bytes] = field(default_factory=dict)
    upper_bounds: Mapping[int, bytes] = field(default_factory=dict)
    split_offsets: tuple[int, ...] = ()
    equality_ids: tuple[int, ...] = ()
    sort_order_id: int | None = None
    first_row_id: int | None = None
    referenced_data_file: str | None = None
    content_offset: int | None = None
    content_size_in_bytes: int | None = None
    checksum: str = ""
    """``sha256:…`` of a file this process wrote; not part of Iceberg manifests."""

    @property
    def is_deletion_vector(self) -> bool:
        """Whether this is a blob of a Puffin file, and not a file of its own."""
        return self.content is Content.POSITION_DELETES and self.file_format == "PUFFIN"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A content file in a manifest. Sequence numbers and row ids are resolved: inheritance has been applied."""

    status: Status
    snapshot_id: int | None
    sequence_number: int | None
    file_sequence_number: int | None
    file: ContentFile

    def as_status(self, status: Status, snapshot_id: int | None = None) -> ManifestEntry:
        """Return the entry with another status; EXISTING keeps the snapshot that added it."""
        return replace(self, status=status, snapshot_id=snapshot_id if snapshot_id is not None else self.snapshot_id)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest as a manifest list describes it. ``content`` is 0 for data and 1 for deletes."""

    manifest_path: str
    manifest_length: int
    partition_spec_id: int
    content: int
    sequence_number: int
    min_sequence_number: int
    added_snapshot_id: int
    added_files_count: int
    existing_files_count: int
    deleted_files_count: int
    added_rows_count: int
    existing_rows_count: int
    deleted_rows_count: int
    partitions: tuple[Mapping[str, Any], ...] = ()
    first_row_id: int | None = None
