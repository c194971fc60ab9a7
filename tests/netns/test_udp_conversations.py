"""Intercepted datagrams on the real kernel: each end of a conversation speaks for the right one."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from tests.netns.kernel_bench import both_guards

from sallyport.addresses import Endpoint, PortRange
from sallyport.api import (
    ApplicationFilter,
    DataFilter,
    Event,
    Hooks,
    PrimaryConnection,
    Session,
    SessionFilter,
    UdpDestination,
)
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Network
from sallyport.flags import Transport
from sallyport.frontends.udp import DatagramInterceptor
from sallyport.io.interception import intercepting_datagram_socket
from sallyport.io.sockets import make, make_transparent
from sallyport.kernel import table
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.host import HostSettings
from sallyport.kernel.interception import Interception
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.testing.world import make_gateway, make_policy

pytestmark = pytest.mark.netns

ECHO = ProtocolDefinition("echo", Transport.UDP, 7)
PORTS = PortRange(40000, 59999)
# The lab answers within milliseconds; what takes longer than this has failed.
SECONDS = 20.0


@pytest.fixture
def listeners(lab: Lab, tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Let the lab's gateway intercept UDP port 7, and be there."""
    policy = make_policy(protocols=frozenset({"echo"}))
    with lab.gateway.entered():
        made = [intercepting_datagram_socket(version) for version in (4, 6)]
        interceptions = tuple(
            Interception(version, 7, (listener.getsockname()[1],), Transport.UDP)
            for version, listener in zip((4, 6), made, strict=True)
        )
        table.load(both_guards(policy, GatewayRules(PORTS, interceptions=interceptions)))
        settings = HostSettings(PORTS, ["int0"], ["ext0"], tmp_path / "host.json")
        settings.apply()
        yield made
        settings.restore()
        for listener in made:
            listener.close()


def speaking(host: Host, family: int, port: int = 0) -> socket.socket:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with host.entered():
        made = socket.socket(kind, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((str(host.address(family)), port))
    return made


async def hear(listener: socket.socket) -> tuple[bytes, tuple[str, int]]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        data, sender = await loop.sock_recvfrom(listener, 1000)
    return data, (sender[0], sender[1])


def echo_gateway() -> Gateway:
    """Return a gateway without filters: every conversation passes."""
    gateway, _, _ = make_gateway(policy=make_policy(protocols=frozenset({"echo"})))
    return gateway


@pytest.mark.parametrize("family", [4, 6])
def test_a_conversation_passes_both_ways_each_side_seeing_whom_it_should(
    family: int, lab: Lab, listeners: list[socket.socket]
) -> None:
    async def converse() -> None:
        gateway = echo_gateway()
        interceptor = DatagramInterceptor(gateway, {7: ECHO})
        for listener in listeners:
            interceptor.serve(listener)
        there = str(lab.server.address(family)), 7
        with speaking(lab.client, family) as client, speaking(lab.server, family, 7) as server:
            for number in (1, 2):
                client.sendto(b"ask %d" % number, there)
                asked, asker = await hear(server)
                server.sendto(b"answer %d" % number, asker)
                answer, answerer = await hear(client)

                # Translated, the gateway asks; routed, the client itself, from another port.
                expected = lab.gateway.address4 if family == 4 else lab.client.address6
                assert (asked, asker[0]) == (b"ask %d" % number, str(expected))
                assert asker[1] != client.getsockname()[1]
                assert (answer, answerer) == (b"answer %d" % number, there)
        assert len(interceptor.conversations) == 1
        gateway.shut_down("test-over")
        interceptor.close()

    with lab.gateway.entered():
        asyncio.run(converse())


def test_x05_a_conversation_whose_address_has_gone_begins_anew_from_another(
    lab: Lab, listeners: list[socket.socket]
) -> None:
    extra = ip_address("203.0.113.77")
    place = ["dev", "ext0"]

    async def converse() -> None:
        gateway = echo_gateway()
        before, policy = gateway.policy, gateway.policy
        networks = tuple(
            replace(one, source=(extra,)) if one.is_external else one for one in policy.networks
        )
        gateway.replace(replace(policy, networks=networks), [])
        interceptor = DatagramInterceptor(gateway, {7: ECHO})
        for listener in listeners:
            interceptor.serve(listener)
        there = str(lab.server.address(4)), 7
        with speaking(lab.client, 4) as client, speaking(lab.server, 4, 7) as server:
            client.sendto(b"one", there)
            assert (await hear(server))[1][0] == str(extra)

            lab.gateway.run(["ip", "address", "del", f"{extra}/24", *place])
            gateway.replace(before, [])
            for said in (b"lost", b"two"):
                client.sendto(said, there)
            heard, sender = await hear(server)
            assert (heard, sender[0]) == (b"two", str(lab.gateway.address4))
            assert len(interceptor.conversations) == 1
        gateway.shut_down("test-over")
        interceptor.close()

    lab.gateway.run(["ip", "address", "add", f"{extra}/24", *place])
    with lab.gateway.entered():
        asyncio.run(converse())


@pytest.mark.parametrize("family", [4, 6])
def test_while_nobody_listens_intercepted_datagrams_go_nowhere(
    family: int, lab: Lab, listeners: list[socket.socket]
) -> None:
    for listener in listeners:
        listener.close()
    with speaking(lab.client, family) as client, speaking(lab.server, family, 7) as server:
        client.connect((str(lab.server.address(family)), 7))
        client.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):  # the guard says so, at once
            asyncio.run(_read(client))
        with pytest.raises(BlockingIOError):
            server.recv(100)


class Named(ApplicationFilter):
    """Sends the name by which a server is said to know us, ahead of the request."""

    name = "named"
    api_version = 1
    protocols = (ECHO,)
    hooks = Hooks.of(UdpDestination)

    def attach_to_session(self, _session: Session) -> SessionFilter:
        return NamedSession()


class NamedSession(SessionFilter):
    async def on_event(self, event: Event) -> None:
        if isinstance(event, UdpDestination):
            event.connection.attach_data_filter(Naming())


class Naming(DataFilter):
    connection: PrimaryConnection

    async def from_client(self, _data: bytes) -> None:
        self.server.send(str(self.connection.external_socket_name()).encode())


@pytest.mark.parametrize("family", [4, 6])
def test_a_server_knows_a_conversation_by_the_name_that_its_filter_is_told(
    family: int, lab: Lab, listeners: list[socket.socket]
) -> None:
    async def converse() -> None:
        gateway, _, _ = make_gateway([Named()], policy=make_policy(protocols=frozenset({"echo"})))
        interceptor = DatagramInterceptor(gateway, {7: ECHO})
        for listener in listeners:
            interceptor.serve(listener)
        with speaking(lab.client, family) as client, speaking(lab.server, family, 7) as server:
            for _ in range(3):
                client.sendto(b"ask", (str(lab.server.address(family)), 7))
                said, (host, port) = await hear(server)
                assert said.decode() == str(Endpoint(ip_address(host), port))
        gateway.shut_down("test-over")
        interceptor.close()

    with lab.gateway.entered():
        asyncio.run(converse())


def test_x08_a_source_of_the_gateways_own_opens_nothing(
    lab: Lab, listeners: list[socket.socket]
) -> None:
    # IPv6 alone: of IPv4 the kernel drops its own addresses as martians.
    refusals = forged(lab, listeners, "fd00:a::1")
    assert refusals == ["source-not-of-its-interface"]


@pytest.mark.parametrize("source", ["10.0.1.8", "fd00:b::8"])
def test_a_source_of_a_network_at_another_interface_opens_nothing(
    source: str, lab: Lab, listeners: list[socket.socket]
) -> None:
    assert forged(lab, listeners, source) == ["source-not-of-its-interface"]


def forged(lab: Lab, listeners: list[socket.socket], source: str) -> list[object]:
    """Send one request with a forged source; return why it was refused."""
    family = ip_address(source).version

    async def converse() -> list[object]:
        policy = make_policy(protocols=frozenset({"echo"}))
        elsewhere = Network(
            "branch", ("int1",), (ip_network("10.0.1.0/24"), ip_network("fd00:b::/64"))
        )
        policy = replace(policy, networks=(*policy.networks, elsewhere))
        gateway, _, world = make_gateway(policy=policy)
        interceptor = DatagramInterceptor(gateway, {7: ECHO})
        for listener in listeners:
            interceptor.serve(listener)
        with lab.client.entered():
            sender = make(Transport.UDP, family)
        with sender, speaking(lab.server, family, 7) as server:
            make_transparent(sender)
            sender.bind((source, 0))
            sender.sendto(b"ask", (str(lab.server.address(family)), 7))
            async with asyncio.timeout(SECONDS):
                while not world.journal.reasons("connect.refused"):  # noqa: ASYNC110 - a journal
                    await asyncio.sleep(0.01)
            with pytest.raises(BlockingIOError):
                server.recv(100)
        assert not interceptor.conversations
        gateway.shut_down("test-over")
        interceptor.close()
        return world.journal.reasons("connect.refused")

    with lab.gateway.entered():
        return asyncio.run(converse())


async def _read(listener: socket.socket) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await asyncio.get_running_loop().sock_recv(listener, 100)
