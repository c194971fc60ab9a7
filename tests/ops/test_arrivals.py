"""Which sockets a configuration listens at, and what becomes of them under the next one."""

import asyncio
import socket
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import cast

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.rules import Policy, PublishingRule
from sallyport.errors import StartupError
from sallyport.filters.ftp import FTP
from sallyport.filters.tftp import TFTP
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel.interception import Interception
from sallyport.ops import arrivals
from sallyport.ops.arrivals import FrontEnds
from sallyport.testing.world import make_policy

BOTH = {Transport.TCP: {21: FTP}, Transport.UDP: {69: TFTP}}
STREAMS = {Transport.TCP: {21: FTP}}
LISTEN, SERVER = Endpoint.parse("203.0.113.1:21"), Endpoint.parse("10.0.0.20:21")


@dataclass
class FakeSocket:
    port: int
    is_open: bool = True

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def close(self) -> None:
        self.is_open = False


def sockets(fakes: dict[str, FakeSocket]) -> dict[str, socket.socket]:
    return cast("dict[str, socket.socket]", fakes)


def policy(*published: PublishingRule, versions: str = "127.0.0.1 ::1") -> Policy:
    return replace(
        make_policy(),
        publishing_rules=published,
        gateway_addresses=frozenset(map(ip_address, versions.split())),
    )


def publish(
    listen: Endpoint = LISTEN, server: Endpoint = SERVER, transport: Transport = Transport.TCP
) -> PublishingRule:
    return PublishingRule(str(listen), "x", listen=listen, server=server, transport=transport)


def test_each_transport_and_version_that_is_spoken_has_a_place() -> None:
    assert arrivals.intercepting(policy(), BOTH) == ["tcp4", "tcp6", "udp4", "udp6"]
    assert arrivals.intercepting(policy(), {}) == []


def test_without_ipv6_nobody_listens_there() -> None:
    assert arrivals.intercepting(policy(versions="127.0.0.1"), STREAMS) == ["tcp4"]


def test_without_a_loopback_there_is_nowhere_to_listen() -> None:
    with pytest.raises(StartupError, match="interface lo is down"):
        arrivals.intercepting(policy(versions="10.0.0.1"), STREAMS)


def test_a_published_server_on_a_routed_relation_is_intercepted() -> None:
    routed = policy(publish(listen=SERVER))

    assert arrivals.intercepting(policy(publish()), {}) == []
    assert arrivals.intercepting(routed, {}) == ["tcp4", "tcp6"]
    datagrams = policy(publish(listen=SERVER, transport=Transport.UDP))
    assert arrivals.intercepting(datagrams, {}) == ["udp4", "udp6"]


def test_what_is_published_behind_nat_has_a_place_for_its_transport() -> None:
    places = [arrivals.publishing(publish(transport=transport)) for transport in Transport]

    assert places == ["tcp 203.0.113.1:21", "udp 203.0.113.1:21"]


def test_the_kernel_delivers_each_protocol_to_the_socket_of_its_transport_and_version() -> None:
    datagrams = publish(listen=SERVER.with_port(69), server=SERVER.with_port(69))
    datagrams = replace(datagrams, transport=Transport.UDP)
    places = policy(publish(listen=SERVER), datagrams, versions="127.0.0.1")

    found = arrivals.interceptions(places, BOTH, {"tcp4": [5001], "udp4": [5002]})

    assert set(found) == {
        Interception(4, 21, (5001,)),
        Interception(4, 69, (5002,), Transport.UDP),
        Interception(4, 21, (5001,), server=SERVER.address),
        Interception(4, 69, (5002,), Transport.UDP, server=SERVER.address),
    }


class FakeFrontEnd:
    """Notes what it is asked to do."""

    def __init__(self, gateway: object, protocols: object, *_tasks: object) -> None:
        self.spoken = [protocols]
        self.served: list[object] = []

    def speak(self, protocols: object) -> None:
        self.spoken.append(protocols)

    def serve(self, listener: object) -> None:
        self.served.append(listener)

    def leave(self, listener: object) -> None:
        self.served.remove(listener)


def test_each_socket_is_served_once_by_the_front_end_of_its_transport(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: dict[str, FakeFrontEnd] = {}
    for name in ("Entrance", "Interceptor", "DatagramInterceptor"):

        def make(*arguments: object, name: str = name) -> FakeFrontEnd:
            return made.setdefault(name, FakeFrontEnd(*arguments))

        monkeypatch.setattr(arrivals, name, make)
    tcp, udp, at = FakeSocket(5001), FakeSocket(5002), FakeSocket(21)
    everywhere = sockets({"tcp4": tcp, "udp4": udp, f"tcp {LISTEN}": at})
    with closing(FairPoller()) as poller:
        front_ends = FrontEnds(cast("Gateway", None), cast("asyncio.TaskGroup", None), poller)

    front_ends.serve(everywhere, BOTH)
    again = FakeSocket(5001)
    front_ends.serve(everywhere | sockets({"tcp4": again}), STREAMS)

    assert made["Interceptor"].served == [tcp, at]
    assert made["DatagramInterceptor"].served == [udp]
    assert made["Interceptor"].spoken == [{}, {21: FTP}, {21: FTP}]
    assert made["DatagramInterceptor"].spoken == [{}, {69: TFTP}, {}]
    assert (tcp.is_open, again.is_open) == (True, False)

    front_ends.serve(sockets({"tcp4": FakeSocket(5001)}), STREAMS)

    assert made["Interceptor"].served == [tcp]
    assert made["DatagramInterceptor"].served == []
    assert (udp.is_open, at.is_open) == (False, False)

    front_ends.stop_accepting()

    assert (made["Interceptor"].served, tcp.is_open) == ([], False)
