"""Port mappings that clients ask for themselves, on the whole gateway: PCP and NAT-PMP."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest
from tests.interop.office import configuration
from tests.interop.test_tftp import hears_nothing, speaking

from sallyport.addresses import IpAddress
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host, wait_until
from sallyport.lab.network import Lab
from sallyport.wire import pcp
from sallyport.wire.pcp import PcpResult

pytestmark = [pytest.mark.netns, pytest.mark.interop]

INSIDE = {4: "10.0.0.1", 6: "fd00:a::1"}
NONCE = bytes(range(12))


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that grants mappings and speaks no other protocol for clients."""
    file = lab.folder / "pcp.toml"
    text = configuration(protocols=("port-mapping",), rest="[frontends.pcp]\n")
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="pcp")
    yield running
    running.stop()


def ask(host: Host, data: bytes, gateway: str, *, seconds: float = 5.0) -> bytes:
    """Send one request and return the answer, which must come from the address that was asked."""
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    with host.entered(), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        sock.sendto(data, (gateway, 5351))
        answer, source = sock.recvfrom(2000)
    assert source[:2] == (gateway, 5351)
    return answer


def map_request(
    client: IpAddress, port: int, lifetime: int, options: bytes = b"", *, udp: bool = False
) -> bytes:
    head = b"\2\1\0\0" + lifetime.to_bytes(4, "big") + pcp.pack(client)
    ports = port.to_bytes(2, "big") + bytes(2)
    return head + NONCE + bytes((17 if udp else 6, 0, 0, 0)) + ports + bytes(16) + options


def peer_filter(peer: IpAddress) -> bytes:
    return bytes((3, 0, 0, 20, 0, 128, 0, 0)) + pcp.pack(peer)


def reaches(host: Host, address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.entered(), socket.socket(family) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect((address, port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("family", [4, 6])
def test_a_mapped_port_is_reached_by_the_peers_it_names_and_by_no_stranger(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    client, server = lab.client.address(family), lab.server.address(family)
    with lab.client.entered():
        listener = socket.create_server(
            (str(client), 8080), family=socket.AF_INET6 if family == 6 else socket.AF_INET
        )
    with closing(listener):
        options = peer_filter(server)
        answer = ask(lab.client, map_request(client, 8080, 600, options), INSIDE[family])
        assert PcpResult(answer[3]) is PcpResult.SUCCESS
        port = int.from_bytes(answer[42:44], "big")
        external = pcp.address_of(answer[44:60])
        expected = ip_address("203.0.113.1") if family == 4 else client
        assert external == expected
        assert reaches(lab.server, str(external), port)
        assert not reaches(lab.stranger, str(external), port)
        (row,) = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]
        assert row["client_address"] == f"[{client}]:8080" if family == 6 else f"{client}:8080"

        ask(lab.client, map_request(client, 8080, 0), INSIDE[family])
        assert not reaches(lab.server, str(external), port)
    assert json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"] == []


@pytest.mark.parametrize("how", ["deleted", "killed"])
@pytest.mark.parametrize("family", [4, 6])
def test_a_mapping_of_datagrams_that_is_over_forwards_nothing_and_is_listed_no_longer(
    gateway: RunningGateway, lab: Lab, family: int, how: str
) -> None:
    client = lab.client.address(family)
    with speaking(lab.client, family) as inner, speaking(lab.server, family) as peer:
        port = inner.getsockname()[1]
        answer = ask(lab.client, map_request(client, port, 600, udp=True), INSIDE[family])
        external = str(pcp.address_of(answer[44:60])), int.from_bytes(answer[42:44], "big")
        peer.sendto(b"in", external)
        inner.sendto(b"out", inner.recvfrom(100)[1])
        assert peer.recvfrom(100)[0] == b"out"
        (row,) = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]

        if how == "killed":
            assert gateway.ask("bindings", "kill", row["id"]).returncode == 0
        else:
            ask(lab.client, map_request(client, port, 0, udp=True), INSIDE[family])
        assert json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"] == []
        peer.sendto(b"late", external)
        assert hears_nothing(inner)


def test_a_real_nat_pmp_client_gets_the_address_and_a_port(
    gateway: RunningGateway, lab: Lab
) -> None:
    said = lab.client.run(["natpmpc", "-g", "10.0.0.1", "-a", "0", "25001", "tcp", "300"]).stdout
    lab.client.run(["natpmpc", "-g", "10.0.0.1", "-a", "0", "25001", "tcp", "0"])

    assert "Public IP address : 203.0.113.1" in said
    assert "protocol TCP to local port 25001" in said
    assert json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"] == []


@pytest.mark.parametrize("address", ["203.0.113.1", "10.0.0.1"])
def test_c08_a_request_from_outside_is_not_answered(
    gateway: RunningGateway, lab: Lab, address: str
) -> None:
    lab.stranger.run(["ip", "route", "replace", "10.0.0.1", "via", "203.0.113.1"])
    stranger = lab.stranger.address(4)
    with pytest.raises(TimeoutError):
        ask(lab.stranger, map_request(stranger, 8080, 600), address, seconds=0.5)
    assert gateway.process.poll() is None


def test_a_denied_port_gets_the_standards_answer(gateway: RunningGateway, lab: Lab) -> None:
    client = lab.client.address(4)
    answer = ask(lab.client, map_request(client, 22, 600), INSIDE[4])

    assert PcpResult(answer[3]) is PcpResult.NOT_AUTHORIZED

    def refusals() -> list[str]:
        return [line for line in gateway.journal() if "binding.refused" in line]

    wait_until(gateway.process, lambda: bool(refusals()), gateway.log, "nothing is in the log")
    refused = [json.loads(line) for line in refusals()]
    assert (refused[-1]["client"], refused[-1]["code"]) == ("10.0.0.8", "address-not-allowed")


def test_section_12_a_client_learns_from_where_its_own_flow_is_seen(
    gateway: RunningGateway, lab: Lab
) -> None:
    with lab.server.entered():
        listener = socket.create_server(("203.0.113.9", 0))
    port = listener.getsockname()[1]
    with lab.client.entered():
        flow = socket.create_connection(("203.0.113.9", port), timeout=5)
    accepted, seen = listener.accept()
    with closing(listener), closing(flow), closing(accepted):
        inside = flow.getsockname()[1]
        request = b"\2\2\0\0" + bytes(4) + pcp.pack(lab.client.address(4)) + NONCE
        request += bytes((6, 0, 0, 0)) + inside.to_bytes(2, "big") + bytes(18)
        request += port.to_bytes(2, "big") + bytes(2) + pcp.pack(lab.server.address(4))
        answer = ask(lab.client, request, INSIDE[4])
    assert PcpResult(answer[3]) is PcpResult.SUCCESS
    assert int.from_bytes(answer[42:44], "big") == seen[1]
    assert str(pcp.address_of(answer[44:60])) == seen[0] == "203.0.113.1"
