"""Three clients, each under a rule with limits of its own, on a gateway that works.

Each limit stops its client at its value and no other client, both families; the log and `explain`
name the same limit.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import ip_network
from itertools import count
from typing import NamedTuple

import pytest
from tests.interop.test_pcp import INSIDE, ask

from sallyport.addresses import Endpoint, IpAddress
from sallyport.errors import RequestRefused
from sallyport.io.sockets import endpoint_of
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host, wait_until
from sallyport.lab.network import Lab
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Explained, Killed
from sallyport.wire import pcp
from sallyport.wire.pcp import MapAnswer, PcpResult, PeerFilter

pytestmark = [pytest.mark.netns]

CONFIGURATION = """
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]

[networks.external]
interfaces = ["ext0"]

[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"

[gateway]
# The lab's clients share a /64, which one host has for itself by default.
ipv6_host_prefix = 128

[frontends.pcp]

[[access_rules]]
name = "few, and not for long"
action = "allow"
protocols = ["port-mapping"]
from = ["10.0.0.8", "fd00:a::8"]
to = ["external"]
max_bindings_per_client = 2
max_lifetime = 120

[[access_rules]]
name = "not often"
action = "allow"
protocols = ["port-mapping"]
from = ["10.0.0.9", "fd00:a::9"]
to = ["external"]
max_binds_per_minute = 3

[[access_rules]]
name = "certain ports and peers"
action = "allow"
protocols = ["port-mapping"]
from = ["10.0.0.10", "fd00:a::a"]
to = ["external"]
client_ports = "8000-8099"
external_ports = "45000-45009"
peers = "pinned"

[[access_rules]]
name = "few connections"
action = "allow"
protocols = ["ftp", "tftp"]
from = ["10.0.0.8", "fd00:a::8"]
to = ["external"]
max_connections_per_minute = 2

[[access_rules]]
name = "more connections"
action = "allow"
protocols = ["ftp", "tftp"]
from = ["10.0.0.9-10.0.0.10", "fd00:a::9-fd00:a::a"]
to = ["external"]
max_connections_per_minute = 4
"""

NUMBERS = count()
FAMILY = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build("limits-of-rules", clients=3) as built:
        yield built


@pytest.fixture
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """A gateway that nobody has asked for anything yet: rates count from the start."""
    file = lab.folder / "limits.toml"
    file.write_text(CONFIGURATION, encoding="ascii")
    running = RunningGateway(lab, ["--config", str(file)], name=f"limits{next(NUMBERS)}")
    yield running
    # Mappings outlive a restart.
    for client in lab.clients:
        for address in (client.address4, client.address6):
            with suppress(RequestRefused):  # it has no session
                request(running.control_socket, "sessions.kill", expect=Killed, id=str(address))
    running.stop()


@pytest.fixture(scope="module")
def greeting(lab: Lab) -> Iterator[None]:
    """Answer each client that begins with FTP or TFTP at the server."""
    with ExitStack() as undo, lab.server.entered():
        for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            at = str(lab.server.address(family))
            stream = undo.enter_context(socket.create_server((at, 21), family=kind))
            undo.callback(stream.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=greet, args=(stream,), daemon=True).start()
            datagrams = undo.enter_context(socket.socket(kind, socket.SOCK_DGRAM))
            datagrams.bind((at, 69))
            answering = threading.Thread(target=send_nothing, args=(datagrams,), daemon=True)
            answering.start()
            undo.callback(answering.join)
            undo.callback(datagrams.sendto, b"", (at, 69))
        yield


def greet(listener: socket.socket) -> None:
    """Say hello to each client, until the listener is shut down."""
    with ExitStack() as undo, suppress(OSError):
        while True:
            undo.enter_context(leg := listener.accept()[0])
            leg.sendall(b"220 Hello\r\n")


def send_nothing(listener: socket.socket) -> None:
    """Answer each request by an empty block, from a port of its own as TFTP wants it.

    An empty datagram ends it.
    """
    while True:
        data, client = listener.recvfrom(1024)
        if not data:
            return
        with socket.socket(listener.family, socket.SOCK_DGRAM) as sock:
            sock.bind((listener.getsockname()[0], 0))
            sock.sendto(b"\0\x03\0\x01", client)


def maps(
    client: Host, family: int, port: int, *, peer: Host | None = None, external: int = 0
) -> MapAnswer:
    """Ask for a port, for ten minutes; `peer` alone may connect."""
    filters = () if peer is None else (PeerFilter(ip_network(peer.address(family)), 0),)
    asked = pcp.map_request(
        client.address(family),
        port.to_bytes(12, "big"),
        6,
        port,
        lifetime=600,
        external_port=external,
        filters=filters,
    )
    answer = pcp.parse_answer(ask(client, asked, INSIDE[family]))
    assert answer is not None
    return answer


def refused(gateway: RunningGateway, event: str, client: object) -> tuple[str, str]:
    """By which rule, and why, a client was refused last, as soon as the log has it."""

    def found() -> list[tuple[str, str]]:
        records = [json.loads(line) for line in gateway.journal() if f'"{event}"' in line]
        return [(one["rule"], one["reason"]) for one in records if one["client"] == str(client)]

    wait_until(gateway.process, lambda: bool(found()), gateway.log, "no refusal")
    return found()[-1]


def explained(
    gateway: RunningGateway, client: IpAddress, peer: IpAddress, port: int
) -> tuple[str | None, str] | None:
    """By which rule, and why, `explain` says no to this port."""
    answer = request(
        gateway.control_socket,
        "explain",
        expect=Explained,
        client=str(client),
        server=str(Endpoint(peer, 9)),
        protocol="port-mapping",
        frontend="pcp",
        bind=port,
    )
    return None if answer.allowed else (answer.rule, answer.reason)


@FAMILY
def test_a_client_holds_as_many_bindings_as_its_rule_grants_and_others_more(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    few, often, _ = lab.clients
    assert [maps(few, family, 8080 + i).result for i in range(3)] == [
        PcpResult.SUCCESS,
        PcpResult.SUCCESS,
        PcpResult.USER_EX_QUOTA,
    ]
    told = "few, and not for long", "too-many-bindings"
    assert refused(gateway, "binding.refused", few.address(family)) == told
    peer = lab.server.address(family)
    assert explained(gateway, few.address(family), peer, 8083) == told

    assert [maps(often, family, 8080 + i).result for i in range(3)] == [PcpResult.SUCCESS] * 3


@FAMILY
def test_a_client_asks_as_often_in_a_minute_as_its_rule_grants_and_others_oftener(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    _, often, certain = lab.clients
    results = [maps(often, family, 8080 + i).result for i in range(4)]
    assert results == [PcpResult.SUCCESS] * 3 + [PcpResult.USER_EX_QUOTA]
    told = "not often", "too-many-binds-a-minute"
    assert refused(gateway, "binding.refused", often.address(family)) == told
    peer = lab.server.address(family)
    assert explained(gateway, often.address(family), peer, 8084) == told

    more = [maps(certain, family, 8080 + i, peer=lab.server).result for i in range(4)]
    assert more == [PcpResult.SUCCESS] * 4


@FAMILY
def test_a_binding_lives_as_long_as_its_rule_grants_and_others_as_long_as_they_ask(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    few, often, _ = lab.clients

    assert maps(few, family, 8080).lifetime == 120
    assert maps(often, family, 8080).lifetime == 600
    rows = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]
    ends = {row["rule"]: row["expires_in"] for row in rows}
    assert ends["few, and not for long"] <= 120
    assert 120 < ends["not often"] <= 600


@FAMILY
def test_a_client_opens_the_ports_that_its_rule_grants_and_others_any(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    _, often, certain = lab.clients
    peer = lab.server.address(family)
    for port, reason in ((7999, "client-port-below-minimum"), (8100, "client-port-above-maximum")):
        assert maps(certain, family, port, peer=lab.server).result is PcpResult.NOT_AUTHORIZED
        told = "certain ports and peers", reason
        assert explained(gateway, certain.address(family), peer, port) == told
        assert maps(often, family, port, peer=lab.server).result is PcpResult.SUCCESS
    assert refused(gateway, "binding.refused", certain.address(family)) == told


@FAMILY
def test_a_client_must_name_its_peers_where_its_rule_wants_it_and_others_need_not(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    _, often, certain = lab.clients
    assert maps(certain, family, 8080).result is PcpResult.NOT_AUTHORIZED
    assert refused(gateway, "binding.refused", certain.address(family)) == (
        "certain ports and peers",
        "peers-are-not-named",
    )

    assert maps(certain, family, 8080, peer=lab.server).result is PcpResult.SUCCESS
    assert maps(often, family, 8080).result is PcpResult.SUCCESS


def dial(client: Host, server: Host, family: int, undo: ExitStack) -> tuple[Endpoint, bytes]:
    """Connect to FTP; return from where, and what is said first."""
    with client.entered():
        leg = undo.enter_context(socket.create_connection((str(server.address(family)), 21), 10.0))
    return endpoint_of(leg.getsockname()), leg.recv(1024)


def ask_for_file(
    client: Host, server: Host, family: int, undo: ExitStack
) -> tuple[Endpoint, bytes]:
    """Begin a transfer by TFTP; return from where, and what is said first."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with client.entered():
        leg = undo.enter_context(socket.socket(kind, socket.SOCK_DGRAM))
    leg.settimeout(10.0)
    # Bound, because the gateway answers in the server's name, as the server does not.
    leg.bind((str(client.address(family)), 0))
    leg.sendto(b"\0\x01file\0octet\0", (str(server.address(family)), 69))
    return endpoint_of(leg.getsockname()), leg.recv(1024)


class Way(NamedTuple):
    """A protocol, how a client begins to speak it, and how its refusal begins."""

    protocol: str
    begin: Callable[[Host, Host, int, ExitStack], tuple[Endpoint, bytes]]
    refusal: bytes


FTP = Way("ftp", dial, b"421 ")
TFTP = Way("tftp", ask_for_file, b"\0\x05\0\x02")


@FAMILY
@pytest.mark.usefixtures("greeting")
@pytest.mark.parametrize("way", [FTP, TFTP], ids=["ftp", "tftp"])
def test_a_client_connects_as_often_in_a_minute_as_its_rule_grants_and_others_oftener(
    lab: Lab, gateway: RunningGateway, way: Way, family: int
) -> None:
    begin, refusal = way.begin, way.refusal
    few, more, most = lab.clients
    told = "few connections", "too-many-connections-a-minute"
    with ExitStack() as undo:
        heard = [begin(few, lab.server, family, undo) for _ in range(3)]
        assert [said.startswith(refusal) for _, said in heard] == [False, False, True]
        assert refused(gateway, "connect.refused", heard[-1][0]) == told
        for other in (more, most):
            others = [begin(other, lab.server, family, undo)[1] for _ in range(4)]
            assert not any(said.startswith(refusal) for said in others)

        answer = request(
            gateway.control_socket,
            "explain",
            expect=Explained,
            client=str(few.address(family)),
            server=str(lab.server.address(family)),
            protocol=way.protocol,
        )
        assert (answer.rule, answer.reason) == told
        assert answer.key == "access_rules.max_connections_per_minute"
        last = answer.steps[-1]
        assert (last.question, last.used, last.value) == ("max_connections_per_minute", "2", "2")


def test_a_wish_for_a_port_is_met_within_what_the_rule_grants(
    lab: Lab, gateway: RunningGateway
) -> None:
    _, _, certain = lab.clients
    within = maps(certain, 4, 8080, peer=lab.server, external=45005)
    assert (within.result, within.port) == (PcpResult.SUCCESS, 45005)

    beyond = maps(certain, 4, 8081, peer=lab.server, external=46000)
    assert beyond.port != 46000
