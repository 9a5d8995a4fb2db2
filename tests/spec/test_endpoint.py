"""Where the lake's own requests may go."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest

from cordillera.errors import InvalidInputError
from cordillera.spec.endpoint import EndpointRules

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]
LOOPBACK = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1"]
NEVER = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::1",
    "fd00:ec2::254",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "239.1.1.1",
    "ff02::1",
    "ff0e::1",
    "255.255.255.255",
    "240.0.0.1",
]
STRICT = EndpointRules()
TRYING = EndpointRules(loopback=True)
INSIDE = EndpointRules(internal_hosts=frozenset({"hooks.corp"}))
PARTS = urlsplit("https://hooks.corp/x")


def allowed(rules: EndpointRules, address: str, url: str = "https://hooks.corp/x") -> bool:
    try:
        rules.check_address(urlsplit(url), ip_address(address))
    except InvalidInputError:
        return False
    return True


@pytest.mark.parametrize("address", [*PUBLIC, *LOOPBACK, *PRIVATE, *NEVER])
def test_only_addresses_that_everybody_reaches_are_called(address: str) -> None:
    assert allowed(STRICT, address) is (address in PUBLIC)
    assert allowed(TRYING, address) is (address in PUBLIC or address in LOOPBACK)
    assert allowed(INSIDE, address) is (address in PUBLIC or address in PRIVATE)
    assert not allowed(INSIDE, address, "https://other.corp/x") or address in PUBLIC


@pytest.mark.parametrize("address", [*PUBLIC, *LOOPBACK, *PRIVATE, *NEVER])
def test_nothing_leaves_this_machine_unencrypted(address: str) -> None:
    assert allowed(TRYING, address, "http://hooks.corp/x") is (address in LOOPBACK)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "example.com",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://[::1/",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\r\nx: y",
        "https://ex\u00e4mple.com/",
        "https://127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_what_is_no_address_to_send_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        STRICT.check_url(url)


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443/a/b?c=d", "https://8.8.8.8/"])
def test_addresses_to_send_to_are_taken(url: str) -> None:
    assert STRICT.check_url(url).scheme == "https"
