"""One client cannot take the last descriptors, however few there are."""

import json
import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

# 1024 descriptors: 384 connections of all clients, 96 of one.
FEW = ("sh", "-c", 'ulimit -n 1024; exec "$@"', "few")
ONE_CLIENT_MAY = (1024 - 1024 // 4) // 2 // 4


def greet_everybody(listener: socket.socket, held: list[socket.socket]) -> None:
    with suppress(OSError):  # it is closed at the end
        while True:
            held.append(listener.accept()[0])
            held[-1].sendall(b"220 ready\r\n")


def is_served(host: Host, there: tuple[str, int], undo: ExitStack) -> bool:
    with host.entered():
        sock = undo.enter_context(socket.create_connection(there, timeout=10))
    try:
        return sock.recv(3) == b"220"
    except ConnectionResetError:
        return False


@pytest.mark.parametrize("family", [4, 6])
def test_a_client_that_takes_all_it_can_leaves_the_others_their_service(
    family: int, lab: Lab
) -> None:
    there = str(lab.server.address(family)), 21
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    greedy, neighbour = lab.clients[0], lab.clients[1]
    gateway = RunningGateway(lab, wrapper=FEW)
    held: list[socket.socket] = []
    with ExitStack() as undo:
        undo.callback(gateway.stop)
        with lab.server.entered():
            listener = undo.enter_context(socket.create_server(there, family=kind, backlog=512))
        greeting = threading.Thread(target=greet_everybody, args=(listener, held))
        greeting.start()
        undo.callback(greeting.join)
        undo.callback(lambda: listener.shutdown(socket.SHUT_RDWR))

        served = [is_served(greedy, there, undo) for _ in range(2 * ONE_CLIENT_MAY)]

        assert served == [True] * ONE_CLIENT_MAY + [False] * ONE_CLIENT_MAY
        refusals = json.loads(gateway.ask("status", "--json").stdout)["refusals"]
        assert refusals["too-many-controls"] == ONE_CLIENT_MAY
        # In IPv6 the two clients of the lab are one host: they have their /64 in common.
        assert is_served(neighbour, there, undo) is (family == 4)
    for sock in held:
        sock.close()
