"""A client that does nothing but bind does not have as much of the gateway as its neighbours."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from tests.interop.office import configuration

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.wire.ftp.formats import format_port_argument

pytestmark = [pytest.mark.netns]

BINDS = 500


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build("flood-of-binds", clients=2) as built:
        yield built


@pytest.fixture
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run the gateway, and a server that says 200 to everything."""
    file = lab.folder / "binds.toml"
    file.write_text(configuration(), encoding="ascii")
    with ExitStack() as undo:
        with lab.server.entered():
            at = str(lab.server.address4), 21
            listener = undo.enter_context(socket.create_server(at))
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        undo.callback(listener.shutdown, socket.SHUT_RDWR)
        running = RunningGateway(lab, ["--config", str(file)], name="binds")
        undo.callback(running.stop)
        yield running


def accept(listener: socket.socket) -> None:
    """Serve every client, until the listener is shut down."""
    with suppress(OSError):
        while True:
            threading.Thread(target=agree, args=(listener.accept()[0],), daemon=True).start()


def agree(connection: socket.socket) -> None:
    """Say 200 to each line."""
    with connection, connection.makefile("rb") as lines, suppress(OSError):
        connection.sendall(b"220 Hello\r\n")
        for _line in lines:
            connection.sendall(b"200 Yes\r\n")


class FtpLine:
    """A control connection through the gateway."""

    def __init__(self, host: Host, lab: Lab, undo: ExitStack) -> None:
        with host.entered():
            self._sock = socket.create_connection((str(lab.server.address4), 21), 20.0)
        undo.enter_context(self._sock)
        self._host = host
        self._replies = undo.enter_context(self._sock.makefile("rb"))
        assert self._replies.readline().startswith(b"220")

    def announce(self, port: int) -> None:
        """Ask for a port of the gateway, by PORT."""
        place = format_port_argument(Endpoint(self._host.address4, port))
        self._sock.sendall(b"PORT %s\r\n" % place)
        assert self._replies.readline().startswith(b"200")


def seconds_of_a_flood(flooder: FtpLine) -> float:
    began = time.monotonic()
    for number in range(BINDS):
        flooder.announce(10_000 + number)
    return time.monotonic() - began


@pytest.mark.usefixtures("gateway")
def test_a_flood_of_binds_in_vain_waits_for_itself_while_there_is_a_neighbour(lab: Lab) -> None:
    flooding, neighbour = lab.clients
    with ExitStack() as undo:
        flooder = FtpLine(flooding, lab, undo)
        FtpLine(neighbour, lab, undo).announce(10_000)
        seconds = seconds_of_a_flood(flooder)

    # The last one has not been replaced yet.
    wanted = (BINDS - 1) * limits.DELAY_FOR_A_BIND_IN_VAIN - limits.DELAY_FORGIVEN
    assert seconds > wanted - limits.DELAY_FOR_A_BIND_IN_VAIN
