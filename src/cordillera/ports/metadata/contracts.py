"""Rows of contracts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.table_metadata import IcebergSnapshot


@dataclass(frozen=True, slots=True)
class ContractDocument:
    """A contract as it was given, byte for byte. ``revision`` counts from 1; the highest is in force."""

    dataset_version_id: UUID
    revision: int
    text: str
    put_by: str
    put_at: datetime


@dataclass(frozen=True, slots=True)
class KeptPartials:
    """What the values of rules on a whole table are computed from, as of a snapshot that readers have seen.

    Attributes:
        snapshot_id, sequence_number: The snapshot.
        numbers: By what was computed and of which columns; None is the extreme of no values.
    """

    dataset_version_id: UUID
    snapshot_id: int
    sequence_number: int
    numbers: Mapping[str, int | None]


class ContractRows(Protocol):
    """Contract documents of dataset versions, and what is kept to check their rules."""

    def insert(self, document: ContractDocument) -> None:
        """Add a revision; raises ``AlreadyExistsError`` if it exists."""

    def current(self, version_id: UUID) -> ContractDocument | None:
        """Return the contract in force."""

    def page(self, version_id: UUID, before: int | None = None, limit: int = 100) -> list[ContractDocument]:
        """Return a page of the revisions, newest first, from behind revision ``before``."""

    def partials(self, version_id: UUID) -> KeptPartials | None:
        """Return what is kept of a dataset version."""

    def keep_partials(self, partials: KeptPartials) -> None:
        """Keep this of a dataset version, and nothing else."""

    def move_partials(self, version_id: UUID, before: int, after: IcebergSnapshot) -> None:
        """Note that another snapshot has the same rows as the one, of this id, that partials are kept of."""
