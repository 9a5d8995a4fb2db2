"""Rows of pointers: which metadata files of the lake targets point at."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from cordillera.spec.held_file import HeldFile
from cordillera.spec.subscription import Subscription


class PointerRows(Protocol):
    """Metadata files that targets point at, or are about to: the lake keeps them, and the snapshots they are for."""

    def hold(self, file: HeldFile) -> None:
        """Note that a subscription's target is about to point at a file; noting it again changes nothing."""

    def of(self, subscription_id: UUID) -> list[HeldFile]:
        """Return the files that a subscription holds, oldest first; more than one while it moves on."""

    def held(self, version_id: UUID) -> list[HeldFile]:
        """Return the files of a dataset version that any subscription holds."""

    def release(self, subscription_id: UUID, locations: Collection[str]) -> None:
        """Forget that a subscription holds files."""

    def subscriptions(self, dataset_id: UUID) -> list[Subscription]:
        """Return the subscriptions whose targets point at a dataset's files, ended ones too."""
