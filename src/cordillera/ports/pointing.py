"""What a target must do whose readers read the lake's own files: it holds no rows, it points at them.

Other catalogs find a table by one entry that names its newest metadata file. Keeping such a target is swapping that
name for a later one, never for an earlier one; whoever repeats a swap changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from uuid import UUID

from pyiceberg.schema import Schema

from cordillera.ports.synchronizer import Cursor, Origin, Synchronizer
from cordillera.spec.external_schema import ExternalSchema
from cordillera.spec.table_metadata import TableMetadata


@dataclass(frozen=True, slots=True)
class Pointer:
    """The state of a dataset's table that an entry is to name.

    Attributes:
        subscription_id: Whose entry it is.
        name: What the table is called in the target.
        metadata_location: URI of the Iceberg metadata file.
        metadata: What that file says.
        number: Orders the metadata files of one table: a later one has a greater number.
        origin: Whose table it is.
        description: What the dataset is, for people.
    """

    subscription_id: UUID
    name: str
    metadata_location: str
    metadata: TableMetadata = field(repr=False)
    number: int
    origin: Origin
    description: str = ""

    @property
    def cursor(self) -> Cursor:
        """How far a target has followed that names this file."""
        snapshot = self.metadata.current_snapshot
        return Cursor(snapshot.sequence_number if snapshot else 0, self.metadata.current_schema_id)


@runtime_checkable
class PointingTarget(Protocol):
    """Keeps entries of one target pointing at tables of the lake.

    Every method raises ``TargetUnreachableError`` when the target cannot be reached (a retry may help) and
    ``InvalidConfigurationError`` when it refuses the credentials or the configuration cannot work.
    """

    def check(self) -> None:
        """Connect and make sure that entries could be read, changing nothing."""

    def check_pointable(self, name: str, location: str, schema: Schema) -> None:
        """Make sure that a table could have an entry; the target is not asked.

        Args:
            name: What it is to be called there.
            location: Where the table is.
            schema: Its columns.

        Raises:
            InvalidNameError, InvalidSchemaError: If the target takes no such table or column names.
            NotAllowedError: If readers of the target cannot read files at such a place.
        """

    def point(self, pointer: Pointer, *, repair: bool = False) -> bool:
        """Make an entry, or let it name a later metadata file; tell whether that changed anything.

        An entry that names a later file, or just this one, stays as it is.

        Args:
            pointer: What to point at.
            repair: Take the entry back from whoever has pointed it elsewhere.

        Raises:
            TargetDriftError: If somebody else has pointed the entry elsewhere, or it was never this subscription's.
        """

    def points_at(self, subscription_id: UUID, name: str) -> str | None:
        """Return the metadata file that a subscription's entry names; None if it has no entry."""

    def differences(self, pointer: Pointer) -> tuple[str, ...]:
        """Return how an entry differs from one that points at a file, in words; empty if it does not.

        Raises:
            TargetDriftError: If the subscription has no entry.
        """

    def remove(self, subscription_id: UUID, name: str) -> None:
        """Remove a subscription's entry; there need be none. One of somebody else's stays."""

    def close(self) -> None:
        """Release connections."""


AnyTarget = Synchronizer | PointingTarget
"""Whatever drives a target: by rows, or by pointing."""


@runtime_checkable
class ExternalSchemaTarget(Protocol):
    """A target whose entries a warehouse can read as tables, once it has been told how."""

    def external_schema(self, wanted: ExternalSchema) -> tuple[str, ...]:
        """Return the statements that make the schema in the warehouse and let readers read it.

        Raises:
            InvalidNameError, InvalidInputError: If a name or the role's ARN cannot be.
        """
