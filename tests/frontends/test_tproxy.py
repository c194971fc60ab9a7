"""Accepting and dialling on the loopback; interception itself: tests/interop."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from ipaddress import ip_network

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Network, NetworkRule, Policy, PublishingRule, Relation
from sallyport.errors import StartupError
from sallyport.filters.ftp import FtpFilter
from sallyport.frontends import turn_queue
from sallyport.frontends.tproxy import Interceptor, publishing_socket
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import endpoint_of, name_of
from sallyport.testing.world import VirtualWorld, make_gateway

SERVER = Endpoint.parse("127.0.0.20:21")


def policy_of(published: PublishingRule, inside: str) -> Policy:
    return Policy(
        (
            Network("internal", ("int0",), (ip_network(inside),)),
            Network("external", ("ext0",)),
        ),
        (NetworkRule("internal", "external", Relation.NAT),),
        publishing_rules=(published,),
    )


def free_place(host: str) -> Endpoint:
    with socket.create_server((host, 0)) as probe:
        return endpoint_of(probe.getsockname())


def rule(listen: Endpoint, server: Endpoint) -> PublishingRule:
    return PublishingRule("ours", "ftp-server", listen, server, full_proxy=True)


def test_a_place_that_is_taken_is_one_line_that_names_the_rule() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = endpoint_of(taken.getsockname())
        with pytest.raises(StartupError, match=r"ours: cannot listen at 127\.0\.0\.1:\d+: Addr"):
            publishing_socket(place, "ours")


@asynccontextmanager
async def serving(published: PublishingRule, inside: str) -> AsyncIterator[VirtualWorld]:
    policy = policy_of(published, inside)
    gateway, _, world = make_gateway([FtpFilter()], policy=policy)
    poller = FairPoller(asyncio.get_running_loop())
    interceptor = Interceptor(gateway, {}, poller)
    with publishing_socket(published.listen, published.name) as listener:
        interceptor.serve(listener)
        yield world
        interceptor.close()
    gateway.shut_down("over")
    poller.close()


@pytest.mark.parametrize(
    ("inside", "refusals"),
    [
        # A client that is not outside is none of a published server.
        ("127.0.0.0/24", ["peer-is-gateway"]),
        # To policy the whole loopback is the gateway itself, and that is nobody's peer.
        ("10.0.0.0/24", ["peer-is-gateway"]),
    ],
)
def test_whoever_is_refused_is_told_so_before_the_server_hears_of_it(
    inside: str, refusals: list[str]
) -> None:
    async def scenario() -> None:
        place = free_place("127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            published = rule(place, endpoint_of(server.getsockname()))
            async with serving(published, inside) as world:
                loop = asyncio.get_running_loop()
                with socket.create_connection(name_of(place)) as client:
                    client.setblocking(False)
                    assert await loop.sock_recv(client, 4) == b"421 "
                assert world.journal.reasons("connect.refused") == refusals
            with pytest.raises(BlockingIOError):
                server.accept()

    asyncio.run(scenario())


def test_who_comes_when_an_interceptor_has_left_waits_for_the_next_one() -> None:
    async def scenario() -> None:
        place = free_place("127.0.0.1")
        published = rule(place, SERVER)
        gateway, _, _ = make_gateway(policy=policy_of(published, "127.0.0.0/24"))
        with publishing_socket(published.listen, published.name) as listener:
            poller = FairPoller(asyncio.get_running_loop())
            first, second = (Interceptor(gateway, {}, poller) for _ in range(2))
            first.serve(listener)
            first.leave(listener)
            with socket.create_connection(name_of(place)) as client:
                client.setblocking(False)
                for _ in range(5):
                    await asyncio.sleep(0)
                with pytest.raises(BlockingIOError):
                    client.recv(1)
                second.serve(listener)
                with pytest.raises(ConnectionResetError):
                    await asyncio.get_running_loop().sock_recv(client, 1)
            for interceptor in (first, second):
                interceptor.close()
                interceptor.close()

    asyncio.run(scenario())


async def refused_in_turns(*hosts: str, gone: tuple[int, ...] = ()) -> list[tuple[object, object]]:
    """Connect from these hosts, reset some before they are accepted; return who was refused."""
    place = free_place("127.0.0.1")
    policy = policy_of(rule(place, SERVER), "127.0.0.0/8")
    gateway, _, world = make_gateway([FtpFilter()], policy=policy)
    poller = FairPoller(asyncio.get_running_loop())
    interceptor = Interceptor(gateway, {}, poller)
    with ExitStack() as undo, publishing_socket(place, "ours") as listener:
        undo.callback(poller.close)
        listener.listen(16)
        clients = [
            undo.enter_context(socket.create_connection(name_of(place), source_address=(host, 0)))
            for host in hosts
        ]
        for number in gone:
            clients[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            clients[number].close()
        interceptor.serve(listener)
        loop = asyncio.get_running_loop()
        for client in clients:
            if client.fileno() >= 0:
                client.setblocking(False)
                assert await loop.sock_recv(client, 4) == b"421 "
        interceptor.close()
    refused = [fields for event, fields in world.journal.records if event == "connect.refused"]
    return [(str(fields["client"]).partition(":")[0][-1], fields["reason"]) for fields in refused]


def test_new_connections_are_begun_in_turns_one_of_each_client() -> None:
    refused = asyncio.run(refused_in_turns(*["127.0.0.2"] * 5, "127.0.0.3", "127.0.0.4"))

    # The first comes alone; by the next turn all the others are there.
    assert [host for host, _ in refused] == ["2", "2", "3", "4", "2", "2", "2"]


def test_who_has_gone_before_its_turn_costs_no_decision() -> None:
    refused = asyncio.run(refused_in_turns("127.0.0.2", "127.0.0.2", "127.0.0.3", gone=(1,)))

    assert [host for host, _ in refused] == ["2", "3"]


def test_of_one_client_as_many_wait_as_it_may_hold_and_the_others_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 2)
    refused = asyncio.run(refused_in_turns(*["127.0.0.2"] * 5, "127.0.0.3"))

    assert sorted(refused) == [
        *[("2", "peer-is-gateway")] * 3,
        *[("2", "too-many-controls")] * 2,
        ("3", "peer-is-gateway"),
    ]


def test_when_as_many_wait_as_there_is_room_for_the_others_wait_in_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 1)
    refused = asyncio.run(refused_in_turns(*(f"127.0.0.{number}" for number in range(2, 8))))

    assert refused == [(str(number), "peer-is-gateway") for number in range(2, 8)]


def test_who_comes_to_a_new_place_while_there_is_no_room_waits_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due: list[Callable[[], None]] = []
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 1)
    monkeypatch.setattr(limits, "MAX_SERVED_PER_TURN", 1)
    monkeypatch.setattr(turn_queue, "_in_the_running_loop", lambda _s, action: due.append(action))

    async def scenario() -> list[object]:
        first, second = free_place("127.0.0.1"), free_place("127.0.0.1")
        policy = policy_of(rule(first, SERVER), "127.0.0.0/8")
        gateway, _, world = make_gateway([FtpFilter()], policy=policy)
        poller = FairPoller(asyncio.get_running_loop())
        interceptor = Interceptor(gateway, {}, poller)
        with ExitStack() as undo:
            undo.callback(poller.close)
            undo.callback(interceptor.close)
            for place, hosts in ((first, range(2, 7)), (second, range(7, 8))):
                listener = undo.enter_context(publishing_socket(place, "ours"))
                listener.listen(16)
                clients = [
                    undo.enter_context(
                        socket.create_connection(name_of(place), source_address=(f"127.0.0.{n}", 0))
                    )
                    for n in hosts
                ]
                interceptor.serve(listener)
                for _ in range(20):  # one turn each for who is let in, and some to spare
                    await asyncio.sleep(0)
            assert due
            late = clients[-1]
            late.setblocking(False)
            with pytest.raises(BlockingIOError):
                late.recv(1)
        return [fields["reason"] for _, fields in world.journal.records if "reason" in fields]

    assert "too-many-controls" not in asyncio.run(scenario())
