"""Foreign addresses, between hosts in namespaces: what clients see, and what nftables needs."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack

import pytest
from tests.relay.loopback import TCP, UDP, Told, endpoint_of, name, run

from sallyport.addresses import Endpoint, parse_address
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.errors import AddressNotAvailable
from sallyport.flags import Transport
from sallyport.frontends.sockets import foreign_socket
from sallyport.io.fair_poller import FairPoller
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.relay.datapath import UserDataPath

pytestmark = pytest.mark.netns

# What a host needs: what belongs to a transparent socket is delivered here. And what a guard may
# do: nothing else reaches the gateway's ports, pinholes of user mode are known by such sockets.
DELIVER = """
table inet delivery {
    chain prerouting {
        type filter hook prerouting priority mangle
        socket transparent 1 meta mark set 1 accept
    }
    chain legs_in {
        type filter hook prerouting priority raw
        iifname "int0" socket mark & 0x40000 == 0x40000 ct zone set 7
    }
    chain legs_out {
        type filter hook output priority raw
        meta mark & 0x40000 != 0 oifname "int0" ct zone set 7
    }
    chain input {
        type filter hook input priority filter
        meta l4proto { 6, 17 } th dport 40000 meta mark != 1 drop
    }
}
"""
INSIDE = {4: "10.0.0.1", 6: "fd00:a::1"}


@pytest.fixture(scope="module")
def delivering(lab: Lab) -> Lab:
    gateway = lab.gateway
    gateway.run(["nft", "-f", "-"], stdin=DELIVER)
    for family in ("-4", "-6"):
        gateway.run(["ip", family, "rule", "add", "fwmark", "1", "lookup", "100"])
        gateway.run(["ip", family, "route", "add", "local", "default", "dev", "lo", "table", "100"])
    gateway.sysctl("net.ipv4.ip_forward", 1)
    gateway.sysctl("net.ipv6.conf.all.forwarding", 1)
    return lab


class Scene:
    """The gateway with a data path in it, a client inside, a peer outside."""

    def __init__(self, lab: Lab, version: int, undo: ExitStack) -> None:
        undo.enter_context(lab.gateway.entered())
        self.lab, self.version = lab, version
        self.loop = asyncio.get_running_loop()
        self.told = Told()
        self.poller = FairPoller(self.loop)
        undo.callback(self.poller.close)
        self.path = UserDataPath(self.loop, self.poller, is_transparent=True)
        self.path.attach(self.told)
        undo.callback(self.path.stop)
        self._undo = undo

    def socket(self, host: Host, transport: Transport) -> socket.socket:
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        kind = socket.SOCK_STREAM if transport is TCP else socket.SOCK_DGRAM
        with host.entered():
            made = self._undo.enter_context(socket.socket(family, kind))
        made.setblocking(False)
        made.bind((str(host.address(self.version)), 0))
        return made

    async def opened(
        self, transport: Transport, target: Endpoint, *, is_routed: bool, is_proxied: bool = False
    ) -> Endpoint:
        listen = target
        if not is_routed:
            listen = Endpoint(self.lab.gateway.address(self.version), 40000)
            self.path.reserve(transport, listen)
        pinhole = Pinhole(
            1, transport, listen, target, None, is_answered=True, is_proxied=is_proxied
        )
        await self.path.open([pinhole])
        return listen

    async def connected(
        self, *, is_routed: bool, is_proxied: bool = False
    ) -> tuple[Endpoint, Endpoint]:
        """Connect through; give who the peer is, and who the client thinks it is."""
        client, peer = self.socket(self.lab.client, TCP), self.socket(self.lab.server, TCP)
        client.listen()
        where = await self.opened(
            TCP, endpoint_of(client), is_routed=is_routed, is_proxied=is_proxied
        )
        await self.loop.sock_connect(peer, name(where))
        accepted, _ = await self.loop.sock_accept(client)
        self._undo.enter_context(accepted)
        await self.loop.sock_sendall(accepted, b"hello")
        assert await self.loop.sock_recv(peer, 5) == b"hello"
        seen, port = accepted.getpeername()[:2]
        return endpoint_of(peer), Endpoint(parse_address(seen), port)

    async def asked(self, *, is_routed: bool) -> tuple[Endpoint, Endpoint]:
        """Send a datagram and answer it; give who the peer is, and who the client thinks it is."""
        client, peer = self.socket(self.lab.client, UDP), self.socket(self.lab.server, UDP)
        where = await self.opened(UDP, endpoint_of(client), is_routed=is_routed)
        peer.sendto(b"?", name(where))
        _, seen = await self.loop.sock_recvfrom(client, 10)
        client.sendto(b"!", seen)
        assert (await self.loop.sock_recvfrom(peer, 10))[1][:2] == name(where)
        return endpoint_of(peer), Endpoint(parse_address(seen[0]), seen[1])


def play(lab: Lab, version: int, part: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def scenario() -> None:
        with ExitStack() as undo:
            await part(Scene(lab, version, undo))

    run(scenario())


@pytest.mark.parametrize("version", [4, 6])
def test_behind_a_gateway_port_the_client_sees_the_peers_own_endpoint(
    delivering: Lab, version: int
) -> None:
    async def part(scene: Scene) -> None:
        peer, seen = await scene.connected(is_routed=False)

        assert seen == peer

    play(delivering, version, part)


@pytest.mark.parametrize("version", [4, 6])
def test_with_full_proxy_the_client_sees_the_gateway(delivering: Lab, version: int) -> None:
    async def part(scene: Scene) -> None:
        _, seen = await scene.connected(is_routed=False, is_proxied=True)

        assert seen.address == parse_address(INSIDE[version])

    play(delivering, version, part)


def test_a_pinhole_at_the_clients_own_address_shows_the_peers_own_address(delivering: Lab) -> None:
    async def part(scene: Scene) -> None:
        peer, seen = await scene.connected(is_routed=True)

        assert seen == peer
        assert scene.told.established == [(1, peer)]

    play(delivering, 6, part)


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_come_from_the_peers_own_endpoint(delivering: Lab, version: int) -> None:
    async def part(scene: Scene) -> None:
        peer, seen = await scene.asked(is_routed=False)

        assert seen == peer

    play(delivering, version, part)


def test_datagrams_reach_a_pinhole_at_the_clients_own_address(delivering: Lab) -> None:
    async def part(scene: Scene) -> None:
        peer, seen = await scene.asked(is_routed=True)

        assert seen == peer

    play(delivering, 6, part)


def test_a_datagram_is_sent_in_the_name_of_a_foreign_address(delivering: Lab) -> None:
    async def part(scene: Scene) -> None:
        peer = scene.socket(delivering.server, UDP)
        listen = Endpoint(delivering.client.address6, 4000)

        scene.path.send_from(listen, endpoint_of(peer), b"routed")

        data, source = await scene.loop.sock_recvfrom(peer, 10)
        assert (data, source[:2]) == (b"routed", name(listen))

    play(delivering, 6, part)


def test_an_address_that_is_not_ours_is_not_reserved_though_it_could_be_bound(
    delivering: Lab,
) -> None:
    async def part(scene: Scene) -> None:
        with pytest.raises(AddressNotAvailable, match="not-on-this-host"):
            scene.path.reserve(TCP, Endpoint(delivering.client.address6, 4000))

    play(delivering, 6, part)


@pytest.mark.parametrize("version", [4, 6])
def test_a_pinhole_may_be_where_a_control_connection_speaks_in_that_hosts_name(
    delivering: Lab, version: int
) -> None:
    """A port of the peer's, taken by chance for our own leg, must not refuse the peer's binding."""

    async def scenario() -> None:
        with ExitStack() as undo:
            scene = Scene(delivering, version, undo)
            host = delivering.server.address(version)
            leg = undo.enter_context(foreign_socket(TCP, Endpoint(host, 0)))
            taken = endpoint_of(leg)

            await scene.path.open([Pinhole(1, TCP, taken, taken, None)])

            scene.path.close([1])

    run(scenario())
