"""The relay of control connections, seen from both ends of the wire."""

import json
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

TIMEOUT = 20.0
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    running = RunningGateway(lab)
    yield running
    running.stop()


def events(gateway: RunningGateway, name: str) -> list[dict[str, object]]:
    records = [json.loads(line) for line in gateway.journal()]
    return [record for record in records if record["event"] == name]


def await_reason(gateway: RunningGateway, event: str, reason: str) -> None:
    """Return once the latest such event has this reason."""

    def is_noted() -> bool:
        return [record["reason"] for record in events(gateway, event)][-1:] == [reason]

    wait_until(gateway.process, is_noted, gateway.log, f"no {event} because of {reason}")


@contextmanager
def conversation(lab: Lab, family: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a control connection through the gateway, after the greeting."""
    address = str(lab.server.address(family))
    with lab.server.entered():
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        listener = socket.create_server((address, 21), family=kind)
    with listener:
        listener.settimeout(TIMEOUT)
        with lab.client.entered():
            client = socket.create_connection((address, 21), TIMEOUT)
        with client:
            server, _ = listener.accept()
            with server:
                server.settimeout(TIMEOUT)
                server.sendall(b"220 ready\r\n")
                assert client.recv(100) == b"220 ready\r\n"
                yield client, server


def connect_and_listen(lab: Lab, family: int) -> bytes:
    """Connect to the server's FTP port and give what comes; the reset may overtake the connect."""
    with lab.client.entered():
        address = (str(lab.server.address(family)), 21)
        with socket.create_connection(address, TIMEOUT) as client:
            return client.recv(1)


def taken_of(data: bytes, connection: socket.socket) -> int:
    """Send until the other side stops taking; give how many bytes it took."""
    connection.settimeout(1.0)
    sent = 0
    with memoryview(data) as view:
        while sent < len(data):
            try:
                sent += connection.send(view[sent : sent + 65_536])
            except TimeoutError:
                break
    return sent


def reset(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.usefixtures("gateway")
def test_on_a_nat_relation_the_server_sees_the_gateway(lab: Lab) -> None:
    with conversation(lab, 4) as (_, server):
        assert server.getpeername()[0] == "203.0.113.1"


@pytest.mark.usefixtures("gateway")
def test_on_a_routed_relation_the_server_sees_the_client(lab: Lab) -> None:
    with conversation(lab, 6) as (_, server):
        assert server.getpeername()[0] == "fd00:a::8"


@FAMILIES
def test_a_reset_of_the_client_reaches_the_server(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    with conversation(lab, family) as (client, server):
        reset(client)

        with pytest.raises(ConnectionResetError):
            server.recv(1)

    await_reason(gateway, "connect.closed", "client-reset")


@FAMILIES
def test_a_reset_of_the_server_reaches_the_client(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    with conversation(lab, family) as (client, server):
        reset(server)

        with pytest.raises(ConnectionResetError):
            client.recv(1)

    await_reason(gateway, "connect.closed", "server-reset")


@FAMILIES
@pytest.mark.usefixtures("gateway")
def test_a_client_that_has_said_everything_still_hears_the_answer(family: int, lab: Lab) -> None:
    with conversation(lab, family) as (client, server):
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        assert server.recv(100) == b"QUIT\r\n"
        assert server.recv(100) == b""
        server.sendall(b"221 bye\r\n")
        server.close()

        assert client.recv(100) == b"221 bye\r\n"
        assert client.recv(100) == b""


@FAMILIES
@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("marked", [b"\xf2", b"\xff", b"ABOR\r\n"])
def test_f15_an_abort_with_urgent_telnet_data_reaches_the_server_with_its_mark(
    family: int, marked: bytes, lab: Lab
) -> None:
    abort = b"\xff\xf4\xff\xf2ABOR\r\n"
    before, _, after = abort.partition(marked) if marked != b"\xff" else (abort[:2], b"", abort[3:])
    with conversation(lab, family) as (client, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        mark = select.poll()
        mark.register(server, select.POLLPRI)
        client.sendall(before)
        client.send(marked, socket.MSG_OOB)
        client.sendall(after)

        assert mark.poll(5000)
        heard = b""
        while len(heard) < len(abort):
            heard += server.recv(100)
        assert heard == abort


@FAMILIES
def test_a_server_that_refuses_resets_the_client_with_a_reason(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    with pytest.raises(ConnectionResetError):
        connect_and_listen(lab, family)

    await_reason(gateway, "connect.closed", "server-refused-connection")


@FAMILIES
def test_h01_an_http_request_to_the_ftp_port_ends_the_session(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    with conversation(lab, family) as (client, server):
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nPORT 10,0,0,8,0,22\r\n")

        with pytest.raises(ConnectionResetError):
            server.recv(1)

    await_reason(gateway, "connect.closed", "not-ftp-http")


@FAMILIES
@pytest.mark.usefixtures("gateway")
def test_a_slow_server_slows_its_client_instead_of_filling_memory(family: int, lab: Lab) -> None:
    with conversation(lab, family) as (client, server):
        client.sendall(b"AUTH TLS\r\n")
        assert server.recv(100) == b"AUTH TLS\r\n"
        server.sendall(b"234 go\r\n")
        assert client.recv(100) == b"234 go\r\n"
        # From here on the stream is opaque: whole TLS records, which the server does not read.
        records = (b"\x16\x03\x01\x40\x00" + bytes(0x4000)) * 4096

        # Two socket buffers on the way and ours; the kernel's limits are 4 to 6 MiB each.
        assert taken_of(records, client) < 32 * 1024 * 1024
