"""Which addresses the lake's own requests may go to: not to where only its own machine or network can reach.

Somebody who names a URL for the lake to call could otherwise reach, through it, what is closed to him: services on its
machine, in its network, or that of its cloud which hands out credentials (server-side request forgery).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from cordillera.errors import InvalidInputError

_LONGEST_URL = 2_000
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without space
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")
_HINT = "Write it like https://hooks.example.com/lake."


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What is allowed besides https to addresses that everybody can reach.

    Attributes:
        loopback: Whether this machine itself may be called, also without TLS; for trying things out.
        internal_hosts: Names of hosts, as they stand in URLs, that may have private addresses.
    """

    loopback: bool = False
    internal_hosts: frozenset[str] = frozenset()

    def check_url(self, url: str) -> SplitResult:
        """Return the parts of a URL that can be called, as far as can be told without looking its host up.

        Raises:
            InvalidInputError: If it cannot.
        """
        if len(url) > _LONGEST_URL or not _PLAIN.fullmatch(url):
            raise InvalidInputError(
                "The URL is too long, or has characters that belong encoded.",
                hint=f"Use at most {_LONGEST_URL:,} printable ASCII characters.",
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidInputError("What is given as a URL is none.", hint=_HINT) from None
        if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or "\\" in url:
            raise InvalidInputError("What is given is no URL to call.", hint=_HINT)
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidInputError("The URL holds a user, a password or a fragment.", hint=_HINT)
        if parts.scheme == "http" and not self.loopback:
            raise InvalidInputError(
                f"The URL of {parts.hostname} is not encrypted.", hint="Use https. " + _LOOPBACK_HINT
            )
        address = _address_or_none(parts.hostname)
        if address is not None:
            self.check_address(parts, address)
        return parts

    def check_named(self, url: str) -> None:
        """Make sure that a URL is one that an operator has named: at a host that he allows, or on this machine.

        Raises:
            InvalidInputError: If it is not.
        """
        parts = self.check_url(url)
        host, address = parts.hostname or "", _address_or_none(parts.hostname or "")
        if self.loopback and (host == "localhost" or (address is not None and _unwrapped(address).is_loopback)):
            return
        if parts.scheme == "http" or host not in self.internal_hosts:
            raise InvalidInputError(
                f"{host} is no endpoint that an operator allows.",
                hint="He does by the setting destination_internal_hosts, for https. " + _LOOPBACK_HINT,
            )

    def check_address(self, parts: SplitResult, address: IPv4Address | IPv6Address) -> None:
        """Make sure that an address, which a URL's host has, may be called.

        Raises:
            InvalidInputError: If it may not.
        """
        host, real = parts.hostname or "", _unwrapped(address)
        if real.is_loopback and self.loopback:
            return
        if parts.scheme == "http":
            raise InvalidInputError(
                f"The URL of {host} is not encrypted, and leads to another machine.", hint="Use https."
            )
        if host in self.internal_hosts and _is_private(real):
            return
        if not real.is_global or real.is_multicast or real.is_reserved:
            raise InvalidInputError(
                f"{host} has an address inside a network ({address}), which the lake does not call.",
                hint="An operator allows hosts by the setting destination_internal_hosts. " + _LOOPBACK_HINT,
            )


_LOOPBACK_HINT = "To try things out on one machine, an operator sets destination_loopback."


def _address_or_none(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one that organisations give their own hosts; clouds' metadata services have others."""
    return address.is_private and not (
        address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
        or address.is_reserved or address == _AWS_METADATA
    )  # fmt: skip


_AWS_METADATA = ip_address("fd00:ec2::254")


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does for one: packets go there in the end."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
