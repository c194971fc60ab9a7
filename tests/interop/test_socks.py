"""SOCKS on the whole gateway, asked by a client of our own: every command, and every attack."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.interop.office import configuration
from tests.interop.socks_client import (
    ANY,
    ASSOCIATE,
    BAD_COMMAND,
    BAD_TYPE,
    BIND,
    CONNECT,
    DENIED,
    GRANTED,
    PORT,
    PROTOCOLS,
    PROXY,
    REFUSED,
    UNREACHABLE,
    Asked,
    asking,
    exactly,
    listening,
    place,
    reaches,
    reply,
    rows,
)

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that anybody inside may ask by SOCKS."""
    file = lab.folder / "socks.toml"
    listen = f'listen = ["10.0.0.1:{PORT}", "[fd00:a::1]:{PORT}"]'
    text = configuration(protocols=PROTOCOLS, rest=f"[frontends.socks]\n{listen}\n")
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="socks")
    yield running
    running.stop()


@pytest.mark.parametrize("version", [4, 6])
def test_connect_reaches_the_server_and_bytes_pass_both_ways(
    gateway: RunningGateway, lab: Lab, version: int
) -> None:
    with (
        listening(lab.server, version) as server,
        asking(lab.client, version, Asked(CONNECT, *server.getsockname()[:2])) as client,
    ):
        accepted, who = server.accept()
        code, bound = reply(client)
        assert code == GRANTED
        assert bound.port == who[1]
        client.sendall(b"hello")
        assert exactly(accepted, 5) == b"hello"
        accepted.sendall(b"world")
        accepted.close()
        assert exactly(client, 5) == b"world"
        assert client.recv(1) == b""


@pytest.mark.parametrize("version", [4, 6])
def test_k01_a_bind_survives_strangers_and_ends_in_the_clients_own_connection(
    gateway: RunningGateway, lab: Lab, version: int
) -> None:
    peer = str(lab.server.address(version))
    with asking(lab.client, version, Asked(BIND, peer, 0)) as client:
        code, at = reply(client)
        assert code == GRANTED
        for _ in range(3):
            assert not reaches(lab.stranger, at)
        with lab.server.entered():
            connected = socket.create_connection((str(at.address), at.port), timeout=5)
        with closing(connected):
            code, who = reply(client)
            assert (code, str(who.address)) == (GRANTED, peer)
            connected.sendall(b"data")
            assert exactly(client, 4) == b"data"
            client.sendall(b"back")
            assert exactly(connected, 4) == b"back"
    assert rows(gateway) == []


@pytest.mark.parametrize("version", [4, 6])
def test_k04_an_association_passes_the_answers_of_those_it_has_written_to(
    gateway: RunningGateway, lab: Lab, version: int
) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with lab.client.entered():
        mine, neighbour = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
    with lab.server.entered():
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((str(lab.server.address(version)), 0))
    for sock in (mine, server):
        sock.settimeout(5)
    with closing(mine), closing(server), closing(neighbour):
        with asking(lab.client, version, Asked(ASSOCIATE, ANY[version], 0)) as client:
            code, at = reply(client)
            assert code == GRANTED
            to = (str(at.address), at.port)
            where = place(*server.getsockname()[:2])
            mine.sendto(b"\0\0\0" + where + b"ping", to)
            data, outside = server.recvfrom(100)
            assert data == b"ping"
            server.sendto(b"pong", outside)
            assert mine.recv(100) == b"\0\0\0" + where + b"pong"
            # Fragments, and another port of the same host, are nobody's datagrams.
            mine.sendto(b"\0\0\1" + where + b"part", to)
            neighbour.sendto(b"\0\0\0" + where + b"other", to)
            mine.sendto(b"\0\0\0" + where + b"again", to)
            assert server.recvfrom(100)[0] == b"again"
            (row,) = rows(gateway)
            assert (row["frontend"], row["transport"]) == ("socks", "udp")
        server.settimeout(0.5)
        mine.sendto(b"\0\0\0" + where + b"late", to)
        with pytest.raises(TimeoutError):
            server.recv(100)
    assert rows(gateway) == []


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1", "127.8.8.8", "localhost", "127.1", "0x7f.1", "2130706433", "10.0.0.1",
        "203.0.113.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.0.0.9",
    ],
)  # fmt: skip
def test_k06_nothing_of_the_gateway_and_nothing_inside_is_reached_by_any_name(
    gateway: RunningGateway, lab: Lab, name: str
) -> None:
    for host in (name, f"::ffff:{name}"):
        with asking(lab.client, 4, Asked(CONNECT, host, PORT)) as client:
            assert reply(client)[0] in (DENIED, UNREACHABLE)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_k02_a_bind_for_anyone_is_for_those_whom_the_client_is_connected_to(
    gateway: RunningGateway, lab: Lab, host: str
) -> None:
    version = 6 if ":" in host else 4
    with asking(lab.client, version, Asked(BIND, host, 0)) as refused:
        assert reply(refused)[0] == DENIED
    with listening(lab.server, version) as server:
        to = server.getsockname()[:2]
        with asking(lab.client, version, Asked(CONNECT, *to)) as connected:
            assert reply(connected)[0] == GRANTED
            with asking(lab.client, version, Asked(BIND, host, 0)) as waiting:
                code, at = reply(waiting)
                assert code == GRANTED
                (row,) = rows(gateway)
                assert row["peers"] == [str(lab.server.address(version))]
                assert not reaches(lab.stranger, at)


@pytest.mark.parametrize(("wish", "is_met"), [(45000, True), (22, False), (0, False)])
def test_k03_a_port_is_a_wish_within_our_range(
    gateway: RunningGateway, lab: Lab, wish: int, is_met: bool
) -> None:
    with asking(lab.client, 4, Asked(BIND, str(lab.server.address(4)), wish)) as client:
        code, at = reply(client)
        assert code == GRANTED
        assert (at.port == wish) is is_met
        assert at.port >= 1024
        assert str(at.address) == "203.0.113.1"


def test_k05_what_was_bound_ends_with_the_clients_connection(
    gateway: RunningGateway, lab: Lab
) -> None:
    with asking(lab.client, 4, Asked(BIND, str(lab.server.address(4)), 0)) as client:
        _, at = reply(client)
        assert len(rows(gateway)) == 1
    wait_until(gateway.process, lambda: not rows(gateway), gateway.log, "it is still bound")
    assert not reaches(lab.server, at)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Asked(CONNECT, "203.0.113.9", 9), REFUSED),
        (Asked(CONNECT, "no-such-name.invalid", 80), UNREACHABLE),
        (Asked(CONNECT, "2001:db8::9", 80), BAD_TYPE),
        (Asked(9, "203.0.113.9", 80), BAD_COMMAND),
    ],
)
def test_rfc_1928_section_6_a_failure_has_its_reply_and_then_the_end(
    gateway: RunningGateway, lab: Lab, asked: Asked, code: int
) -> None:
    with asking(lab.client, 4, asked) as client:
        assert reply(client)[0] == code
        assert client.recv(1) == b""


def test_a_request_that_comes_byte_by_byte_and_data_right_behind_it_are_served(
    gateway: RunningGateway, lab: Lab
) -> None:
    with listening(lab.server, 4) as server, lab.client.entered():
        said = b"\5\1\0" + bytes((5, CONNECT, 0)) + place(*server.getsockname()) + b"early"
        with socket.create_connection((PROXY[4], PORT), timeout=5) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(said)):
                client.sendall(said[i : i + 1])
            assert exactly(client, 2) == b"\5\0"
            assert reply(client)[0] == GRANTED
            with closing(server.accept()[0]) as accepted:
                assert exactly(accepted, 5) == b"early"


def test_c08_who_is_outside_is_not_served(gateway: RunningGateway, lab: Lab) -> None:
    lab.stranger.run(["ip", "route", "replace", "10.0.0.1", "via", "203.0.113.1"])
    with lab.stranger.entered(), socket.socket() as stranger:
        stranger.settimeout(1)
        try:
            stranger.connect((PROXY[4], PORT))
            stranger.sendall(b"\5\1\0")
            assert stranger.recv(2) == b""
        except OSError:
            pass  # reset, or never let in
