"""A transfer that another firewall stops: log and `explain` say so in one text."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.netns.kernel_bench import PATIENCE, begin

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Missed
from sallyport.kernel.base_table import BASE_TABLE
from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.host import Host, wait_until
from sallyport.lab.network import Lab
from sallyport.reasons import REASONS
from sallyport.wire.ftp.formats import format_eprt_argument, parse_eprt_argument

pytestmark = [pytest.mark.netns]

# Of a router that lets nothing in by itself; after our tables, as most are.
FOREIGN = """
table inet router {
  chain forward { type filter hook forward priority filter; policy drop;
    ct state established,related accept
  }
}
"""

FAMILY = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    running = RunningGateway(lab)
    yield running
    running.stop()


@contextmanager
def announced(lab: Lab, version: int, port: int) -> Iterator[Endpoint]:
    """Say EPRT with this port; the server hears of this place. With the block the session ends."""
    client, server = lab.client, lab.server
    at = str(server.address(version)), 21
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with server.entered():
        listener = socket.create_server(at, family=family)
    with client.entered():
        control = socket.create_connection(at, PATIENCE)
    with listener, control, listener.accept()[0] as serving, serving.makefile("rb") as commands:
        serving.sendall(b"220 Hello\r\n")
        own = format_eprt_argument(Endpoint(client.address(version), port))
        control.sendall(b"EPRT " + own + b"\r\n")
        told = parse_eprt_argument(commands.readline().split()[1])
        serving.sendall(b"200 Yes\r\n")
        replies = control.makefile("rb")
        assert [replies.readline()[:3] for _ in range(2)] == [b"220", b"200"]
        yield told


def end_of(gateway: RunningGateway, place: Endpoint) -> dict[str, Any]:
    """The record of the end of the binding at this place."""

    def found() -> list[dict[str, Any]]:
        records = [json.loads(line) for line in gateway.journal() if '"binding.closed"' in line]
        return [one for one in records if one["proxy"] == str(place)]

    wait_until(gateway.process, lambda: bool(found()), gateway.log, "no end was recorded")
    return found()[-1]


def explained(gateway: RunningGateway, client: Host, server: Host, version: int) -> str:
    addresses = str(client.address(version)), str(server.address(version))
    return gateway.ask("explain", *addresses, "ftp").stdout


@FAMILY
def test_another_firewall_that_drops_a_transfer_is_named_in_log_explain_and_by_doctor(
    lab: Lab, gateway: RunningGateway, version: int
) -> None:
    lab.gateway.run(["nft", "-f", "-"], stdin=FOREIGN)
    try:
        with announced(lab, version, 5001) as place, begin(lab.server, str(place)):
            pass
        record = end_of(gateway, place)
        doctor = gateway.host.run([*sallyport(), "doctor"], check=False).stdout
    finally:
        lab.gateway.run(["nft", "delete", "table", "inet", "router"])

    reason = REASONS[Missed.DROPPED]
    assert (record["level"], record["unused"]) == ("warning", Missed.DROPPED)
    assert (record["meaning"], record["remedy"]) == (reason.happened, reason.remedy)
    assert "sallyport doctor" in reason.remedy
    assert "router" in doctor
    said = explained(gateway, lab.client, lab.server, version)
    assert f"{place}" in said
    assert f"{reason.happened} {reason.remedy}" in said


@FAMILY
def test_a_stranger_alone_is_told_from_nobody(
    lab: Lab, gateway: RunningGateway, version: int
) -> None:
    with announced(lab, version, 5002) as place, begin(lab.stranger, str(place)):
        list_knocked = ["nft", "list", "set", "inet", BASE_TABLE, f"knocked{version}"]
        wait_until(
            gateway.process,
            lambda: f". {place.port} " in lab.gateway.run(list_knocked).stdout,
            gateway.log,
            "no stranger was noted",
        )
    record = end_of(gateway, place)
    assert (record["level"], record["unused"]) == ("info", Missed.STRANGER_CAME)

    with announced(lab, version, 5003) as place:
        pass
    assert end_of(gateway, place)["unused"] == Missed.NOTHING_CAME
    assert REASONS[Missed.NOTHING_CAME].happened in explained(
        gateway, lab.client, lab.server, version
    )
