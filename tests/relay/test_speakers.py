"""Which opening has what a client says first, without a kernel that would hear it."""

import socket
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from tests.relay.loopback import HOSTS, TCP, UDP, bench, endpoint_of, run

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters
from sallyport.errors import KernelError
from sallyport.ipfilter import IpFilter

SOMEONE = IpFilter.of("127.0.0.1")


class Hearing:
    """Ears that say what they were asked for, and may be deaf."""

    def __init__(self) -> None:
        self.heard: dict[Endpoint, IpFilter | None] = {}
        self.forgotten: list[tuple[Endpoint, Endpoint]] = []
        self.is_deaf = False

    def attach(self, spoke: Callable[[Endpoint, Endpoint, bytes], None]) -> None:
        self.spoke = spoke

    def hear(self, client: Endpoint, peers: IpFilter | None) -> None:
        assert client not in self.heard
        if self.is_deaf:
            raise KernelError("hear", 0)
        self.heard[client] = peers

    def ignore(self, client: Endpoint) -> None:
        del self.heard[client]

    def forget(self, client: Endpoint, peer: Endpoint) -> None:
        self.forgotten.append((client, peer))


@pytest.mark.parametrize("host", HOSTS)
def test_it_reaches_the_peer_and_the_answer_the_client(host: str) -> None:
    async def scenario() -> None:
        ears = Hearing()
        async with bench(host, ears) as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=True))
            pair = endpoint_of(client), endpoint_of(peer)

            ears.spoke(*pair, b"one")
            ears.spoke(*pair, b"two")
            data, seen = await b.loop.sock_recvfrom(peer, 100)
            assert (data, seen[1]) == (b"one", pinhole.listen.port)
            assert await b.loop.sock_recv(peer, 100) == b"two"
            await b.loop.sock_sendto(peer, b"answer", seen)
            assert await b.loop.sock_recv(client, 100) == b"answer"
            assert b.told.established == [(pinhole.id, pair[1])]
            # Nothing of before stands in the way, and nothing stays when it is over.
            assert ears.forgotten == [pair]
            b.path.kill([pinhole.id])
            assert ears.forgotten == [pair, pair]
            assert b.told.ended == [(pinhole.id, FlowCounters(pair[1], 6, 6))]

    run(scenario())


def test_it_is_heard_while_the_opening_is_there_and_for_the_peers_that_it_has_then() -> None:
    async def scenario() -> None:
        ears = Hearing()
        async with bench(ears=ears) as b:
            client = b.new(UDP)
            pinhole = await b.opened(b.pinhole(None, UDP, is_answered=True))
            assert ears.heard == {}
            await b.path.retarget(pinhole.id, endpoint_of(client))
            assert ears.heard == {endpoint_of(client): None}
            await b.path.set_peers([pinhole.id], SOMEONE, None)
            assert ears.heard == {endpoint_of(client): SOMEONE}
            b.path.close([pinhole.id])
            assert ears.heard == {}
            # What was on its way to us comes too late.
            ears.spoke(endpoint_of(client), endpoint_of(client), b"late")

    run(scenario())


def test_of_two_openings_for_one_port_of_a_client_the_first_has_its_words() -> None:
    async def scenario() -> None:
        ears = Hearing()
        async with bench(ears=ears) as b:
            client, peer = b.new(UDP), b.new(UDP)
            first, second = [b.pinhole(client, UDP, is_answered=True) for _ in range(2)]
            await b.path.open([first, second])
            ears.spoke(endpoint_of(client), endpoint_of(peer), b"hello")
            _, seen = await b.loop.sock_recvfrom(peer, 100)

            assert seen[1] == first.listen.port
            b.path.close([second.id])
            assert ears.heard == {endpoint_of(client): None}

    run(scenario())


def test_what_could_have_no_answer_is_not_heard() -> None:
    async def scenario() -> None:
        ears = Hearing()
        async with bench(ears=ears) as b:
            await b.opened(b.pinhole(b.new(UDP), UDP))
            await b.opened(b.pinhole(b.client(), TCP, is_answered=True))
            proxied = replace(b.pinhole(b.new(UDP), UDP, is_answered=True), is_proxied=True)
            await b.opened(proxied)
            lent = await b.opened(b.pinhole(b.new(UDP), UDP, is_answered=True))
            b.path.lend(lent.id, lambda _peer: -1)

            assert ears.heard == {}

    run(scenario())


def test_who_cannot_be_heard_is_not_bound() -> None:
    async def scenario() -> None:
        ears = Hearing()
        ears.is_deaf = True
        async with bench(ears=ears) as b:
            client = b.new(UDP)
            known = b.pinhole(client, UDP, is_answered=True)
            with pytest.raises(KernelError):
                await b.path.open([known])
            later = await b.opened(b.pinhole(None, UDP, is_answered=True))
            with pytest.raises(KernelError):
                await b.path.retarget(later.id, endpoint_of(client))

            for pinhole in (known, later):
                b.new(UDP).sendto(b"?", (b.host, pinhole.listen.port))
            await b.turn()
            assert b.told.log == []

    run(scenario())


def test_a_client_that_speaks_to_everybody_begins_no_more_flows_than_others() -> None:
    async def scenario() -> None:
        ears = Hearing()
        async with bench(ears=ears) as b:
            client = b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=True, max_flows=2))
            peers: list[socket.socket] = [b.new(UDP) for _ in range(3)]
            for peer in peers:
                ears.spoke(endpoint_of(client), endpoint_of(peer), b"hello")

            assert len(b.told.established) == 2
            assert b.told.turned_away == [(pinhole.id, endpoint_of(peers[2]))]

    run(scenario())
