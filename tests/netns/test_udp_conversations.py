"""Intercepted datagrams on the real kernel: each end of a conversation speaks for the right one."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.kernel_bench import both_guards

from sallyport.addresses import PortRange
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.flags import Transport
from sallyport.frontends.udp import DatagramInterceptor, intercepting_datagram_socket
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
SECONDS = 5.0


@pytest.fixture
def listeners(lab: Lab, tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Have the lab's gateway intercept UDP port 7, and be there."""
    policy = make_policy(protocols=frozenset({"echo"}))
    with lab.gateway.entered():
        made = [intercepting_datagram_socket(version) for version in (4, 6)]
        interceptions = tuple(
            Interception(version, 7, listener.getsockname()[1], Transport.UDP)
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
    """Give a gateway without filters: every conversation passes."""
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


async def _read(listener: socket.socket) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await asyncio.get_running_loop().sock_recv(listener, 100)
