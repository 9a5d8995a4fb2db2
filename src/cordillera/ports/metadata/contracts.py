"""Rows of contracts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ContractDocument:
    """A contract as it was given, byte for byte. ``revision`` counts from 1; the highest is in force."""

    dataset_version_id: UUID
    revision: int
    text: str
    put_by: str
    put_at: datetime


class ContractRows(Protocol):
    """Contract documents of dataset versions."""

    def insert(self, document: ContractDocument) -> None:
        """Add a revision; raises ``AlreadyExistsError`` if it exists."""

    def current(self, version_id: UUID) -> ContractDocument | None:
        """Return the contract in force."""

    def page(self, version_id: UUID, before: int | None = None, limit: int = 100) -> list[ContractDocument]:
        """Return a page of the revisions, newest first, from behind revision ``before``."""
