"""What a port decides: who collides with whom, and who lets whom in."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.relay.loopback import TCP, UDP, bench, endpoint_of, name, run

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Missed, Pinhole
from sallyport.errors import AddressInUse
from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.ipfilter import IpFilter
from sallyport.relay import sockets
from sallyport.relay.bound_ports import BoundPort, OpenPinhole, RelayContext
from sallyport.relay.tcp import TcpPort

HERE = Endpoint.parse("127.0.0.1:2000")
ONE, OTHER = Endpoint.parse("198.51.100.1:20"), Endpoint.parse("198.51.100.2:20")


@contextmanager
def port() -> Iterator[BoundPort]:
    """A port that listens on loopback."""
    poller = FairPoller(asyncio.get_running_loop())
    context = RelayContext(asyncio.get_running_loop(), Pipes(), poller, is_transparent=False)
    made = TcpPort(context, sockets.bound(TCP, HERE.with_port(0)), is_reserved=True)
    try:
        yield made
    finally:
        made.close()
        poller.close()


def opening(at: BoundPort, number: int, sources: IpFilter | None, **changes: object) -> OpenPinhole:
    pinhole = Pinhole(number, TCP, HERE, HERE, sources, **changes)  # type: ignore[arg-type]
    return OpenPinhole(pinhole)


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        (None, None, True),
        (None, IpFilter.of("198.51.100.1"), False),
        (IpFilter.of("198.51.100.1"), IpFilter.of("198.51.100.2"), False),
        (IpFilter.of("198.51.100.0/24"), IpFilter.of("198.51.100.2"), True),
        (IpFilter(), IpFilter(), False),
    ],
)
def test_two_pinholes_share_a_door_unless_one_peer_could_mean_both(
    first: IpFilter | None, second: IpFilter | None, collide: bool
) -> None:
    async def scenario() -> None:
        with port() as at:
            at.enter(opening(at, 1, first))
            if collide:
                with pytest.raises(AddressInUse):
                    at.enter(opening(at, 2, second))
                assert [other.pinhole.id for other in at.openings] == [1]
            else:
                at.enter(opening(at, 2, second))

    run(scenario())


def test_the_pinhole_that_names_a_peer_comes_before_the_one_for_anybody() -> None:
    async def scenario() -> None:
        with port() as at:
            at.enter(opening(at, 1, None))
            at.enter(opening(at, 2, IpFilter.of(ONE.address)))

            for peer, expected in ((ONE, 2), (OTHER, 1)):
                found = at.find(peer)
                assert found is not None
                assert found.pinhole.id == expected

    run(scenario())


def test_a_closed_opening_is_neither_found_nor_in_the_way() -> None:
    async def scenario() -> None:
        with port() as at:
            first = opening(at, 1, None)
            at.enter(first)
            first.close()

            assert at.find(ONE) is None
            at.enter(opening(at, 2, None))

    run(scenario())


def test_an_opening_that_could_not_enter_is_not_behind_the_door() -> None:
    async def scenario() -> None:
        with port() as at:
            at.socket.close()

            with pytest.raises(OSError, match="descriptor"):
                at.enter(opening(at, 1, None))
            assert at.openings == []

    run(scenario())


def test_an_owned_opening_lets_nobody_else_in() -> None:
    async def scenario() -> None:
        with port() as at:
            owned = opening(at, 1, None)
            at.enter(owned)
            owned.owner = ONE

            assert owned.lets_in(ONE)
            assert not owned.lets_in(OTHER)
            assert not owned.lets_in(ONE.with_port(21))

    run(scenario())


def test_an_opening_without_a_target_lets_nobody_in() -> None:
    async def scenario() -> None:
        with port() as at:
            without = OpenPinhole(Pinhole(1, TCP, HERE, None, None))
            at.enter(without)

            assert not without.lets_in(ONE)

    run(scenario())


def test_a_receive_buffer_is_what_the_pinhole_asks_for() -> None:
    async def scenario() -> None:
        async with bench() as b:
            pinhole = b.pinhole(b.new(UDP), UDP, receive_buffer=1 << 17)
            await b.path.open([pinhole])
            (only,) = b.path._ports.values()

            size = only.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert size == 2 * (1 << 17)
            assert endpoint_of(only.socket) == pinhole.listen
            assert name(pinhole.listen) == only.socket.getsockname()

    run(scenario())


def test_an_opening_tells_strangers_of_its_own_time_from_those_before_and_from_nobody() -> None:
    async def scenario() -> None:
        with port() as at:
            at.enter(opening(at, 1, IpFilter.of(ONE.address)))
            assert at.find(OTHER) is None
            later = opening(at, 2, IpFilter.of("198.51.100.3"))
            at.enter(later)
            first = at.openings[0]

            assert (first.missed, later.missed) == (Missed.STRANGER_CAME, Missed.NOTHING_CAME)
            assert at.find(ONE) is first
            assert later.missed is Missed.NOTHING_CAME

    run(scenario())
