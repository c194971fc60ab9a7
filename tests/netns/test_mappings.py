"""Mappings that clients asked for outlive a restart and a new generation of workers."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.interop.office import configuration
from tests.interop.test_pcp import INSIDE, ask, map_request, peer_filter, reaches
from tests.netns.test_daemon import asked, traces

from sallyport.addresses import Endpoint
from sallyport.kernel.state_file import STATE_FOLDER
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab
from sallyport.wire import pcp

pytestmark = [pytest.mark.netns, pytest.mark.interop]

NUMBERS = count(1)
LIFETIME = 600


class Answered(NamedTuple):
    """What a client reads in the answer to a request for a mapping."""

    external: Endpoint
    lifetime: int
    epoch: int


def start(lab: Lab, folder: Path) -> RunningGateway:
    file = folder / "sallyport.toml"
    rest = "[frontends.pcp]\n"
    text = configuration(gateway="workers = 2", protocols=("port-mapping",), rest=rest)
    file.write_text(text)
    return RunningGateway(lab, ["--config", str(file)], name=f"mapping{next(NUMBERS)}")


def request(lab: Lab, family: int) -> Answered:
    """Ask for the mapping of port 8080, or renew it."""
    client, server = lab.client.address(family), lab.server.address(family)
    data = map_request(client, 8080, LIFETIME, peer_filter(server))
    answer = ask(lab.client, data, INSIDE[family])
    assert answer[3] == 0, answer
    lifetime, epoch, port = (
        int.from_bytes(answer[first:last], "big") for first, last in ((4, 8), (8, 12), (42, 44))
    )
    return Answered(Endpoint(pcp.address_of(answer[44:60]), port), lifetime, epoch)


@contextmanager
def listening(lab: Lab, family: int) -> Iterator[socket.socket]:
    """Listen where the mapping leads."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with lab.client.entered():
        listener = socket.create_server((str(lab.client.address(family)), 8080), family=kind)
    with closing(listener):
        yield listener


def restarted(lab: Lab, folder: Path, gateway: RunningGateway) -> RunningGateway:
    assert gateway.stop() == 0
    return start(lab, folder)


def renewed(_lab: Lab, _folder: Path, gateway: RunningGateway) -> RunningGateway:
    os.kill(gateway.process.pid, signal.SIGUSR2)

    def is_done() -> bool:
        return any('"gateway.reloaded"' in line for line in gateway.journal())

    wait_until(gateway.process, is_done, gateway.log, "no new workers")
    return gateway


Succession = Callable[[Lab, Path, RunningGateway], RunningGateway]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("succeed", [restarted, renewed])
def test_a_mapping_stands_again_at_the_same_port_for_the_same_peers(
    succeed: Succession, family: int, lab: Lab, tmp_path: Path
) -> None:
    gateway = start(lab, tmp_path)
    try:
        with listening(lab, family) as listener:
            before = request(lab, family)
            at = str(before.external.address), before.external.port
            with lab.server.entered():
                running = socket.create_connection(at, 5)
            accepted, _peer = listener.accept()

            gateway = succeed(lab, tmp_path, gateway)

            assert reaches(lab.server, *at)
            assert not reaches(lab.stranger, *at)
            rows = asked(gateway, "bindings", "list")["bindings"]
            assert [row["proxy_address"] for row in rows if row["state"] != "live"]
            running.sendall(b"goes on")
            assert accepted.recv(64) == b"goes on"
            after = request(lab, family)
            accepted.close()
            running.close()
        assert (after.external, after.lifetime) == (before.external, LIFETIME)
        assert after.epoch >= before.epoch
    finally:
        gateway.stop()
        for left in STATE_FOLDER.glob("netns-*.mappings"):
            left.unlink()


def test_the_epoch_begins_anew_when_mappings_were_lost(lab: Lab, tmp_path: Path) -> None:
    host = traces(lab)
    gateway = start(lab, tmp_path)
    first = request(lab, 4)
    wait_until(gateway.process, lambda: request(lab, 4).epoch > first.epoch, gateway.log, "stands")
    before = request(lab, 4)
    gateway.kill()

    gateway = start(lab, tmp_path)
    try:
        assert request(lab, 4).epoch < before.epoch
    finally:
        gateway.stop()
        for left in STATE_FOLDER.glob("netns-*.mappings"):
            left.unlink()
    assert traces(lab) == host
