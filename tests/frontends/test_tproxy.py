"""Accepting and dialling on the loopback; interception itself: tests/interop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Network, NetworkRule, Policy, PublishingRule, Relation
from sallyport.errors import StartupError
from sallyport.filters.ftp import FtpFilter
from sallyport.frontends.entrance import Entrance
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
    entrance = Entrance(gateway, poller)
    interceptor = Interceptor(gateway, {}, poller, entrance)
    with publishing_socket(published.listen, published.name) as listener:
        interceptor.serve(listener)
        yield world
        entrance.close()
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
            entrance = Entrance(gateway, poller)
            first, second = (Interceptor(gateway, {}, poller, entrance) for _ in range(2))
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
            entrance.close()
            entrance.close()

    asyncio.run(scenario())
