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
from collections.abc import Mapping
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

    def send(self, config: Mapping[str, str], message: Message) -> Attempt:
        """Send a message once, and wait until all replicas in sync have it."""
        began, failure = time.monotonic(), Failure.PASSING
        try:
            error = self._put(config, message)
            said = "" if error is None else f"Kafka did not take it: {error.str()}."
            failure = Failure.EVENT if error is not None and error.code() in _TOO_LARGE else failure
        except CordilleraError as refused:
            said = refused.message
        except OSError as lost:
            said = f"The brokers cannot be found: {lost.strerror or lost}."
        return Attempt(None, said, time.monotonic() - began, failure=failure)

    def _put(self, config: Mapping[str, str], message: Message) -> KafkaError | None:
        """Return why a message was not taken; None if it was."""
        opened = self._opened(config)
        told: list[KafkaError | None] = []
        try:
            opened.producer.produce(
                config["topic"], message.body, message.stream.encode(), headers=_HEADERS,
                timestamp=int(message.at.timestamp() * 1000), on_delivery=lambda error, _: told.append(error),
            )  # fmt: skip
            opened.producer.flush(self._seconds + 1)
        except KafkaException as refused:
            told.append(refused.args[0])
        error = told[0] if told else KafkaError(KafkaError._TIMED_OUT)
        if error is not None:
            self._forget(config)
            clearer = next((one for one in opened.heard if one.code() not in _VAGUE), error)
            return clearer if error.code() in _VAGUE else error
        return None

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
            **connection(config),
            **password,
        }


def _keep(heard: list[KafkaError], error: KafkaError) -> None:
    if len(heard) < 100:
        heard.append(error)


def _urls(config: Mapping[str, str]) -> list[str]:
    """Return the brokers as the rules for addresses take them."""
    scheme = "http" if config.get("security") == "plaintext" else "https"
    return [f"{scheme}://{server}" for server in config["servers"].split(",")]


def _key(config: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in config.items() if name != "topic"))
