"""TFTP servers of ours, reached from outside: real servers inside, real clients outside.

Raw ones show what those never do.
"""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.publishing_tftp import HOSTS, RAW, WAYS, built, published, run
from tests.interop.test_tftp import (
    CELLS,
    RRQ,
    Cell,
    GiveTftp,
    attempt,
    hears,
    hears_nothing,
    name_of,
    over,
    speaking,
    tftp_servers,
)

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Yield the network of these tests."""
    with built(f"t{os.getpid()}-tftppublished") as lab:
        yield lab


@pytest.fixture(scope="module", params=WAYS)
def gateway(request: pytest.FixtureRequest, lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway, in each way to publish, while the tests that ask for it run."""
    running = run(lab, str(request.param))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tftp_of(lab: Lab) -> Iterator[GiveTftp]:
    """Yield the server of a name, each on an inside host of its own."""
    with tftp_servers({name: lab.clients[number] for name, number in HOSTS.items()}, lab) as give:
        yield give


@over(CELLS)
def test_every_transfer_from_outside_works(
    cell: Cell, lab: Lab, gateway: RunningGateway, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    server = tftp_of(cell.server)
    address = published(lab, HOSTS[cell.server], cell.family)

    arrived, said = attempt(cell, lab.server, server, tmp_path, address=address)

    assert arrived, (said, gateway.journal()[-5:])


@dataclass(frozen=True, slots=True)
class Raw:
    """A client outside, a server inside with two more ports, and a host that nobody asked."""

    client: socket.socket
    server: socket.socket
    tid: socket.socket
    other_tid: socket.socket
    stranger: socket.socket
    place: tuple[str, int]
    """Where the server is published."""

    def asks(self, request: bytes = RRQ) -> tuple[str, int]:
        """Let the client ask; check that the request arrives, give from where."""
        self.client.sendto(request, self.place)
        data, source = hears(self.server)
        assert data == request
        return source


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def raw(request: pytest.FixtureRequest, lab: Lab, gateway: RunningGateway) -> Iterator[Raw]:
    """Yield sockets on both sides of the running gateway."""
    family, host = request.param, lab.clients[RAW]
    with (
        speaking(lab.server, family) as client,
        speaking(host, family, 69) as server,
        speaking(host, family) as tid,
        speaking(host, family) as other_tid,
        speaking(lab.stranger, family) as stranger,
    ):
        place = str(published(lab, RAW, family)), 69
        yield Raw(client, server, tid, other_tid, stranger, place)


def test_the_answer_from_a_new_port_comes_from_the_published_address_and_can_be_answered(
    raw: Raw,
) -> None:
    source = raw.asks()

    raw.tid.sendto(b"data", source)
    data, came_from = hears(raw.client)
    assert (data, came_from[0]) == (b"data", raw.place[0])
    raw.client.sendto(b"acknowledged", came_from)
    assert hears(raw.tid) == (b"acknowledged", source)


def test_the_server_sees_its_clients_own_address_unless_the_rule_asks_for_full_proxy(
    raw: Raw, lab: Lab, request: pytest.FixtureRequest
) -> None:
    source = raw.asks()

    if "proxied" in request.node.name and ":" not in source[0]:
        assert source[0] == "10.0.0.1"
    else:
        assert source == name_of(raw.client)


def test_a_server_that_answers_from_its_own_port_is_heard_and_answered(raw: Raw) -> None:
    source = raw.asks()

    raw.server.sendto(b"data", source)
    data, came_from = hears(raw.client)
    assert (data, came_from[0]) == (b"data", raw.place[0])
    raw.client.sendto(b"acknowledged", came_from)
    assert hears(raw.server) == (b"acknowledged", source)


def test_a_second_file_from_the_same_port_comes_too(raw: Raw) -> None:
    for _ in range(2):
        raw.server.sendto(b"data", raw.asks())
        _, came_from = hears(raw.client)
        raw.client.sendto(b"acknowledged", came_from)
        assert hears(raw.server)[0] == b"acknowledged"


def test_nobody_else_outside_reaches_the_port_that_answered(raw: Raw) -> None:
    source = raw.asks()
    raw.tid.sendto(b"data", source)
    _, came_from = hears(raw.client)

    raw.stranger.sendto(b"forged", came_from)
    assert hears_nothing(raw.tid)
    raw.client.sendto(b"acknowledged", came_from)
    assert hears(raw.tid)[0] == b"acknowledged"


def test_t01_what_is_no_request_gets_no_answer_and_reaches_nobody(raw: Raw) -> None:
    raw.client.sendto(b"\0\x03\0\x01data", raw.place)

    assert hears_nothing(raw.client)
    assert hears_nothing(raw.server)


def test_t04_multicast_is_refused_in_the_servers_name(raw: Raw) -> None:
    raw.client.sendto(b"\0\x01image\0octet\0multicast\0\0", raw.place)

    assert hears(raw.client) == (b"\0\x05\0\x08Multicast is refused.\0", raw.place)
    assert hears_nothing(raw.server)


def test_a_transfer_is_listed_with_its_client_outside_and_ends_when_it_is_killed(
    raw: Raw, gateway: RunningGateway
) -> None:
    source = raw.asks()
    raw.tid.sendto(b"data", source)
    _, came_from = hears(raw.client)
    outside = joined(name_of(raw.client))

    rows = json.loads(gateway.ask("transfers", "list", "--json").stdout)["transfers"]
    (row,) = [one for one in rows if one["peer"] == outside]
    assert row["client"] == joined(name_of(raw.tid))
    assert (row["transport"], row["from_client_bytes"]) == ("udp", 4)
    assert gateway.ask("transfers", "kill", row["id"]).returncode == 0
    raw.client.sendto(b"acknowledged", came_from)
    assert hears_nothing(raw.tid)


def joined(name: tuple[str, int]) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def test_explain_says_who_may_reach_the_server(raw: Raw, gateway: RunningGateway) -> None:
    place = joined(raw.place)
    client = name_of(raw.client)[0]

    said = gateway.ask("explain", client, place, "tftp-server", "--json")

    answer = json.loads(said.stdout)
    assert (answer["allowed"], said.returncode) == (True, 0)
    assert answer["interception"].startswith(f"published at {place} ")
