"""A gateway that runs dry, in virtual time; with real transfers: tests/netns/test_drain.py."""

import asyncio

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters
from sallyport.filters.ftp import FTP, FtpFilter
from sallyport.flags import BindFlags, Transport
from sallyport.ops.processes.drain import Draining
from sallyport.testing.world import make_gateway

PROXY = Endpoint.parse("203.0.113.1:40271")
CLIENT, SERVER = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:21")


class Ending:
    """Counts how often the end was announced."""

    def __init__(self) -> None:
        self.times = 0

        self.set_aside_times = 0

    def over(self) -> None:
        self.times += 1

    def set_aside(self) -> None:
        self.set_aside_times += 1


@pytest.mark.parametrize("keeps_sessions", [False, True])
def test_what_is_idle_ends_at_once(keeps_sessions: bool) -> None:
    gateway, _, _ = make_gateway([FtpFilter()])
    ending = Ending()

    Draining(gateway, ending.over, ending.set_aside, keeps_sessions=keeps_sessions).start(30)

    assert ending.times == 1


def test_a_control_connection_without_a_transfer_is_not_waited_for() -> None:
    gateway, _, _ = make_gateway([FtpFilter()])
    gateway.admit_primary(FTP, CLIENT, SERVER)
    ending = Ending()

    Draining(gateway, ending.over, ending.set_aside, keeps_sessions=False).start(30)

    assert ending.times == 1


@pytest.mark.parametrize("flags", [BindFlags(0), BindFlags.ALLOW_MULTIPLE])
def test_after_the_last_transfer_the_servers_last_words_are_waited_for(flags: BindFlags) -> None:
    gateway, _, world = make_gateway([FtpFilter()])
    primary = gateway.admit_primary(FTP, CLIENT, SERVER)
    bind = primary.session.bind_for_client(
        [CLIENT],
        transport=Transport.TCP,
        protocol=FTP,
        flags=flags,
        proxy_address=PROXY,
        primary=primary,
    )
    (connection,) = asyncio.run(bind).connections
    peer = SERVER.with_port(20)
    gateway.registry.flow_established(connection.pinhole.id, peer)
    ending = Ending()

    Draining(gateway, ending.over, ending.set_aside, keeps_sessions=False).start(30)
    world.pass_time(gateway, limits.DRAIN_LAST_WORDS_SECONDS + limits.DRAIN_LOOK_SECONDS)
    assert ending.times == 0
    gateway.registry.flow_ended(connection.pinhole.id, FlowCounters(peer, 1, 0))
    world.pass_time(gateway, limits.DRAIN_LAST_WORDS_SECONDS - 2 * limits.DRAIN_LOOK_SECONDS)
    assert ending.times == 0

    world.pass_time(gateway, 4 * limits.DRAIN_LOOK_SECONDS)
    assert ending.times == 1


def test_it_is_waited_for_when_sessions_are_kept_and_left_when_the_time_is_over() -> None:
    gateway, _, world = make_gateway([FtpFilter()])
    primary = gateway.admit_primary(FTP, CLIENT, SERVER)
    ending = Ending()

    Draining(gateway, ending.over, ending.set_aside, keeps_sessions=True).start(30)
    world.pass_time(gateway, 29)
    assert (ending.times, primary.is_open) == (0, True)

    world.pass_time(gateway, 1)
    # It ends, with its process; the transfers are the next generation's.
    assert (ending.times, primary.is_open) == (1, True)


def test_an_outgoing_gateway_that_is_stopped_waits_for_transfers_alone() -> None:
    gateway, _, world = make_gateway([FtpFilter()])
    gateway.admit_primary(FTP, CLIENT, SERVER)
    ending = Ending()
    draining = Draining(gateway, ending.over, ending.set_aside, keeps_sessions=True)
    draining.start(3600)

    draining.change(30, keeps_sessions=False)
    world.pass_time(gateway, limits.DRAIN_LAST_WORDS_SECONDS + limits.DRAIN_LOOK_SECONDS)

    assert ending.times == 1


def test_without_time_everything_is_reset_at_once() -> None:
    gateway, _, world = make_gateway([FtpFilter()])
    primary = gateway.admit_primary(FTP, CLIENT, SERVER)
    ending = Ending()

    draining = Draining(gateway, ending.over, ending.set_aside, keeps_sessions=False)
    draining.start(0)
    draining.give_up()
    world.pass_time(gateway, 60)

    assert (ending.times, primary.is_open) == (1, False)
    assert ending.set_aside_times == 1
