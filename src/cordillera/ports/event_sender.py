"""Sending events to places outside the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def at_once(self, kind: DestinationKind) -> int:
        """Return how many messages may be sent to a destination of a kind at once.

        Raises:
            MissingExtraError: If the kind needs a package that is not installed.
        """

    def send(self, kind: DestinationKind, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        """Send messages once each, together, within a limited time; a failure is not raised.

        Args:
            kind: The kind of the destination.
            config: Where that is.
            messages: At least one and at most ``at_once``, each of another stream: of several of one, a later one could
                be taken though an earlier one is not.

        Returns:
            What came of each, in their order. It may be of the first ones alone; the others have not been sent then.
        """
