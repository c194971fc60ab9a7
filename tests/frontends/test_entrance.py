"""Whichever front end clients come to, they are served in turns; on the loopback."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from ipaddress import ip_address

import pytest
from tests.frontends.test_tproxy import SERVER, free_place, policy_of, rule

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.filters.ftp import FtpFilter
from sallyport.frontends import turn_queue
from sallyport.frontends.entrance import Entrance
from sallyport.frontends.socks.server import SocksServer
from sallyport.frontends.tproxy import Interceptor, publishing_socket
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import name_of
from sallyport.testing.world import VirtualWorld, make_gateway

FTP, SOCKS = "ftp", "socks"
KIND = pytest.mark.parametrize("kind", [FTP, SOCKS])

# SOCKS 5, no password, CONNECT to a host that no rule lets anyone reach.
WORDS = b"\5\1\0" + b"\5\1\0\1" + ip_address("203.0.113.9").packed + b"\0\x50"
ANSWERS = {FTP: b"421 ", SOCKS: b"\5\0\5\2"}


class Place:
    """A gateway that refuses everything, by FTP and by SOCKS, and the clients that come to it."""

    def __init__(
        self,
        undo: ExitStack,
        world: VirtualWorld,
        places: dict[str, Endpoint],
        fronts: dict[str, Interceptor | SocksServer],
    ) -> None:
        self.world = world
        self.places = places
        self.fronts = fronts
        self.listeners: dict[str, socket.socket] = {}
        self._undo = undo

    def listen(self, kind: str) -> None:
        """Let clients connect, and wait to be accepted."""
        listener = self._undo.enter_context(publishing_socket(self.places[kind], "ours"))
        listener.listen(16)
        self.listeners[kind] = listener

    def connect(self, kind: str, host: str) -> socket.socket:
        """Connect, and say all there is to say."""
        client = self._undo.enter_context(
            socket.create_connection(name_of(self.places[kind]), source_address=(host, 0))
        )
        if kind == SOCKS:
            client.send(WORDS)
        client.setblocking(False)
        return client

    def serve(self, kind: str) -> None:
        self.fronts[kind].serve(self.listeners[kind])

    def refused(self) -> list[tuple[str, object]]:
        """Who was refused, by the last number of the address, and why; in order."""
        return [
            (str(fields["client"]).partition(":")[0][-1], fields["reason"])
            for event, fields in self.world.journal.records
            if event in {"connect.refused", "socks.refused"}
        ]


@asynccontextmanager
async def standing() -> AsyncIterator[Place]:
    places = {kind: free_place("127.0.0.1") for kind in (FTP, SOCKS)}
    policy = policy_of(rule(places[FTP], SERVER), "127.0.0.0/8")
    gateway, _, world = make_gateway([FtpFilter()], policy=policy)
    poller = FairPoller(asyncio.get_running_loop())
    entrance = Entrance(gateway, poller)
    async with asyncio.TaskGroup() as tasks:
        socks = SocksServer(gateway, tasks, poller, entrance)
        socks.know(None)
        interceptor = Interceptor(gateway, {}, poller, entrance)
        with ExitStack() as undo:
            undo.callback(poller.close)
            undo.callback(socks.close)
            undo.callback(entrance.close)
            yield Place(undo, world, places, {FTP: interceptor, SOCKS: socks})


async def answer(kind: str, client: socket.socket) -> bytes:
    """Read what a refused client is told, as far as it is always the same."""
    heard = b""
    while len(heard) < len(ANSWERS[kind]):
        heard += await asyncio.get_running_loop().sock_recv(client, 4 - len(heard))
    return heard


def run(scenario: Coroutine[None, None, list[tuple[str, object]]]) -> list[tuple[str, object]]:
    return asyncio.run(asyncio.wait_for(scenario, 20))


async def refused_in_turns(
    kind: str, *hosts: str, gone: tuple[int, ...] = ()
) -> list[tuple[str, object]]:
    """Connect from these hosts, reset some before they are accepted; return who was refused."""
    async with standing() as place:
        place.listen(kind)
        clients = [place.connect(kind, host) for host in hosts]
        for number in gone:
            clients[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            clients[number].close()
        place.serve(kind)
        for client in clients:
            if client.fileno() >= 0:
                assert await answer(kind, client) == ANSWERS[kind]
        return place.refused()


@KIND
def test_new_connections_are_begun_in_turns_one_of_each_client(kind: str) -> None:
    refused = run(refused_in_turns(kind, *["127.0.0.2"] * 5, "127.0.0.3", "127.0.0.4"))

    # The first comes alone; by the next turn all the others are there.
    assert [host for host, _ in refused] == ["2", "2", "3", "4", "2", "2", "2"]


def test_who_floods_one_front_end_waits_for_itself_at_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due: list[Callable[[], None]] = []
    monkeypatch.setattr(turn_queue, "_in_the_running_loop", lambda _s, action: due.append(action))

    async def scenario() -> list[tuple[str, object]]:
        async with standing() as place:
            for kind, hosts in ((SOCKS, "22222"), (FTP, "23")):
                place.listen(kind)
                for host in hosts:
                    place.connect(kind, f"127.0.0.{host}")
                place.serve(kind)
                for _ in range(20):  # all of them are accepted
                    await asyncio.sleep(0)
            assert [host for host, _ in place.refused()] == ["2", "2"]
            while due:
                due.pop()()
            clients = [host for host, _ in place.refused()]
            servers = [str(fields["server"]) for _, fields in place.world.journal.records]
            return [*zip(clients, servers, strict=True)]

    refused = run(scenario())

    # The one of 3 does not wait for any but the next of 2, whose last words are at the other place.
    assert [host for host, _ in refused] == ["2", "2", "2", "3", "2", "2", "2"]
    assert [server == "203.0.113.9:80" for _, server in refused[-3:]] == [True, True, False]


@KIND
def test_who_has_gone_before_its_turn_costs_no_decision(kind: str) -> None:
    hosts = "127.0.0.2", "127.0.0.2", "127.0.0.3"
    refused = run(refused_in_turns(kind, *hosts, gone=(1,)))

    assert [host for host, _ in refused] == ["2", "3"]


def test_of_one_client_as_many_wait_as_it_may_hold_and_the_others_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 2)
    refused = run(refused_in_turns(FTP, *["127.0.0.2"] * 5, "127.0.0.3"))

    assert sorted(refused) == [
        *[("2", "peer-is-gateway")] * 3,
        *[("2", "too-many-controls")] * 2,
        ("3", "peer-is-gateway"),
    ]


@KIND
def test_when_as_many_wait_as_there_is_room_for_the_others_wait_in_the_kernel(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 1)
    hosts = [f"127.0.0.{number}" for number in range(2, 8)]
    refused = run(refused_in_turns(kind, *hosts))

    assert [host for host, _ in refused] == [str(number) for number in range(2, 8)]
    assert not {reason for _, reason in refused} & {"too-many-controls", "too-many-handshakes"}


def test_who_comes_to_a_new_place_while_there_is_no_room_waits_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due: list[Callable[[], None]] = []
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 1)
    monkeypatch.setattr(limits, "MAX_SERVED_PER_TURN", 1)
    monkeypatch.setattr(turn_queue, "_in_the_running_loop", lambda _s, action: due.append(action))

    async def scenario() -> list[tuple[str, object]]:
        async with standing() as place:
            for kind, hosts in ((FTP, range(2, 7)), (SOCKS, range(7, 8))):
                place.listen(kind)
                clients = [place.connect(kind, f"127.0.0.{number}") for number in hosts]
                place.serve(kind)
                for _ in range(20):  # one turn each for who is let in, and some to spare
                    await asyncio.sleep(0)
            assert due
            with pytest.raises(BlockingIOError):
                clients[-1].recv(1)
            return place.refused()

    reasons = {reason for _, reason in run(scenario())}
    assert not reasons & {"too-many-controls", "too-many-handshakes"}
