"""Sockets as every part of the gateway makes them."""

import errno
import socket

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import AddressInUse, AddressNotAvailable, KernelError, OutOfResources
from sallyport.flags import Transport
from sallyport.io import sockets
from sallyport.io.sockets import SocketName

FAMILIES = [(4, socket.AF_INET), (6, socket.AF_INET6)]
KINDS = [
    (Transport.TCP, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (Transport.UDP, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
]


@pytest.mark.parametrize(("version", "family"), FAMILIES)
@pytest.mark.parametrize(("transport", "kind", "protocol"), KINDS)
def test_a_socket_is_what_was_asked_for_and_names_its_protocol(
    version: int,
    family: socket.AddressFamily,
    transport: Transport,
    kind: socket.SocketKind,
    protocol: int,
) -> None:
    with sockets.make(transport, version) as made:
        assert (made.family, made.type, made.proto) == (family, kind, protocol)


def test_a_socket_does_not_block() -> None:
    with sockets.make(Transport.UDP, 4) as made:
        assert not made.getblocking()


def test_a_socket_is_not_left_to_programs_we_start() -> None:
    with sockets.make(Transport.TCP, 4) as made:
        assert not made.get_inheritable()


def test_an_ipv6_socket_leaves_the_ipv4_port_alone() -> None:
    with sockets.make(Transport.TCP, 6) as ours, socket.socket() as other:
        ours.bind(("::", 0))

        # Not the wildcard: connections of other tests may linger at 127.0.0.1 with that port.
        other.bind(("127.0.0.64", ours.getsockname()[1]))


def test_a_socket_that_could_not_be_made_ready_is_closed() -> None:
    made = socket.socket()

    with pytest.raises(OSError, match="refused"), sockets.closed_on_error(made):
        raise OSError("refused")

    assert made.fileno() == -1


def test_a_socket_that_was_made_ready_stays_open() -> None:
    with sockets.closed_on_error(socket.socket()) as made:
        pass

    with made:
        assert made.fileno() != -1


@pytest.mark.parametrize(
    ("version", "level", "option"),
    # ipv6(7): IPV6_TRANSPARENT, which Python 3.11 does not name.
    [(4, socket.IPPROTO_IP, socket.IP_TRANSPARENT), (6, socket.IPPROTO_IPV6, 75)],
)
def test_a_transparent_socket_is_so_in_its_own_family(
    monkeypatch: pytest.MonkeyPatch, version: int, level: int, option: int
) -> None:
    told: list[tuple[int, ...]] = []
    with sockets.make(Transport.TCP, version) as made:
        # It takes CAP_NET_ADMIN; what a transparent socket can do is shown where there is some.
        monkeypatch.setattr(socket.socket, "setsockopt", lambda _self, *value: told.append(value))
        sockets.make_transparent(made)

    assert told == [(level, option, 1)]


def test_reset_on_close_turns_the_next_close_into_a_reset() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as peer,
    ):
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, sockets.RESET_ON_CLOSE)
        accepted.close()

        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_a_closed_leg_is_a_reset_and_one_that_may_end_is_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for close, expected in ((socket.socket.close, "reset"), (sockets.let_end, "end")):
            with socket.create_connection(listener.getsockname()) as peer:
                leg, _ = listener.accept()
                sockets.prepare_leg(leg)
                close(leg)
                try:
                    seen = "end" if peer.recv(1) == b"" else "bytes"
                except ConnectionResetError:
                    seen = "reset"

                assert seen == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("192.0.2.7", 20), "192.0.2.7:20"),
        (("2001:db8::7", 20, 0, 0), "[2001:db8::7]:20"),
        (("fe80::1%eth0", 20, 0, 2), "[fe80::1]:20"),
    ],
)
def test_a_socket_name_is_read_without_its_zone(name: SocketName, expected: str) -> None:
    assert sockets.endpoint_of(name) == Endpoint.parse(expected)


@pytest.mark.parametrize("text", ["192.0.2.7:20", "[2001:db8::7]:20"])
def test_an_endpoint_survives_being_written_as_a_name(text: str) -> None:
    endpoint = Endpoint.parse(text)

    assert sockets.endpoint_of(sockets.name_of(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("number", "expected", "reason"),
    [
        (errno.EADDRINUSE, AddressInUse, "port-held-by-local-program"),
        (errno.EADDRNOTAVAIL, AddressNotAvailable, "address-not-on-this-host"),
        *[(number, OutOfResources, "no-descriptor-for-socket") for number in sockets.EXHAUSTED],
        (errno.EPERM, KernelError, "reserve a port"),
    ],
)
def test_every_failure_keeps_its_reason(
    number: int, expected: type[Exception], reason: str
) -> None:
    refusal = sockets.refusal(OSError(number, "refused"), "reserve a port")

    assert type(refusal) is expected
    assert reason in str(refusal)


def test_a_leg_is_never_at_the_port_that_it_must_not_have() -> None:
    with sockets.make(Transport.TCP, 4) as first:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        made = iter([first])

        def bound() -> socket.socket:
            return next(made, None) or other()

        def other() -> socket.socket:
            assert first.fileno() != -1, "or the kernel might choose the same port again"
            another = sockets.make(Transport.TCP, 4)
            another.bind(("127.0.0.1", 0))
            return another

        with sockets.bound_beside(port, bound) as leg:
            assert leg.getsockname()[1] != port
        assert first.fileno() == -1


def test_where_there_is_no_other_port_no_leg_is_made_and_nothing_stays_open() -> None:
    made: list[socket.socket] = []

    def bound() -> socket.socket:
        one = sockets.make(Transport.TCP, 4)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(made[0].getsockname() if made else ("127.0.0.1", 0))
        made.append(one)
        return one

    with bound() as first, pytest.raises(OSError, match="in use"):
        sockets.bound_beside(first.getsockname()[1], bound)

    assert [one.fileno() for one in made[1:]] == [-1] * len(made[1:])
