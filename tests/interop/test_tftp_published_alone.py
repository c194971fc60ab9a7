"""Gateways that publish TFTP servers, started and ended for one test each."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.interop.publishing_tftp import HOSTS, RAW, WITHOUT, built, published, run
from tests.interop.test_tftp import (
    CELLS,
    RRQ,
    Cell,
    GiveTftp,
    attempt,
    hears,
    hears_nothing,
    over,
    speaking,
    tftp_servers,
)

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.frontends.sockets import foreign_socket
from sallyport.lab.clients import TransferDirection
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

# One download of each server.
ONE_EACH = [
    cell
    for cell in CELLS
    if cell.client == "curl"
    and cell.direction is TransferDirection.DOWNLOAD
    and not cell.has_options
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Yield the network of these tests."""
    with built(f"t{os.getpid()}-tftpalone") as lab:
        yield lab


@pytest.fixture(scope="module")
def tftp_of(lab: Lab) -> Iterator[GiveTftp]:
    """Yield the server of a name, each on an inside host of its own."""
    with tftp_servers({name: lab.clients[number] for name, number in HOSTS.items()}, lab) as give:
        yield give


@over([cell for cell in ONE_EACH if cell.family == 4])
def test_full_proxy_in_user_mode_needs_no_privileges(
    cell: Cell, lab: Lab, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    running = run(lab, "user-proxied", routed=False, wrapper=WITHOUT)
    try:
        address = published(lab, HOSTS[cell.server], 4)
        arrived, said = attempt(cell, lab.server, tftp_of(cell.server), tmp_path, address=address)
    finally:
        running.stop()

    assert arrived, (said, running.journal()[-5:])


@pytest.mark.parametrize("family", [4, 6])
def test_t04_a_flood_in_one_hosts_name_is_bounded_and_another_is_served(
    family: int, lab: Lab
) -> None:
    # The other host in IPv6 is of the same /64, which one host has for itself by default.
    running = run(lab, "plain", gateway="ipv6_host_prefix = 128")
    place = str(published(lab, RAW, family)), 69
    quota = limits.MAX_BINDINGS_PER_CLIENT
    try:
        with speaking(lab.clients[RAW], family, 69) as server, ExitStack() as stack:
            clients = [stack.enter_context(speaking(lab.server, family)) for _ in range(quota + 9)]
            for client in clients:
                client.sendto(RRQ, place)
            heard = {hears(server)[1] for _ in range(quota)}
            assert hears_nothing(server)
            other = stack.enter_context(speaking(lab.servers[1], family))
            other.sendto(RRQ, place)
            assert hears(server)[0] == RRQ
            assert hears_nothing(clients[-1])
    finally:
        running.stop()

    assert len(heard) == quota


@pytest.mark.parametrize("family", [4, 6])
def test_a_client_that_the_rule_leaves_out_hears_nothing(family: int, lab: Lab) -> None:
    outsider = lab.servers[1]
    allowed = [f"{lab.server.address4}", f"{lab.server.address6}"]
    running = run(lab, "plain", rule=f"from = {allowed}\n")
    place = str(published(lab, RAW, family)), 69
    try:
        with (
            speaking(lab.clients[RAW], family, 69) as server,
            speaking(outsider, family) as refused,
            speaking(lab.server, family) as client,
        ):
            refused.sendto(RRQ, place)
            assert hears_nothing(refused)
            assert hears_nothing(server)
            client.sendto(RRQ, place)
            assert hears(server)[0] == RRQ
        assert "client-is-not-published-to" in running.log.read_text()
    finally:
        running.stop()


@pytest.mark.parametrize("family", [4, 6])
def test_clients_outside_are_spread_over_workers_and_each_is_served(family: int, lab: Lab) -> None:
    running = run(lab, "plain", gateway="workers = 2")
    place = str(published(lab, RAW, family)), 69
    try:
        with (
            speaking(lab.clients[RAW], family, 69) as server,
            speaking(lab.clients[RAW], family) as tid,
        ):
            for host in (lab.server, lab.servers[1], lab.stranger):
                with speaking(host, family) as client:
                    client.sendto(RRQ, place)
                    tid.sendto(b"data", hears(server)[1])
                    data, came_from = hears(client)
                    assert (data, came_from[0]) == (b"data", place[0])
                    client.sendto(b"acknowledged", came_from)
                    assert hears(tid)[0] == b"acknowledged"
    finally:
        running.stop()


def test_x10_a_client_inside_is_refused_at_the_outside_address(lab: Lab) -> None:
    running = run(lab, "plain")
    place = str(published(lab, RAW, 4)), 69
    try:
        with (
            speaking(lab.clients[RAW], 4, 69) as server,
            speaking(lab.clients[0], 4) as client,
        ):
            client.sendto(RRQ, place)
            assert hears(client) == (b"\0\x05\0\x02Refused by the gateway.\0", place)
            assert hears_nothing(server)
    finally:
        running.stop()


@pytest.mark.parametrize("way", ["plain", "user"])
@pytest.mark.parametrize("family", [4, 6])
def test_x08_forged_sources_from_outside_reach_no_server(way: str, family: int, lab: Lab) -> None:
    running = run(lab, way)
    place = str(published(lab, RAW, family)), 69
    inside = lab.clients[0].address(family), lab.clients[RAW].address(family)
    sources = [*inside, lab.gateway.address(family), published(lab, RAW, family)]
    try:
        with speaking(lab.clients[RAW], family, 69) as server:
            for source in sources:
                with (
                    lab.stranger.entered(),
                    foreign_socket(Transport.UDP, Endpoint(source, 50000)) as forger,
                ):
                    forger.sendto(RRQ, place)
            assert hears_nothing(server)
            with speaking(lab.stranger, family) as honest:
                honest.sendto(RRQ, place)
                assert hears(server)[0] == RRQ
    finally:
        running.stop()
