"""Media of RTSP through the whole gateway, counted at both ends, in families and data paths."""

import json
import socket
from collections.abc import Iterator

import pytest
from tests.interop.office import configuration
from tests.interop.rtsp_peers import SERVER_PORTS, Film, heard

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

both_families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

MANY = 100
"""Datagrams of a film."""
LATE = 20
"""Datagrams that are sent when it is over: not one may arrive."""


@pytest.fixture(scope="module", params=["kernel", "user"])
def gateway(lab: Lab, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """Run a gateway whose rule names RTSP."""
    file = lab.folder / f"rtsp-{request.param}.toml"
    text = configuration(gateway=f'data_path = "{request.param}"', protocols=("rtsp",))
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"rtsp-{request.param}")
    yield running
    running.stop()


@both_families
def test_media_flows_both_ways_and_ends_with_teardown(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Film(lab.client, lab.server, family, (5000, 5001)) as film:
        rtp, rtcp = film.set_up()
        assert film.shows(MANY, (film.peer, rtp)) == MANY

        film.media[1].sendto(b"sender report", (film.peer, rtcp))
        _, source = film.player[1].recvfrom(2000)
        assert source[:2] == (str(film.server_address), SERVER_PORTS[1])
        film.player[1].sendto(b"receiver report", source[:2])
        _, source = film.media[1].recvfrom(2000)
        assert source[:2] == (film.peer, rtcp)

        film.tear_down()
        assert film.shows(LATE, (film.peer, rtp)) == 0
        assert json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"] == []


@both_families
def test_r05_media_of_another_host_never_arrives(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with Film(lab.client, lab.server, family, (5000, 5001)) as film:
        rtp, _ = film.set_up()
        with lab.servers[1].entered():
            stranger = socket.socket(kind, socket.SOCK_DGRAM)
        with stranger:
            assert film.shows(LATE, (film.peer, rtp), source=stranger) == 0
        assert film.shows(MANY, (film.peer, rtp)) == MANY


@both_families
def test_r03_a_setup_that_was_refused_lets_nothing_in(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Film(lab.client, lab.server, family, (5000, 5001)) as film:
        rtp, _ = film.set_up(refusal=b"RTSP/1.0 454 Session Not Found\r\n")

        assert film.shows(LATE, (film.peer, rtp)) == 0


@both_families
def test_r03_a_setup_that_is_not_answered_lets_nothing_in(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Film(lab.client, lab.server, family, (5000, 5001)) as film:
        rtp, _ = film.ask()

        assert film.shows(LATE, (film.peer, rtp)) == 0


@both_families
def test_r06_the_end_of_the_connection_ends_the_film(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Film(lab.client, lab.server, family, (5000, 5001)) as film:
        rtp, _ = film.set_up()
        assert film.shows(MANY, (film.peer, rtp)) == MANY

        film.control.close()
        assert film.served.recv(10) == b""
        assert film.shows(LATE, (film.peer, rtp)) == 0


@both_families
def test_two_hosts_with_the_same_ports_see_each_their_own_film(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with (
        Film(lab.clients[0], lab.servers[0], family, (5000, 5001)) as one,
        Film(lab.clients[1], lab.servers[1], family, (5000, 5001)) as other,
    ):
        ports = one.set_up()[0], other.set_up()[0]

        assert one.shows(MANY, (one.peer, ports[0])) == MANY
        assert other.shows(MANY, (other.peer, ports[1])) == MANY
        assert heard(one.player[0], 1) == 0


@both_families
def test_r06_a_client_that_sends_first_opens_no_way_that_outlives_the_film(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Film(lab.client, lab.server, family, (5000, 5001)) as film:
        rtp, _ = film.set_up()
        film.player[0].sendto(b"punch", (str(film.server_address), SERVER_PORTS[0]))
        _, source = film.media[0].recvfrom(2000)
        assert source[:2] == (film.peer, rtp)
        assert film.shows(MANY, source[:2]) == MANY

        film.tear_down()
        assert film.shows(LATE, source[:2]) == 0


def test_what_runs_is_listed_and_can_be_explained(gateway: RunningGateway, lab: Lab) -> None:
    with Film(lab.client, lab.server, 4, (5000, 5001)) as film:
        rtp, _ = film.set_up()
        film.shows(1, (film.peer, rtp))
        (held,) = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]

        assert (held["filter"], held["transport"]) == ("rtsp", "udp")
        assert held["proxy_address"] == f"{film.peer}:{rtp}"
        assert held["client_address"] == f"{film.client_address}:5000"
        answer = gateway.ask(
            "explain", str(film.client_address), str(film.server_address), "rtsp", "--bind", "5000"
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
