import errno
import os
import socket
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.kernel.sharding import worker_of
from sallyport.ops.processes import listeners as module
from sallyport.ops.processes.listeners import Listeners
from sallyport.ops.processes.messages import Publication


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put plain sockets at any port in the place of those that need privileges."""
    for name in ("intercepting_socket", "intercepting_datagram_socket"):
        monkeypatch.setattr(module, name, lambda _version: socket.create_server(("127.0.0.1", 0)))


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def publish(listen: str, transport: Transport = Transport.TCP) -> Publication:
    return Publication("ours", listen, transport.name)


def test_each_worker_has_a_socket_at_each_place() -> None:
    listeners = Listeners(2)

    assert listeners.open(["tcp4", "udp4"], {}) == {"tcp4", "udp4"}

    ports = listeners.ports()
    assert [len(set(ports[place])) for place in ("tcp4", "udp4")] == [2, 2]
    first, second = (listeners.of(worker) for worker in range(2))
    assert first.keys() == second.keys() == {"tcp4", "udp4"}
    assert not set(first.values()) & set(second.values())
    listeners.close(listeners.places)


def test_what_is_there_stays_and_what_is_missing_is_made() -> None:
    listeners, listen = Listeners(1), free_address()
    listeners.open(["tcp4"], {})
    before = listeners.of(0)

    assert listeners.open(["tcp4"], {"here": publish(listen)}) == {"here"}

    assert listeners.of(0)["tcp4"] == before["tcp4"]
    assert listeners.ports()["here"] == [Endpoint.parse(listen).port]
    listeners.close(listeners.places)
    assert listeners.places == set()


def test_clients_of_a_published_server_reach_the_socket_of_their_worker() -> None:
    workers, listen = 3, free_address()
    listeners = Listeners(workers)
    listeners.open([], {"here": publish(listen)})
    sockets = [socket.socket(fileno=os.dup(listeners.of(n)["here"])) for n in range(workers)]
    expected: dict[int, set[str]] = {n: set() for n in range(workers)}
    accepted: dict[int, set[str]] = {n: set() for n in range(workers)}
    at = Endpoint.parse(listen)
    with ExitStack() as undo:
        for number in range(1, 40):
            client = f"127.0.1.{number}"
            expected[worker_of(ip_address(client), workers)].add(client)
            name = (str(at.address), at.port)
            undo.enter_context(socket.create_connection(name, 10, source_address=(client, 0)))
        for number, listener in enumerate(sockets):
            undo.enter_context(listener)
            listener.settimeout(10)
            while len(accepted[number]) < len(expected[number]):
                leg, peer = listener.accept()
                undo.enter_context(leg)
                accepted[number].add(peer[0])
    listeners.close(listeners.places)

    assert accepted == expected
    assert all(expected.values())


def test_datagrams_for_a_published_server_reach_the_socket_of_their_clients_worker() -> None:
    workers, listen = 3, free_address()
    listeners = Listeners(workers)
    listeners.open([], {"here": publish(listen, Transport.UDP)})
    at = Endpoint.parse(listen)
    heard: dict[int, set[str]] = {}
    expected: dict[int, set[str]] = {n: set() for n in range(workers)}
    for number in range(1, 40):
        client = f"127.0.1.{number}"
        expected[worker_of(ip_address(client), workers)].add(client)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.bind((client, 0))
            speaker.sendto(b"ask", (str(at.address), at.port))
    for number in range(workers):
        with socket.socket(fileno=os.dup(listeners.of(number)["here"])) as listener:
            listener.settimeout(10)
            heard[number] = {listener.recvfrom(10)[1][0] for _ in expected[number]}
    listeners.close(listeners.places)

    assert heard == expected
    assert all(expected.values())


def test_a_port_may_be_published_over_both_transports() -> None:
    listeners, listen = Listeners(1), free_address()
    places = {kind.name: publish(listen, kind) for kind in Transport}

    assert listeners.open([], places) == {"TCP", "UDP"}

    types = {}
    for place, descriptor in listeners.of(0).items():
        with socket.socket(fileno=os.dup(descriptor)) as made:
            types[place] = made.type
    assert types == {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
    listeners.close(listeners.places)


@pytest.mark.parametrize("transport", Transport)
def test_one_that_cannot_be_made_leaves_none_behind(transport: Transport) -> None:
    kind = socket.SOCK_STREAM if transport is Transport.TCP else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as theirs:
        theirs.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{theirs.getsockname()[1]}"
        listeners = Listeners(1)
        listeners.open(["tcp4"], {})

        with pytest.raises(StartupError, match="ours: cannot listen"):
            listeners.open(["tcp4", "udp4"], {"here": publish(taken, transport)})

        assert listeners.places == {"tcp4"}
        listeners.close(listeners.places)


def test_a_place_whose_sockets_cannot_all_be_made_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners = Listeners(2)
    made = iter([socket.create_server(("127.0.0.1", 0))])

    def make(_version: int) -> socket.socket:
        for one in made:
            return one
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module, "intercepting_socket", make)

    with pytest.raises(StartupError, match="Too many open files"):
        listeners.open(["tcp4"], {})
    assert listeners.places == set()
