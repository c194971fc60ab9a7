"""The options that make a socket ours."""

import errno
import socket

import pytest
from tests.relay.loopback import HOSTS, TCP, UDP, endpoint_of

from sallyport.addresses import Endpoint
from sallyport.errors import AddressInUse, AddressNotAvailable, KernelError
from sallyport.io.sockets import make, name_of
from sallyport.relay import sockets


def at(host: str, port: int = 0) -> Endpoint:
    return Endpoint.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


@pytest.mark.parametrize("host", HOSTS)
def test_a_bound_udp_socket_is_deaf_until_it_is_told_to_hear(host: str) -> None:
    with sockets.bound(UDP, at(host)) as ours, make(UDP, at(host).version) as theirs:
        theirs.sendto(b"one", ours.getsockname())
        sockets.undeafen(ours)
        theirs.sendto(b"two", ours.getsockname())
        sockets.deafen(ours)
        theirs.sendto(b"three", ours.getsockname())

        assert ours.recv(10) == b"two"
        with pytest.raises(BlockingIOError):
            ours.recv(10)


def test_a_bound_port_is_kept_from_programs_that_share_ports() -> None:
    with sockets.bound(TCP, at("127.0.0.1")) as ours, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        with pytest.raises(OSError, match="in use"):
            other.bind(ours.getsockname())


def test_whoever_waits_is_reset_when_listening_stops_and_the_port_stays_held() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wanted = endpoint_of(probe)
    with sockets.bound(TCP, wanted) as ours:
        sockets.listen(ours, 1)
        with socket.create_connection(name_of(wanted)) as waiting:
            sockets.stop_listening(ours)

            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(name_of(wanted))


def test_a_receive_buffer_is_widened_and_never_narrowed() -> None:
    with make(UDP, 4) as sock:
        own = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

        sockets.widen_receive_buffer(sock, 1024)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == own
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sockets.widen_receive_buffer(sock, 65536)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 65536


@pytest.mark.parametrize(
    ("number", "expected", "code"),
    [
        (errno.EADDRINUSE, AddressInUse, "port-held-by-local-program"),
        (errno.EPERM, AddressNotAvailable, "foreign-address-needs-cap-net-admin"),
        (errno.EINVAL, KernelError, "open a socket"),
    ],
)
def test_every_failure_keeps_its_reason(number: int, expected: type[Exception], code: str) -> None:
    refusal = sockets.refusal(OSError(number, "refused"))

    assert type(refusal) is expected
    assert code in str(refusal)
