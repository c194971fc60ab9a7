"""A server that is published at an interface: at whatever addresses that has, in both families."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.interop.publishing import NETWORKS, RULE, reaches

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

NEW = {4: "203.0.113.77", 6: "2001:db8::77"}
PREFIX = {4: 24, 6: 64}


@pytest.fixture
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that publishes one server of each family at its outside interface."""
    text = NETWORKS.format(data_path="auto").replace('ipv6 = "route"', 'ipv6 = "nat"')
    client = lab.client
    for family, server in (
        (4, f"{client.address4}:21"),
        (6, f"[{client.address6}]:21"),
    ):
        text += RULE.format(
            name=f"server {family}", listen="ext0:21", server=server, full_proxy="false"
        )
    file = lab.folder / "followed.toml"
    file.write_text(text, encoding="ascii")
    with ExitStack() as undo:
        for address, kind in (
            (client.address4, socket.AF_INET),
            (client.address6, socket.AF_INET6),
        ):
            with client.entered():
                undo.enter_context(socket.create_server((str(address), 21), family=kind))
        running = RunningGateway(lab, ("--config", str(file)), name="followed")
        undo.callback(running.stop)
        yield running


def followed(gateway: RunningGateway) -> int:
    return sum("gateway.followed" in line for line in gateway.journal())


def change(gateway: RunningGateway, lab: Lab, verb: str, family: int) -> None:
    """Give the gateway an address, or take it, and wait until it has followed."""
    before = followed(gateway)
    address = f"{NEW[family]}/{PREFIX[family]}"
    nodad = ["nodad"] if (verb, family) == ("add", 6) else []
    lab.gateway.run(["ip", "address", verb, address, "dev", "ext0", *nodad])
    wait_until(gateway.process, lambda: followed(gateway) > before, gateway.log, "not followed")


def is_listening(lab: Lab, where: Endpoint) -> bool:
    """Whether the gateway listens there: to ask by a packet leaves a neighbour entry that fails."""
    return str(where) in lab.gateway.run(["ss", "-Hltn"]).stdout.split()


@pytest.mark.parametrize("family", [4, 6])
def test_an_address_that_comes_is_published_and_one_that_goes_is_not(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    there = Endpoint.parse(f"[{NEW[6]}]:21" if family == 6 else f"{NEW[4]}:21")
    always = Endpoint(lab.gateway.address4 if family == 4 else lab.gateway.address6, 21)
    assert reaches(lab.server, always)
    assert not is_listening(lab, there)

    change(gateway, lab, "add", family)
    assert reaches(lab.server, there)
    assert reaches(lab.server, always)

    change(gateway, lab, "del", family)
    assert not is_listening(lab, there)
    assert reaches(lab.server, always)
