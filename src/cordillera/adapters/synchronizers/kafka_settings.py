"""The settings of a ``kafka`` target, and what they mean to Kafka's client. Destinations of events connect by the same.

==============  ===================================================================================================
servers         brokers to begin with: ``host:port``, with commas between them
security        ``tls`` (unless set), ``plaintext`` for a cluster on a network that is trusted
mechanism       ``scram-sha-512`` (where there is a user), ``scram-sha-256`` or ``plain``
user            who connects
password_env    the name of the environment variable that holds his password
ca_file         certificates of authorities that the brokers' are signed by; the system's where not given
partitions      how many partitions new topics have (1)
replication     how many brokers hold them; the cluster's default where not given
keep            ``all`` (unless set): every message stays; ``latest``: the newest of each key does
tombstones      ``yes`` (unless set) or ``no``: whether a message without a value follows each removed row
==============  ===================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cordillera.errors import InvalidConfigurationError

_SERVER = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}"
_SERVERS = re.compile(rf"{_SERVER}(?:,{_SERVER})*", re.ASCII)
_MECHANISMS = ("scram-sha-512", "scram-sha-256", "plain")
_PROTOCOLS = {("tls", False): "SSL", ("tls", True): "SASL_SSL", ("plaintext", False): "PLAINTEXT"}
_KEEP = {
    "all": {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
    "latest": {"cleanup.policy": "compact"},
}
_MOST = {"partitions": 10_000, "replication": 100}


def connection(config: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of Kafka's client, but for the password.

    Raises:
        InvalidConfigurationError: If they cannot work.
    """
    if not _SERVERS.fullmatch(config["servers"]):
        raise InvalidConfigurationError(
            f"{config['servers'][:100]!r} are no brokers of a Kafka cluster.",
            hint="Write host:port, with commas between several, such as kafka1.example.com:9093.",
        )
    security, sasl = _one_of(config, "security", ("tls", "plaintext")), "user" in config
    if sasl != ("password_env" in config):
        raise InvalidConfigurationError("Whoever connects to Kafka has a user and a password_env, or neither.")
    if (security, sasl) not in _PROTOCOLS:
        raise InvalidConfigurationError(
            "Kafka would be sent the password over a connection that is not encrypted.",
            hint="Leave security=plaintext out.",
        )
    settings = {"security.protocol": _PROTOCOLS[security, sasl]}
    if "ca_file" in config:
        settings["ssl.ca.location"] = config["ca_file"]
    if sasl:
        settings["sasl.mechanism"] = _one_of(config, "mechanism", _MECHANISMS).upper()
        settings["sasl.username"] = config["user"]
    return settings


def topics(config: Mapping[str, str]) -> dict[str, Any]:
    """Return how topics are made, by the names of ``TopicSettings``.

    Raises:
        InvalidConfigurationError: If they cannot be made so.
    """
    found: dict[str, Any] = {}
    for name, most in _MOST.items():
        if name in config:
            text = config[name]
            if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
                raise InvalidConfigurationError(
                    f"A kafka target cannot have {name}={text[:20]}.", hint=f"Give a number from 1 to {most:,}."
                )
            found[name] = int(text)
    found["settings"] = _KEEP[_one_of(config, "keep", tuple(_KEEP))]
    found["tombstones"] = _one_of(config, "tombstones", ("yes", "no")) == "yes"
    return found


def _one_of(config: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return a setting, the first of its choices where it is not given."""
    value = config.get(name, choices[0])
    if value not in choices:
        raise InvalidConfigurationError(
            f"There is no {name}={value[:40]} for Kafka.", hint=f"Use one of: {', '.join(choices)}."
        )
    return value
