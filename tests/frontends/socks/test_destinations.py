"""Whom a client may name: nothing of the gateway, nothing inside, in no spelling."""

from ipaddress import ip_address

import pytest

from sallyport.frontends.socks.destinations import fault, plain
from sallyport.testing import make_policy


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.1", "10.0.0.1", "127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::", "fd00:a::1",
        "::ffff:127.0.0.1", "::ffff:203.0.113.1", "::127.0.0.1",
        # 6to4 and NAT64 of the loopback and of our address.
        "2002:7f00:1::", "2002:cb00:7101::", "64:ff9b::7f00:1", "64:ff9b::203.0.113.1",
    ],
)  # fmt: skip
def test_u01_k06_no_spelling_of_the_gateway_is_served(text: str) -> None:
    assert fault(make_policy(), ip_address(text)) == "peer-is-gateway"


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254", "169.254.0.1", "0.1.2.3", "224.0.0.251", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "fe80::1", "ff02::1", "100.100.100.200", "fd00:ec2::254",
        "::ffff:169.254.169.254", "2002:a9fe:a9fe::", "64:ff9b::169.254.169.254",
        # Another spelling of a host inside, which rules would take for one outside.
        "2002:a00:8::", "64:ff9b::10.0.0.8",
    ],
)  # fmt: skip
def test_u01_k06_no_address_without_a_server_is_served(text: str) -> None:
    assert fault(make_policy(), ip_address(text)) == "peer-is-never-served"


@pytest.mark.parametrize("text", ["203.0.113.9", "2001:db8::9", "10.0.0.8", "64:ff9b::8.8.8.8"])
def test_about_every_other_address_the_rules_decide(text: str) -> None:
    assert fault(make_policy(), ip_address(text)) is None


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert plain(ip_address("::ffff:203.0.113.9")) == ip_address("203.0.113.9")
    assert plain(ip_address("2001:db8::9")) == ip_address("2001:db8::9")
