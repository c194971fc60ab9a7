"""What clients and servers of IRC say of DCC, for each filter that reads it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from examples.irc_dcc import irc_dcc

from sallyport.api import ApplicationFilter, ProtocolDefinition
from sallyport.filters import dcc
from sallyport.limits import MAX_DCC_CHANNELS
from sallyport.testing import Dialogue, make_policy

OFFER = b"PRIVMSG bob :\x01DCC SEND notes.txt %s %s 1024\x01\r\n"
OWN = {4: b"167772168", 6: b"fd00:a::8"}
PROXY = {4: b"3405803777", 6: b"fd00:a::8"}
TOLD = {4: b"40271", 6: b"5000"}
PINHOLE = {
    4: "203.0.113.1:40271 -> 10.0.0.8:5000 from None",
    6: "[fd00:a::8]:5000 -> [fd00:a::8]:5000 from None",
}
LISTEN = {4: "203.0.113.1:40271", 6: "[fd00:a::8]:5000"}
ANYBODY = {4: "198.51.100.7:1024", 6: "[2001:db8::77]:1024"}
OTHER = {4: b"167772169", 6: b"fd00:a::9"}
NOTICE = b":sallyport NOTICE * :DCC is refused: %s\r\n"

both_families = pytest.mark.parametrize("version", [4, 6])


@dataclass(frozen=True, slots=True)
class Kind:
    """One filter for DCC, and what it has of its own."""

    make: Callable[[bool], ApplicationFilter]
    """Makes the filter, with `any_peer` on or off."""
    protocol: ProtocolDefinition
    channels: int
    """How many offers of one client may be open."""
    unknown: str
    """The reason of a refusal where `any_peer` is off and nothing tells who takes the offer."""


SHIPPED = Kind(
    make=lambda any_peer: dcc.DccFilter(dcc.DccSettings(any_peer=any_peer)),
    protocol=dcc.IRC,
    channels=MAX_DCC_CHANNELS,
    unknown="taker-is-unknown",
)
EXAMPLE = Kind(
    make=lambda any_peer: irc_dcc.DccFilter(irc_dcc.DccSettings(any_peer=any_peer)),
    protocol=irc_dcc.IRC,
    channels=irc_dcc.MAX_CHANNELS,
    unknown="any-peer-is-off",
)


def irc(kind: Kind, version: int = 4, *, any_peer: bool = True) -> Dialogue:
    policy = make_policy(protocols=frozenset({kind.protocol.name}))
    return Dialogue(kind.make(any_peer), version=version, policy=policy)


def offer(version: int, port: bytes = b"5000", address: bytes = b"") -> bytes:
    return OFFER % (address or OWN[version], port)
