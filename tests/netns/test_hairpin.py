"""X10: a client inside that dials the outside address of a published server is refused in words.

So no transfer of it begins, in active mode or passive. Where the relation is routed the outside
address is the server's own, and the gateway is not on the way.
"""

import json
import socket
from collections.abc import Iterator

import pytest
from tests.interop.publishing import NETWORKS, RULE, reaches

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Explained
from sallyport.reasons import REASONS

pytestmark = [pytest.mark.netns]

FAMILY = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
# One that is intercepted for clients inside, and one at which the gateway itself listens alone.
PORT = pytest.mark.parametrize("port", [21, 2121])


@pytest.fixture(scope="module", params=["auto", "user"])
def gateway(lab: Lab, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """Publish a server behind NAT, in both families, at two ports."""
    text = NETWORKS.format(data_path=request.param).replace('ipv6 = "route"', 'ipv6 = "nat"')
    for family in (4, 6):
        for port in (21, 2121):
            text += RULE.format(
                name=f"{family} at {port}",
                listen=Endpoint(lab.gateway.address(family), port),
                server=Endpoint(lab.client.address(family), port),
                full_proxy="false",
            )
    file = lab.folder / f"hairpin-{request.param}.toml"
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"hairpin-{request.param}")
    yield running
    running.stop()


@FAMILY
@PORT
def test_x10_a_client_inside_is_refused_in_words_by_log_and_explain(
    lab: Lab, gateway: RunningGateway, family: int, port: int
) -> None:
    client, outside = lab.clients[1], Endpoint(lab.gateway.address(family), port)
    with client.entered():
        attempt = socket.create_connection((str(outside.address), port), 5)
    with attempt:
        own = str(Endpoint.parse(_name(attempt)))
        assert attempt.recv(100) == b"421 Refused by the gateway; its log says why.\r\n"

    def records() -> list[dict[str, str]]:
        lines = [line for line in gateway.journal() if '"connect.refused"' in line]
        return [one for one in map(json.loads, lines) if one["client"] == own]

    wait_until(gateway.process, lambda: bool(records()), gateway.log, "no record")
    (record,) = records()
    reason = REASONS["peer-is-gateway"]
    assert (record["reason"], record["remedy"]) == (reason.code, reason.remedy)
    assert record["server"] == str(outside)
    asked = {"client": str(client.address(family)), "server": str(outside)}
    for protocol in ("ftp", "ftp-server"):
        answer = request(
            gateway.control_socket, "explain", expect=Explained, **asked, protocol=protocol
        )
        assert (answer.allowed, answer.reason) == (False, reason.code)
        assert answer.interception == (
            f"arrives at {outside}, where the rule '{family} at {port}' publishes a server to"
            " clients outside alone"
        )


@FAMILY
def test_the_servers_own_address_is_reached_inside(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    server = Endpoint(lab.client.address(family), 21)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with lab.client.entered():
        listener = socket.create_server((str(server.address), 21), family=kind)
    with listener:
        assert reaches(lab.clients[1], server)


def _name(sock: socket.socket) -> str:
    address, port = sock.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
