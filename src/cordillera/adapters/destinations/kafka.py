"""Topics of Kafka as destinations: CloudEvents by the Kafka protocol binding, in its structured mode.

A message's key is what it is in order with, so that all about a dataset is in one partition; its value is the
CloudEvent, and a header tells that it is one.

The addresses of the brokers that are given are checked when a connection is opened. Which further brokers there are,
the cluster tells, and the client follows; so such destinations are made by whoever administers the lake.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from cordillera.adapters.destinations.addresses import Resolver, look_up, look_up_within
from cordillera.adapters.secrets import read_secret
from cordillera.adapters.synchronizers.kafka_settings import connection
from cordillera.errors import CordilleraError, InvalidInputError
from cordillera.spec.destination import Attempt, Failure, Message
from cordillera.spec.endpoint import EndpointRules
from cordillera.spec.local_path import is_relative

_SECONDS = 15.0
_MOST_OPEN = 16
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", re.ASCII)
_HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json; charset=utf-8")]
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_VAGUE = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection to a cluster, and what the client told of it."""

    producer: Producer
    heard: list[KafkaError] = field(default_factory=list)


class KafkaSender:
    """Sends to topics. Connections stay open, until one fails.

    Args:
        rules: What addresses may be sent to.
        resolver: Looks hosts up.
        seconds: How long one attempt may take.
    """

    at_once = 100

    def __init__(self, rules: EndpointRules, resolver: Resolver = look_up, seconds: float = _SECONDS) -> None:
        self._rules, self._resolver, self._seconds = rules, resolver, seconds
        self._open: OrderedDict[tuple[tuple[str, str], ...], _Opened] = OrderedDict()
        self._turn = threading.Lock()

    def check(self, config: Mapping[str, str]) -> None:
        """Make sure that the settings name a topic of a cluster."""
        connection(config)
        if not _TOPIC.fullmatch(config["topic"]):
            raise InvalidInputError(
                f"Kafka has no topics called {config['topic'][:60]!r}.",
                hint="Use letters, digits, '.', '_' and '-', at most 249.",
            )
        if is_relative(config.get("ca_file", "")):
            raise InvalidInputError(
                f"The ca_file {config['ca_file']!r} is relative: every process that sends would look elsewhere.",
                hint="Write the whole path.",
            )
        for url in _urls(config):
            self._rules.check_url(url)

    def send(self, config: Mapping[str, str], messages: Sequence[Message]) -> list[Attempt]:
        """Send messages once each, and wait until all replicas in sync have them."""
        began = time.monotonic()
        try:
            told = [_told(error) for error in self._put(config, messages)]
        except CordilleraError as refused:
            told = [(refused.message, Failure.PASSING)] * len(messages)
        except OSError as lost:
            told = [(f"The brokers cannot be found: {lost.strerror or lost}.", Failure.PASSING)] * len(messages)
        seconds = time.monotonic() - began
        return [Attempt(None, said, seconds, failure=failure) for said, failure in told]

    def _put(self, config: Mapping[str, str], messages: Sequence[Message]) -> list[KafkaError | None]:
        """Return of each message why it was not taken; None if it was."""
        opened = self._opened(config)
        told: dict[int, KafkaError | None] = {}
        for place, message in enumerate(messages):
            try:
                opened.producer.produce(
                    config["topic"], message.body, message.stream.encode(), headers=_HEADERS,
                    timestamp=int(message.at.timestamp() * 1000), on_delivery=partial(_note, told, place),
                )  # fmt: skip
            except KafkaException as refused:
                told[place] = refused.args[0]
        opened.producer.flush(self._seconds + 1)
        unheard = KafkaError(KafkaError._TIMED_OUT)
        errors = [told.get(place, unheard) for place in range(len(messages))]
        if any(errors):
            self._forget(config)
        clearer = next((one for one in opened.heard if one.code() not in _VAGUE), None)
        return [clearer or error if error is not None and error.code() in _VAGUE else error for error in errors]

    def _opened(self, config: Mapping[str, str]) -> _Opened:
        key = _key(config)
        with self._turn:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        self._check_addresses(config)
        heard: list[KafkaError] = []
        opened = _Opened(Producer(self._settings(config, heard)), heard)
        with self._turn:
            self._open[key] = opened
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return opened

    def _forget(self, config: Mapping[str, str]) -> None:
        """Open another connection next time, with the password as it is by then."""
        with self._turn:
            self._open.pop(_key(config), None)

    def _check_addresses(self, config: Mapping[str, str]) -> None:
        deadline = time.monotonic() + self._seconds
        for url in _urls(config):
            parts = self._rules.check_url(url)
            seconds = deadline - time.monotonic()
            for address in look_up_within(seconds, self._resolver, parts.hostname or "", parts.port or 0):
                self._rules.check_address(parts, ip_address(address))

    def _settings(self, config: Mapping[str, str], heard: list[KafkaError]) -> dict[str, Any]:
        milliseconds = int(self._seconds * 1000)
        password = {"sasl.password": read_secret(config["password_env"])} if "password_env" in config else {}
        return {
            "bootstrap.servers": config["servers"],
            "client.id": "cordillera",
            "log_level": 2,
            "error_cb": partial(_keep, heard),
            "enable.idempotence": True,  # so that what the client repeats by itself comes once, in order
            "message.timeout.ms": milliseconds,
            "topic.metadata.propagation.max.ms": min(5000, milliseconds),
            "partitioner": "murmur2_random",  # as Java's clients have it
            "linger.ms": 0,
            "batch.num.messages": 1,  # a broker refuses batches as a whole; several are under way at once anyway
            **connection(config),
            **password,
        }


def _note(told: dict[int, KafkaError | None], place: int, error: KafkaError | None, _: object) -> None:
    told[place] = error


def _told(error: KafkaError | None) -> tuple[str, Failure]:
    """Return what is to be said of a message, and what it means."""
    if error is None:
        return "", Failure.PASSING
    return f"Kafka did not take it: {error.str()}.", Failure.EVENT if error.code() in _TOO_LARGE else Failure.PASSING


def _keep(heard: list[KafkaError], error: KafkaError) -> None:
    if len(heard) < 100:
        heard.append(error)


def _urls(config: Mapping[str, str]) -> list[str]:
    """Return the brokers as the rules for addresses take them."""
    scheme = "http" if config.get("security") == "plaintext" else "https"
    return [f"{scheme}://{server}" for server in config["servers"].split(",")]


def _key(config: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in config.items() if name != "topic"))
