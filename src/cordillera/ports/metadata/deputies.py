"""Rows of deputies: who stands in for which owner."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol
from uuid import UUID

from cordillera.spec.access import Viewer
from cordillera.spec.deputy import Deputy


class DeputyRows(Protocol):
    """Deputies, those whose time is over too.

    A viewer sees his own and those that he is; who administers the lake sees all. Of an object that he may not discover
    he sees the name that it had when the deputy was named.
    """

    def insert(self, deputy: Deputy) -> None:
        """Add a deputy."""

    def get(self, deputy_id: UUID, *, viewer: Viewer | None = None) -> Deputy | None:
        """Return a deputy that a viewer may see."""

    def page(
        self,
        *,
        viewer: Viewer | None = None,
        owner: str = "",
        deputy: str = "",
        after: UUID | None = None,
        limit: int,
    ) -> list[Deputy]:
        """Return deputies that a viewer may see, by id behind ``after``.

        Args:
            viewer: Who looks; None for the operator.
            owner: Only those of this very owner.
            deputy: Only what this very principal is.
            after: The last one of the page before.
            limit: Most to return.
        """

    def end(self, deputy_id: UUID, at: datetime) -> None:
        """Let a deputy's time be over."""

    def lasting(self, owner: str, now: datetime) -> int:
        """Return how many deputies an owner has whose time is not over."""

    def acting(self, principals: Collection[str], now: datetime) -> list[Deputy]:
        """Return what some principals are deputies in at a time, by id."""


__all__ = ["DeputyRows"]
