"""Which sockets a configuration listens at, and what becomes of them under the next one."""

import asyncio
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import count
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
from sallyport.ops.arrivals import FrontEnds, Listeners, Place
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


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeSocket]:
    """Put sockets that only count in the place of real ones."""
    made: list[FakeSocket] = []
    ports = count(5001)

    def make(_what: object, **_how: object) -> FakeSocket:
        made.append(FakeSocket(next(ports)))
        return made[-1]

    for maker in ("intercepting_socket", "intercepting_datagram_socket", "publishing_socket"):
        monkeypatch.setattr(arrivals, maker, make)
    return made


def policy(*published: PublishingRule, versions: str = "127.0.0.1 ::1") -> Policy:
    return replace(
        make_policy(),
        publishing_rules=published,
        gateway_addresses=frozenset(map(ip_address, versions.split())),
    )


def publish(listen: Endpoint = LISTEN, server: Endpoint = SERVER) -> PublishingRule:
    return PublishingRule(name=str(listen), protocol="ftp-server", listen=listen, server=server)


def test_each_transport_and_version_that_is_spoken_has_a_socket() -> None:
    listeners = Listeners()

    opened = listeners.open(policy(), BOTH)

    assert opened == {(t, version) for t in (Transport.TCP, Transport.UDP) for version in (4, 6)}
    assert listeners.sockets.keys() == opened


def test_without_ipv6_nobody_listens_there() -> None:
    assert Listeners().open(policy(versions="127.0.0.1"), STREAMS) == {(Transport.TCP, 4)}


def test_without_a_loopback_there_is_nowhere_to_listen() -> None:
    with pytest.raises(StartupError, match="interface lo is down"):
        Listeners().open(policy(versions="10.0.0.1"), STREAMS)


def test_a_server_behind_nat_has_a_socket_and_a_routed_one_is_intercepted() -> None:
    routed = publish(listen=SERVER)

    assert Listeners().open(policy(publish()), {}) == {LISTEN}
    assert Listeners().open(policy(routed), {}) == {(Transport.TCP, 4), (Transport.TCP, 6)}


def test_the_kernel_delivers_each_protocol_to_the_socket_of_its_transport_and_version() -> None:
    listeners = Listeners()
    places = policy(publish(listen=SERVER), versions="127.0.0.1")
    listeners.open(places, BOTH)
    port = {place: held.getsockname()[1] for place, held in listeners.sockets.items()}

    assert set(listeners.interceptions(places, BOTH)) == {
        Interception(4, 21, port[Transport.TCP, 4]),
        Interception(4, 69, port[Transport.UDP, 4], Transport.UDP),
        Interception(4, 21, port[Transport.TCP, 4], server=SERVER.address),
    }


def test_the_next_configuration_keeps_the_sockets_it_wants_and_names_the_others() -> None:
    listeners = Listeners()
    listeners.open(policy(publish()), BOTH)
    before = dict(listeners.sockets)
    other = Endpoint.parse("203.0.113.1:2121")
    after = policy(publish(other))

    opened = listeners.open(after, STREAMS)
    unwanted = listeners.unwanted(after, STREAMS)

    assert opened == {other}
    gone: set[Place] = {(Transport.UDP, 4), (Transport.UDP, 6), LISTEN}
    assert unwanted == gone
    assert listeners.sockets[Transport.TCP, 4] is before[Transport.TCP, 4]


def test_a_server_that_moves_keeps_the_socket_at_which_it_is_published() -> None:
    listeners = Listeners()
    listeners.open(policy(publish()), {})
    moved = policy(publish(server=Endpoint.parse("10.0.0.21:21")))

    assert listeners.open(moved, {}) == set()
    assert listeners.unwanted(moved, {}) == set()


def test_a_socket_that_cannot_be_made_leaves_none_behind(
    made: list[FakeSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners = Listeners()
    listeners.open(policy(), STREAMS)

    def refuse(_rule: PublishingRule, **_how: object) -> None:
        raise StartupError("cannot listen")

    monkeypatch.setattr(arrivals, "publishing_socket", refuse)
    with pytest.raises(StartupError, match="cannot listen"):
        listeners.open(policy(publish()), BOTH)

    assert listeners.sockets.keys() == {(Transport.TCP, 4), (Transport.TCP, 6)}
    assert [one.is_open for one in made] == [True, True, False, False]


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
    for name in ("Interceptor", "DatagramInterceptor"):

        def make(*arguments: object, name: str = name) -> FakeFrontEnd:
            return made.setdefault(name, FakeFrontEnd(*arguments))

        monkeypatch.setattr(arrivals, name, make)
    listeners = Listeners()
    listeners.open(policy(publish(), versions="127.0.0.1"), BOTH)
    tcp, udp = (listeners.sockets[transport, 4] for transport in (Transport.TCP, Transport.UDP))
    front_ends = FrontEnds(
        cast("Gateway", None), cast("asyncio.TaskGroup", None), cast("FairPoller", None)
    )

    front_ends.serve(listeners, BOTH)
    front_ends.serve(listeners, STREAMS)

    assert made["Interceptor"].served == [tcp, listeners.sockets[LISTEN]]
    assert made["DatagramInterceptor"].served == [udp]
    assert made["Interceptor"].spoken == [{}, {21: FTP}, {21: FTP}]
    assert made["DatagramInterceptor"].spoken == [{}, {69: TFTP}, {}]

    front_ends.leave({LISTEN, (Transport.UDP, 4)})

    assert made["Interceptor"].served == [tcp]
    assert made["DatagramInterceptor"].served == []
