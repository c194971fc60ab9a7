"""What clients inside are told unasked, by multicast: that the gateway begins anew.

RFC 6887 section 14.1.3: ten times, after a quarter of a second and then twice as long each time,
from the gateway's own address on each link inside. A client looks at the epoch and asks again for
what it has lost.
"""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Protocol

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.policy.rules import Policy
from sallyport.flags import Transport
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.frontends.sockets import foreign_socket

# Section 14.1.3 and RFC 6886 section 3.2.1: all hosts of the link, at the clients' port.
_GROUPS: Final = {4: "224.0.0.1", 6: "ff02::1"}
_CLIENTS_PORT: Final = 5350
_TIMES: Final = 10
_FIRST_SECONDS: Final = 0.25


class Announcements(Protocol):
    """Writes what is said now, with the epoch of this moment."""

    def announcements(self, version: int) -> list[bytes]:
        """Return the datagrams for clients of an IP version."""


class Announcer:
    """Speaks to the links of the networks inside; silent before `begin`."""

    def __init__(self) -> None:
        self._words: Announcements | None = None
        self._links: tuple[tuple[str, IpAddress], ...] = ()
        self._outside: tuple[IpAddress, ...] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False

    def know(self, words: Announcements, policy: Policy) -> None:
        """Say this from now on, at these networks; begin anew when another address is outside."""
        outside = tuple(
            address
            for version in (4, 6)
            if (address := policy.address_towards(None, version)) is not None
        )
        has_changed = self._outside not in (None, outside)
        self._words, self._outside = words, outside
        self._links = tuple(
            (network.interfaces[0], address)
            for network in policy.networks
            if not policy.is_outside(network)
            for address in policy.own_addresses.get(network.name, ())
        )
        if self._has_begun and has_changed:
            self.begin()

    def begin(self) -> None:
        """Say it now and again, until it was said often enough or `stop` is called."""
        self.stop()
        if self._words is not None:
            self._has_begun = True
            self._next(iter([_FIRST_SECONDS * 2**n for n in range(_TIMES - 1)]))

    def stop(self) -> None:
        """Say it no more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self, pauses: Iterator[float]) -> None:
        for interface, address in self._links:
            with suppress(OSError):  # a link that is down has no client to tell
                self._speak(interface, address)
        if (pause := next(pauses, None)) is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(pause, self._next, pauses)

    def _speak(self, interface: str, address: IpAddress) -> None:
        assert self._words is not None  # noqa: S101 - `begin` has looked
        index = socket.if_nametoindex(interface)
        with foreign_socket(Transport.UDP, Endpoint(address, PORT_MAPPING.port)) as made:
            if address.version == 4:
                # struct ip_mreqn: the group, our address, the interface.
                request = bytes(4) + address.packed + index.to_bytes(4, sys.byteorder)
                made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            else:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            for datagram in self._words.announcements(address.version):
                made.sendto(datagram, (_GROUPS[address.version], _CLIENTS_PORT))
