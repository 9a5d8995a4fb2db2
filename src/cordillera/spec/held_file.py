"""Metadata files that the lake keeps because targets point at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A metadata file that a subscription's target points at, or is about to.

    Attributes:
        sequence_number: Of the snapshot that is current in it; 0 for a table without one.
    """

    subscription_id: UUID
    dataset_version_id: UUID
    metadata_location: str
    sequence_number: int
    held_at: datetime
