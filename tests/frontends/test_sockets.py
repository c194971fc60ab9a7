import socket

import pytest

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.frontends import sockets
from sallyport.frontends.sockets import control_listener, transparent_socket
from sallyport.sockets import endpoint_of, make


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


def test_a_socket_that_may_not_be_transparent_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[socket.socket] = []

    def refuse(made: socket.socket) -> None:
        refused.append(made)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sockets, "make_transparent", refuse)
    with pytest.raises(PermissionError):
        transparent_socket(Transport.UDP, 6)

    assert [made.fileno() for made in refused] == [-1]
