import socket

import pytest

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.frontends import sockets
from sallyport.frontends.sockets import control_listener, foreign_socket
from sallyport.io.sockets import endpoint_of, make


def test_urgent_data_stays_in_its_place_on_whatever_a_control_listener_accepts() -> None:
    with control_listener(make(Transport.TCP, 4), Endpoint.parse("127.0.0.1:0")) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            client.send(b"\xf2", socket.MSG_OOB)
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(1) == b"\xf2"


def test_a_listener_that_cannot_be_bound_is_closed() -> None:
    with control_listener(make(Transport.TCP, 4), Endpoint.parse("127.0.0.1:0")) as taken:
        taken.listen()
        second = make(Transport.TCP, 4)
        with pytest.raises(OSError, match="in use"):
            control_listener(second, endpoint_of(taken.getsockname()))

    assert second.fileno() == -1


class Refusal:
    """What makes a socket transparent, where that is not allowed."""

    def __init__(self) -> None:
        self.refused: list[socket.socket] = []

    def __call__(self, made: socket.socket) -> None:
        self.refused.append(made)
        raise PermissionError(1, "Operation not permitted")


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> Refusal:
    refuse = Refusal()
    monkeypatch.setattr(sockets, "make_transparent", refuse)
    return refuse


def test_without_the_capability_nobody_speaks_for_others(refusal: Refusal) -> None:
    with pytest.raises(PermissionError):
        foreign_socket(Transport.TCP, Endpoint.parse("192.0.2.7:0"))

    assert [made.fileno() for made in refusal.refused] == [-1]
