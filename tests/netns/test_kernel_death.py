"""What is left when the gateway dies without a word (attack X06)."""

import os
import signal
import subprocess
import sys

import pytest
from tests.netns import kernel_bench
from tests.netns.kernel_bench import (
    PATIENCE,
    POLICY,
    RULES,
    SILENCE,
    WAYS,
    Way,
    both_guards,
    dial,
    listen,
)

from sallyport.errors import StartupError
from sallyport.kernel import table
from sallyport.kernel.pins_table import pins_table, render_pins
from sallyport.kernel.ruleset import Ruleset
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)

# Opens two pinholes, at the port told and the next, and waits for its death.
_VICTIM = """
import asyncio, sys
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel.datapath import KernelDataPath
from sallyport.io.fair_poller import FairPoller
from tests.netns.kernel_bench import Recorder

listen, target, peer = sys.argv[1:]
path = KernelDataPath.start()
path.attach(Recorder())

def pinhole(number):
    at, to = Endpoint.parse(listen), Endpoint.parse(target)
    at, to = at.with_port(at.port + number), to.with_port(to.port + number)
    return Pinhole(number, Transport.TCP, at, to, IpFilter.of(peer))

async def main():
    loop = asyncio.get_running_loop()
    path.run_in(loop, FairPoller(loop))
    await path.open([pinhole(0), pinhole(1)])
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start_victim(lab: Lab, way: Way) -> "subprocess.Popen[str]":
    peer = lab.server.address(6 if "[" in way.listen else 4)
    with lab.gateway.entered():
        victim = subprocess.Popen(
            [sys.executable, "-c", _VICTIM, way.listen, way.target, str(peer)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert victim.stdout is not None
    assert victim.stdout.readline() == "open\n"
    return victim


@WAY
def test_x06_death_closes_pinholes_and_leaves_transfers(wires: Lab, way: Way) -> None:
    with wires.gateway.entered():
        table.load(both_guards(POLICY, RULES))
    with start_victim(wires, way) as victim, listen(wires.client, way.target) as inside:
        peer = dial(wires.server, way.listen)
        client, _ = inside.accept()
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait(PATIENCE)
        # The second pinhole was never used: it must be shut now.
        at = way.listen.rpartition(":")[0] + ":" + str(int(way.listen.rpartition(":")[2]) + 1)
        with listen(wires.client, _next_port(way.target)), pytest.raises(TimeoutError):
            dial(wires.server, at, SILENCE)

        sent = bytes(range(256)) * 4096
        peer.sendall(sent[: len(sent) // 8])
        received = b""
        while len(received) < len(sent) // 8:
            received += client.recv(65536)
        assert received == sent[: len(sent) // 8]
        assert pins_table(0) not in wires.gateway.run(["nft", "list", "tables"]).stdout
        peer.close()
        client.close()


def _next_port(at: str) -> str:
    host, _, port = at.rpartition(":")
    return f"{host}:{int(port) + 1}"


def test_x06_a_successor_starts_beside_transfers_and_does_not_mistake_them(wires: Lab) -> None:
    way = WAYS[0]
    with wires.gateway.entered():
        table.load(both_guards(POLICY, RULES))
    with start_victim(wires, way) as victim, listen(wires.client, way.target) as inside:
        peer = dial(wires.server, way.listen)
        client, _ = inside.accept()
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait(PATIENCE)
        with kernel_bench.running(wires) as bench:
            peer.sendall(b"still here")
            assert client.recv(64) == b"still here"
            bench.open(way.pinhole(wires))
            with dial(wires.server, way.listen):
                bench.until(lambda: bench.sink.told == [("established", 1)])
                peer.close()
                client.close()
                # The end of the other flow is reported by now.
                bench.path.drain()

                assert bench.sink.told == [("established", 1)]


@WAY
def test_x06_a_half_open_connection_is_refused_when_the_pins_are_gone(wires: Lab, way: Way) -> None:
    with kernel_bench.running(wires) as bench:
        bench.open(way.pinhole(wires))
        # Keeps the last packet of the handshake back until the pins are gone.
        wires.server.run(["nft", "-f", "-"], stdin=_NO_ACKS)
        with listen(wires.client, way.target), dial(wires.server, way.listen) as peer:
            with wires.gateway.entered():
                bench.path.stop()
            wires.server.run(["nft", "delete", "table", "inet", "late"])
            peer.sendall(b"late")

            with pytest.raises(ConnectionResetError):
                peer.recv(1)


_NO_ACKS = """
table inet late {
    chain out {
        type filter hook output priority 0
        tcp flags == ack drop
    }
}
"""


def test_nobody_else_may_change_the_pins_and_a_second_owner_is_refused(wires: Lab) -> None:
    with wires.gateway.entered():
        owner = table.claim(render_pins(60), pins_table(0))
        with Ruleset() as ruleset, owner:
            assert ruleset.owner_of(pins_table(0)) == owner.getsockname()[0]
            with pytest.raises(StartupError, match="not permitted"):
                table.claim(render_pins(60), pins_table(0))
            flush = wires.gateway.run(["nft", "flush", "table", "inet", pins_table(0)], check=False)
            assert "not permitted" in flush.stderr
        with Ruleset() as ruleset:
            assert ruleset.owner_of(pins_table(0)) is None
