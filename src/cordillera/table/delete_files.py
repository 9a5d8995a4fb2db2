"""Delete files, which other engines write: which of them apply to which data file (specification, "Scan Planning").

Deletion vectors are not among them: they belong to one data file each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, PrimitiveType

from cordillera.errors import CorruptDataError
from cordillera.table.content_file import Content, ContentFile, ManifestEntry

DELETED_PATH_FIELD_ID = 2147483546
DELETED_POSITION_FIELD_ID = 2147483545


@dataclass(frozen=True, slots=True, eq=False)
class DeleteFile:
    """A position or equality delete file of a snapshot.

    Attributes:
        entry: Its manifest entry.
        schema: The table's schema as its manifest knows it; of equality deletes only.
    """

    entry: ManifestEntry
    schema: Schema | None = None

    @property
    def file(self) -> ContentFile:
        """The file."""
        return self.entry.file

    @property
    def is_equality(self) -> bool:
        """Whether it names values, and not positions."""
        return self.file.content is Content.EQUALITY_DELETES

    @property
    def data_file(self) -> str | None:
        """The only data file that a position delete file is about, where it says so."""
        if self.file.referenced_data_file is not None:
            return self.file.referenced_data_file
        low, high = (bounds.get(DELETED_PATH_FIELD_ID) for bounds in (self.file.lower_bounds, self.file.upper_bounds))
        return low.decode() if low is not None and low == high else None

    def applies_to(self, data: ManifestEntry) -> bool:
        """Tell whether it may delete rows of a data file of its partition, by age and statistics."""
        own, other = self.entry.sequence_number or 0, data.sequence_number or 0
        if not self.is_equality:
            return other <= own and self._may_name(data.file.file_path)
        return other < own and all(self._may_meet(data.file, field_id) for field_id in self.file.equality_ids)

    def _may_name(self, path: str) -> bool:
        """Tell whether the paths it holds may include this one; bounds can be cut off."""
        low, high = (bounds.get(DELETED_PATH_FIELD_ID) for bounds in (self.file.lower_bounds, self.file.upper_bounds))
        return not ((low is not None and path.encode() < low) or (high is not None and path.encode() > high))

    def _may_meet(self, data: ContentFile, field_id: int) -> bool:
        """Tell whether a row of a data file may have the value of a deleted one. NULL equals NULL."""
        own = self.file
        if own.null_value_counts.get(field_id, 1) and data.null_value_counts.get(field_id, 1):
            return True
        kind = self.schema.find_type(field_id) if self.schema and field_id in self.schema._lazy_id_to_field else None
        if not isinstance(kind, PrimitiveType) or isinstance(kind, FloatType | DoubleType):  # bounds omit NaN
            return True
        for one, other in ((own, data), (data, own)):
            low, high = one.lower_bounds.get(field_id), other.upper_bounds.get(field_id)
            if low is not None and high is not None and _value(kind, low) > _value(kind, high):
                return False
        return True


def _value(kind: PrimitiveType, bound: bytes) -> Any:
    return from_bytes(kind, bound)


class DeleteIndex:
    """The deletes of one snapshot, to be found by data file."""

    def __init__(self) -> None:
        self._vectors: dict[str, ManifestEntry] = {}
        self._of_file: defaultdict[str, list[DeleteFile]] = defaultdict(list)
        self._of_partition: defaultdict[tuple[int, tuple[Any, ...]], list[DeleteFile]] = defaultdict(list)
        self._of_all: list[DeleteFile] = []

    def add(self, entry: ManifestEntry, schema: Callable[[], Schema]) -> None:
        """Take in a delete file or deletion vector.

        Args:
            entry: Its live manifest entry.
            schema: Tells the schema that its manifest was written under.

        Raises:
            CorruptDataError: If a deletion vector does not say what it is about, or is the second one of its file.
        """
        file = entry.file
        if file.is_deletion_vector:
            self._add_vector(entry)
        elif file.content is Content.EQUALITY_DELETES:
            deletes = DeleteFile(entry, schema())
            # What is written under a spec without fields is about every partition of every spec.
            (self._of_partition[file.spec_id, file.partition] if file.partition else self._of_all).append(deletes)
        else:
            deletes = DeleteFile(entry)
            path = deletes.data_file
            (self._of_file[path] if path else self._of_partition[file.spec_id, file.partition]).append(deletes)

    def _add_vector(self, entry: ManifestEntry) -> None:
        path = entry.file.referenced_data_file
        if path is None:
            raise CorruptDataError(f"A deletion vector in {entry.file.file_path} names no data file.")
        if path in self._vectors:
            raise CorruptDataError(f"The data file {path} has two deletion vectors in one snapshot.")
        self._vectors[path] = entry

    def vector_of(self, data: ManifestEntry) -> ManifestEntry | None:
        """Return the deletion vector of a data file."""
        vector = self._vectors.get(data.file.file_path)
        applies = vector is not None and (data.sequence_number or 0) <= (vector.sequence_number or 0)
        return vector if applies else None

    def deletes_of(self, data: ManifestEntry, vector: ManifestEntry | None) -> tuple[DeleteFile, ...]:
        """Return the delete files that apply to a data file. A vector stands for its position deletes, too."""
        if not (self._of_file or self._of_partition or self._of_all):
            return ()
        file = data.file
        found = [
            *self._of_file.get(file.file_path, ()),
            *self._of_partition.get((file.spec_id, file.partition), ()),
            *self._of_all,
        ]
        return tuple(one for one in found if (one.is_equality or vector is None) and one.applies_to(data))
