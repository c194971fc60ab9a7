"""Ports that a client asks for by PCP, and through which a host outside fetches something."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from tests.interop.test_pcp import INSIDE, ask, map_request
from tests.soak.network import ASK_AGAIN_SECONDS, ASK_TIMES, FAMILIES, PATIENCE, Network
from tests.soak.visits import Phase, Visit, compare, endpoint, read

from sallyport.lab.host import Host
from sallyport.wire.pcp import PcpResult

# Of a mapping whose client fails: it is gone before the books are closed.
_LEASE_SECONDS = 60


def mapping(network: Network, visit: Visit) -> None:
    """Ask for a port by PCP, let a host outside fetch something there, and give it back."""
    client, peer = visit.client, network.outsiders[0]
    content = network.content["some"]
    with _listening(client, visit.family) as listener:
        port = listener.getsockname()[1]
        answer = _ask_pcp(client, visit.family, port, _LEASE_SECONDS)
        at = str(_address_of(answer[44:60])), int.from_bytes(answer[42:44], "big")
        # By the process that made it; and by the next one, which finds the connection alone.
        visit.is_named(at)
        visit.is_named(listener.getsockname())
        visit.phase = Phase.OPEN
        with peer.entered():
            outer = socket.create_connection(at, PATIENCE)
        with outer:
            inner, _ = listener.accept()
            with visit.transfer(endpoint(outer.getsockname()), len(content)), inner:
                inner.settimeout(PATIENCE)
                inner.sendall(content)
                inner.shutdown(socket.SHUT_WR)
                compare(read(outer, visit), content)
                outer.shutdown(socket.SHUT_WR)
                assert inner.recv(1) == b""
        _ask_pcp(client, visit.family, port, 0)


def _address_of(packed: bytes) -> str:
    if packed[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntoa(packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


@contextmanager
def _listening(host: Host, family: int) -> Iterator[socket.socket]:
    with host.entered():
        listener = socket.create_server((str(host.address(family)), 0), family=FAMILIES[family])
    listener.settimeout(PATIENCE)
    with closing(listener):
        yield listener


def _ask_pcp(client: Host, family: int, port: int, lifetime: int) -> bytes:
    request = map_request(client.address(family), port, lifetime)
    for _ in range(ASK_TIMES):
        with suppress(TimeoutError, ConnectionRefusedError):
            answer = ask(client, request, INSIDE[family], seconds=ASK_AGAIN_SECONDS)
            if answer[3] != PcpResult.NETWORK_FAILURE:
                assert answer[3] == PcpResult.SUCCESS, answer[3]
                return answer
            # It passes: the gateway has no external address at this moment.
            threading.Event().wait(ASK_AGAIN_SECONDS)
    raise TimeoutError("no answer by PCP")
