"""The kinds of destinations that events are sent to, and how each is configured.

===============  ==================================================================================================
``webhook``      ``url``
``kafka``        ``servers`` (``host:port``, with commas between), ``topic``; optional: ``security``, ``mechanism``,
                 ``user``, ``password_env``, ``ca_file``, as a ``kafka`` target has them
``sns``          ``arn`` of the topic; optional: ``endpoint``, the service's address if it is not AWS's own
``sqs``          ``arn`` of the queue; optional: ``endpoint``
``eventbridge``  ``arn`` of the event bus; optional: ``endpoint``
===============  ==================================================================================================

No secret is among them: ``password_env`` names an environment variable, and for AWS there is its usual chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from cordillera.adapters.destinations.webhook import WebhookSender
from cordillera.errors import InvalidInputError, MissingExtraError
from cordillera.spec.destination import Attempt, DestinationKind, Message
from cordillera.spec.endpoint import EndpointRules

_LONGEST_SETTING = 2_000


class KindSender(Protocol):
    """Sends to the destinations of one kind; see ``cordillera.ports.event_sender``."""

    at_once: int
    """How many messages may be sent at once."""

    def check(self, config: Mapping[str, str]) -> None:
        """Make sure that settings, all of which the kind has, name a place to send to."""

    def send(self, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        """Send messages once each, together, or the first ones alone."""


@dataclass(frozen=True, slots=True)
class _Settings:
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_AWS = _Settings(("arn",), ("endpoint",))
_SETTINGS = {
    DestinationKind.WEBHOOK: _Settings(("url",)),
    DestinationKind.KAFKA: _Settings(
        ("servers", "topic"), ("security", "mechanism", "user", "password_env", "ca_file")
    ),
    DestinationKind.SNS: _AWS,
    DestinationKind.SQS: _AWS,
    DestinationKind.EVENTBRIDGE: _AWS,
}


class KnownSenders:
    """Implements ``cordillera.ports.event_sender.EventSender`` with a sender for each kind.

    Args:
        rules: What addresses may be sent to.
    """

    def __init__(self, rules: EndpointRules) -> None:
        self._of = cache(lambda kind: _build(kind, rules))

    def check(self, kind: DestinationKind, config: Mapping[str, str]) -> None:
        """Make sure that settings name a place to send to."""
        known = _SETTINGS[kind]
        problems = [f"{name!r} is missing" for name in known.required if not config.get(name)]
        problems += [f"{name[:40]!r} is unknown" for name in config if name not in known.required + known.optional]
        problems += [f"{name[:40]!r} is empty or too long" for name, value in config.items()
                     if name in known.optional and not 0 < len(value) <= _LONGEST_SETTING]  # fmt: skip
        if problems:
            raise InvalidInputError(
                f"A destination of the kind {kind} cannot be configured so: {', '.join(problems)}.",
                hint=f"Settings: {', '.join(known.required)}; optional: {', '.join(known.optional) or 'none'}.",
            )
        self._of(kind).check(config)

    def at_once(self, kind: DestinationKind) -> int:
        """Return how many messages may be sent to a destination of a kind at once."""
        return self._of(kind).at_once

    def send(self, kind: DestinationKind, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        """Send messages once each, together, or the first ones alone."""
        return self._of(kind).send(config, messages)


def _build(kind: DestinationKind, rules: EndpointRules) -> KindSender:
    if kind is DestinationKind.WEBHOOK:
        return WebhookSender(rules)
    extra = "kafka" if kind is DestinationKind.KAFKA else "aws"
    try:
        if kind is DestinationKind.KAFKA:
            from cordillera.adapters.destinations.kafka import KafkaSender

            return KafkaSender(rules)
        from cordillera.adapters.destinations.aws import AwsSender

        return AwsSender(kind, rules)
    except ImportError as error:
        raise MissingExtraError(
            f"A destination of the kind {kind} needs the package {error.name}.",
            hint=f"Run: pip install 'cordillera[{extra}]'",
        ) from error
