"""Sending events to places outside the lake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cordillera.spec.destination import Attempt, DestinationKind, Message


class EventSender(Protocol):
    """Sends events to destinations, and nowhere else."""

    def check(self, kind: DestinationKind, config: Mapping[str, str]) -> None:
        """Make sure that settings name a place to send to, without connecting; addresses are looked up when sending.

        Raises:
            InvalidInputError: If they do not.
            MissingExtraError: If the kind needs a package that is not installed.
        """

    def send(self, kind: DestinationKind, config: Mapping[str, str], message: Message) -> Attempt:
        """Send a message once, within a limited time, and return what came of it; a failure is not raised."""
