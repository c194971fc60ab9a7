import socket

import pytest

from sallyport.addresses import Endpoint
from sallyport.frontends.sockets import control_listener, endpoint_of, family_of, tcp_socket


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [(("203.0.113.9", 21), "203.0.113.9:21"), (("2001:db8::9", 21, 0, 0), "[2001:db8::9]:21")],
)
def test_socket_names_of_both_families_are_read(name: tuple[object, ...], endpoint: str) -> None:
    assert endpoint_of(name) == Endpoint.parse(endpoint)


def test_families_have_their_numbers() -> None:
    assert (family_of(4), family_of(6)) == (socket.AF_INET, socket.AF_INET6)


def test_urgent_data_stays_in_its_place_on_whatever_a_control_listener_accepts() -> None:
    with control_listener(tcp_socket(socket.AF_INET), Endpoint.parse("127.0.0.1:0")) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            client.send(b"\xf2", socket.MSG_OOB)
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(1) == b"\xf2"


def test_a_listener_that_cannot_be_bound_is_closed() -> None:
    with control_listener(tcp_socket(socket.AF_INET), Endpoint.parse("127.0.0.1:0")) as taken:
        taken.listen()
        second = tcp_socket(socket.AF_INET)
        with pytest.raises(OSError, match="in use"):
            control_listener(second, endpoint_of(taken.getsockname()))

    assert second.fileno() == -1
