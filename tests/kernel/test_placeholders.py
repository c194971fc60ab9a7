"""Reserved ports, on loopback with real sockets."""

import errno
import resource
import socket
from collections.abc import Iterator

import pytest

from sallyport.addresses import Endpoint, parse_address
from sallyport.errors import AddressInUse, AddressNotAvailable, KernelError, OutOfResources
from sallyport.flags import Transport
from sallyport.kernel.placeholders import Placeholders, raise_descriptor_limit

LOOPBACK = ["127.0.0.1", "::1"]


@pytest.fixture
def ports() -> Iterator[Placeholders]:
    placeholders = Placeholders(limit=2)
    yield placeholders
    placeholders.close()


def free_port(host: str) -> Endpoint:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return Endpoint(parse_address(host), sock.getsockname()[1])


def can_bind(at: Endpoint) -> bool:
    family = socket.AF_INET6 if at.version == 6 else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((str(at.address), at.port))
            sock.listen()
        except OSError as error:
            assert error.errno == errno.EADDRINUSE  # noqa: PT017
            return False
    return True


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_reserved_port_is_kept_from_local_programs_until_released(
    ports: Placeholders, host: str
) -> None:
    at = free_port(host)
    ports.reserve(Transport.TCP, at)
    assert not can_bind(at)
    ports.release(Transport.TCP, at)
    ports.release(Transport.TCP, at)

    assert can_bind(at)


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_port_that_a_local_program_has_is_in_use(ports: Placeholders, host: str) -> None:
    at = free_port(host)
    family = socket.AF_INET6 if at.version == 6 else socket.AF_INET
    with socket.socket(family) as program:
        program.bind((host, at.port))

        with pytest.raises(AddressInUse, match="local-program"):
            ports.reserve(Transport.TCP, at)


def test_a_port_is_reserved_once(ports: Placeholders) -> None:
    at = free_port("127.0.0.1")
    ports.reserve(Transport.TCP, at)

    with pytest.raises(AddressInUse, match="already"):
        ports.reserve(Transport.TCP, at)
    ports.reserve(Transport.UDP, at)


def test_beyond_the_limit_a_port_is_looked_at_and_not_held(ports: Placeholders) -> None:
    first, second, third, fourth = (free_port("127.0.0.1") for _ in range(4))
    for at in (first, second, third):
        ports.reserve(Transport.TCP, at)
    assert [can_bind(at) for at in (first, second, third)] == [False, False, True]
    with pytest.raises(AddressInUse, match="already"):
        ports.reserve(Transport.TCP, third)

    ports.release(Transport.TCP, third)
    ports.release(Transport.TCP, first)
    ports.reserve(Transport.TCP, fourth)
    assert not can_bind(fourth)


def test_the_process_takes_all_the_descriptors_it_may_have() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard))

        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_datagram_that_cannot_be_sent_is_lost_without_a_word(ports: Placeholders) -> None:
    nowhere = Endpoint.parse("0.0.0.0:9")
    ports.reserve(Transport.UDP, at := free_port("127.0.0.1"))

    ports.send(at, nowhere, bytes(70_000))
    ports.send(Endpoint.parse("192.0.2.1:4000"), nowhere, bytes(70_000))


@pytest.mark.parametrize("address", ["192.0.2.1:40000", "[2001:db8::1]:40000"])
def test_an_address_of_another_host_is_not_available(ports: Placeholders, address: str) -> None:
    with pytest.raises(AddressNotAvailable):
        ports.reserve(Transport.TCP, Endpoint.parse(address))


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EMFILE, OutOfResources), (errno.EACCES, KernelError)]
)
def test_other_failures_keep_their_reason(
    ports: Placeholders, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(*_arguments: object) -> socket.socket:
        raise OSError(number, "refused")

    monkeypatch.setattr(socket, "socket", refuse)

    with pytest.raises(expected):
        ports.reserve(Transport.TCP, Endpoint.parse("127.0.0.1:40000"))


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
def test_a_port_of_an_own_address_is_held_before_the_address_is_on_the_host(address: str) -> None:
    own = parse_address(address)
    ports = Placeholders(limit=2, absent=frozenset({own}))
    ports.reserve(Transport.TCP, Endpoint(own, 40000))

    with pytest.raises(AddressInUse):
        ports.reserve(Transport.TCP, Endpoint(own, 40000))
    ports.close()


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_shared_port_is_held_by_several_processes_and_by_no_other_program(
    ports: Placeholders, host: str
) -> None:
    at, other = free_port(host), Placeholders(limit=2)
    try:
        for one in (ports, other):
            one.reserve(Transport.TCP, at, is_shared=True)
        assert not can_bind(at)
        ports.release(Transport.TCP, at)
        assert not can_bind(at)
    finally:
        other.close()
    assert can_bind(at)
