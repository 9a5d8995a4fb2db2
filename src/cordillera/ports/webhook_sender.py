"""Sending something to an address outside the lake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cordillera.spec.webhook import Attempt


class WebhookSender(Protocol):
    """Sends events to the addresses of webhooks, and nowhere else."""

    def check(self, url: str) -> None:
        """Make sure that a URL is one to send to; what its host's addresses are is looked at when something is sent.

        Raises:
            InvalidInputError: If it is not.
        """

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Send a body once, within a limited time, and return what came of it; a failure is not raised."""
