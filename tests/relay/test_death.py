"""What both ends see when the process that relays their bytes dies."""

import os
import signal
import subprocess
import sys

from tests.relay.loopback import bench, run

# One flow through a data path in a process of its own, which reports both legs are up.
DAEMON = """
import asyncio, sys
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.flags import Transport
from sallyport.relay.datapath import UserDataPath
from sallyport.io.fair_poller import FairPoller

class Sink:
    def flow_arrived(self, _id, _peer, arrival): arrival.proceed(None)
    def flow_established(self, *_): print("up", flush=True)
    def flow_refused(self, *_): print("refused", flush=True)
    def flow_ended(self, *_): print("ended", flush=True)

async def main():
    loop = asyncio.get_running_loop()
    path = UserDataPath(loop, FairPoller(loop))
    path.attach(Sink())
    listen, target = map(Endpoint.parse, sys.argv[1:])
    path.reserve(Transport.TCP, listen)
    await path.open([Pinhole(1, Transport.TCP, listen, target, None)])
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def started(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_the_death_of_the_process_looks_like_a_reset_and_never_like_a_complete_stream() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = b.pinhole(client)
            b.path.release(pinhole.transport, pinhole.listen)
            command = [sys.executable, "-c", DAEMON, str(pinhole.listen), str(pinhole.target)]
            with started(command) as daemon:
                assert daemon.stdout is not None
                assert daemon.stdout.readline() == b"open\n"
                peer = b.peer(pinhole)
                accepted = await b.accept(client)
                assert daemon.stdout.readline() == b"up\n"
                await b.loop.sock_sendall(peer, b"half of a fi")
                assert await b.read(accepted, 12) == b"half of a fi"

                os.kill(daemon.pid, signal.SIGKILL)

                assert await b.is_reset(peer)
                assert await b.is_reset(accepted)

    run(scenario())
