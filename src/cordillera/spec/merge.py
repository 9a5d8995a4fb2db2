"""Merge semantics: how written rows combine with stored ones.

Key equality, the same in every operation and engine:
    * Key columns are never NULL; rows with a NULL key are refused.
    * ``''`` is a value like any other, equal only to itself. Strings compare by code point: no case folding, no
    trimming,
      no Unicode normalisation.
    * NaN equals NaN; ``-0.0`` equals ``0.0``.
    * Timestamps with a zone compare as instants, whatever zone they were written in.

Sequence rule: where a dataset has a sequence column, a row replaces the stored row of its key only if its sequence is
greater or equal; a late row is dropped and counted. A delete carries a sequence too, and is remembered as a
tombstone: a row that arrives afterwards with a smaller sequence stays deleted. Within one batch the greatest
sequence of a key wins; the same key with the same sequence twice is refused, because nothing says which is right.
Without a sequence column the later commit wins, and a batch that repeats a key is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyiceberg.schema import Schema

from cordillera.errors import MissingKeyError, UnknownColumnError, UnknownOperationError

KEY_PROPERTY = "cordillera.key-field-ids"
SEQUENCE_PROPERTY = "cordillera.sequence-field-id"
WRITE_MODE_PROPERTY = "write.merge.mode"
TOMBSTONES_PROPERTY = "cordillera.tombstones"


class Operation(StrEnum):
    """What a write does with its rows."""

    APPEND = "append"
    """Add rows; a key that is already stored is refused."""
    UPSERT = "upsert"
    """Insert rows, or put them in the place of the stored rows of the same keys."""
    PARTIAL_UPDATE = "partial_update"
    """Change only the given columns of the stored rows; a key that is not stored is inserted, other columns NULL."""
    DELETE = "delete"
    """Remove the stored rows of the given keys."""
    REPLACE = "replace"
    """Make the rows the whole content."""
    REPLACE_PARTITIONS = "replace_partitions"
    """Make the rows the whole content of the partitions they fall into."""


class WriteMode(StrEnum):
    """How rows are taken out of data files."""

    MERGE_ON_READ = "merge-on-read"
    """Mark them in deletion vectors; readers leave them out."""
    COPY_ON_WRITE = "copy-on-write"
    """Rewrite the files without them."""


@dataclass(frozen=True, slots=True)
class MergeSemantics:
    """The key, the sequence column and the write mode of a dataset version. Column names are today's names."""

    key: tuple[str, ...] = ()
    sequence: str | None = None
    write_mode: WriteMode = WriteMode.MERGE_ON_READ

    @classmethod
    def of(cls, schema: Schema, properties: Mapping[str, str]) -> MergeSemantics:
        """Read the merge semantics of a table; they are stored by field id and so follow renames."""
        ids = [int(i) for i in properties.get(KEY_PROPERTY, "").split(",") if i] or schema.identifier_field_ids
        sequence = properties.get(SEQUENCE_PROPERTY)
        return cls(
            key=tuple(schema.find_field(i).name for i in ids),
            sequence=schema.find_field(int(sequence)).name if sequence else None,
            write_mode=WriteMode(properties.get(WRITE_MODE_PROPERTY, WriteMode.MERGE_ON_READ)),
        )

    def to_properties(self, schema: Schema) -> dict[str, str]:
        """Return the table properties that store these semantics."""
        properties = {WRITE_MODE_PROPERTY: self.write_mode.value}
        if self.key:
            properties[KEY_PROPERTY] = ",".join(str(schema.find_field(name).field_id) for name in self.key)
        if self.sequence:
            properties[SEQUENCE_PROPERTY] = str(schema.find_field(self.sequence).field_id)
        return properties

    def fixed_field_ids(self, schema: Schema) -> frozenset[int]:
        """Return the field ids of columns that these semantics stand on."""
        names = [*self.key, *([self.sequence] if self.sequence else [])]
        return frozenset(schema.find_field(name).field_id for name in names)


def parse_operation(text: str | Operation) -> Operation:
    """Return the operation of that name.

    Raises:
        UnknownOperationError: Listing the operations there are.
    """
    try:
        return Operation(text)
    except ValueError:
        raise UnknownOperationError(
            f"There is no write operation {str(text)[:60]!r}.", hint=f"Use one of: {', '.join(Operation)}."
        ) from None


def check_columns(
    operation: Operation,
    given: Sequence[str],
    declared: Sequence[str],
    semantics: MergeSemantics,
    dataset: str,
) -> None:
    """Check that rows with the ``given`` columns can be used for ``operation`` on a dataset with the ``declared`` ones.

    Raises:
        UnknownColumnError: If a given column does not exist.
        MissingKeyError: If the operation needs a key or sequence that the dataset or the rows lack.
    """
    unknown = [name for name in given if name not in declared]
    if unknown:
        raise UnknownColumnError(
            f"The rows have columns that {dataset} does not: {', '.join(map(repr, unknown))}.",
            hint=f"Add them with evolve(), or leave them out. Columns: {', '.join(declared)}.",
        )
    keyed = operation in (Operation.UPSERT, Operation.PARTIAL_UPDATE, Operation.DELETE)
    if keyed and not semantics.key:
        raise MissingKeyError(
            f"{dataset} has no key, so {operation} cannot find the rows to change.",
            hint="Use append or replace, or create a dataset version with a key.",
        )
    if operation is Operation.UPSERT and (absent := [name for name in declared if name not in given]):
        raise MissingKeyError(
            f"The rows for upsert on {dataset} lack {', '.join(map(repr, absent))}; an upsert puts whole rows.",
            hint="Give every column, or use partial_update to leave the others untouched.",
        )
    needed = list(semantics.key)
    if semantics.sequence and operation is not Operation.REPLACE:
        needed.append(semantics.sequence)
    missing = [name for name in needed if name not in given]
    if missing:
        raise MissingKeyError(
            f"The rows for {operation} on {dataset} lack the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(map(repr, missing))}.",
            hint=f"Every row needs its key ({', '.join(semantics.key) or 'none'})"
            + (f" and its sequence ({semantics.sequence})." if semantics.sequence else "."),
        )
