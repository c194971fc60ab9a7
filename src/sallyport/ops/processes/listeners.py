"""The listening sockets of a gateway: the supervisor makes and keeps them, workers accept at them.

They outlive a worker: who connects while one is replaced waits in the queue and is served by the
next. So does who connects while an outgoing generation hands over to the next.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sallyport.addresses import Endpoint
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.frontends.api.server import api_socket, worker_path
from sallyport.frontends.tproxy import intercepting_socket, publishing_socket
from sallyport.frontends.udp import publishing_datagram_socket
from sallyport.io.interception import intercepting_datagram_socket
from sallyport.io.sockets import attach_program
from sallyport.kernel import sharding
from sallyport.ops.arrivals import Place
from sallyport.ops.processes.messages import Publication

# Not in the socket module (asm-generic/socket.h).
_SO_ATTACH_REUSEPORT_CBPF: Final = 51

_PUBLISHING: Final = {
    Transport.TCP: publishing_socket,
    Transport.UDP: publishing_datagram_socket,
}


_UNIX: Final = "UNIX"


class Listeners:
    """The sockets, by place; at each place one for every worker."""

    def __init__(
        self, workers: int, sockets: Mapping[Place, list[socket.socket]] | None = None
    ) -> None:
        """Take over `sockets`, of an earlier gateway with as many workers."""
        self._workers = workers
        self._sockets: dict[Place, list[socket.socket]] = dict(sockets or {})

    def open(
        self, intercepting: Iterable[Place], published: Mapping[Place, Publication]
    ) -> set[Place]:
        """Make the sockets that are missing and return their places.

        Raises StartupError, with those it made closed again.
        """
        opened: set[Place] = set()
        wanted = dict.fromkeys(intercepting) | dict(published)
        try:
            for place in wanted.keys() - self._sockets.keys():
                self._sockets[place] = []
                opened.add(place)
                for index in range(self._workers):
                    self._sockets[place].append(_make(place, wanted[place], index, self._workers))
                if publication := wanted[place]:
                    _share_out(publication, self._sockets[place])
        except StartupError:
            self.close(opened)
            raise
        except OSError as error:
            self.close(opened)
            raise StartupError(f"cannot make a listening socket: {error.strerror}") from None
        return opened

    def close(self, places: Iterable[Place]) -> None:
        """Close the sockets at these places; who waits there is reset."""
        for place in tuple(places):
            for made in self._sockets.pop(place):
                if made.family == socket.AF_UNIX:
                    Path(made.getsockname()).unlink(missing_ok=True)
                made.close()

    @property
    def places(self) -> set[Place]:
        """Where there are sockets."""
        return set(self._sockets)

    def all(self) -> Mapping[Place, Sequence[socket.socket]]:
        """Return every socket, by place."""
        return self._sockets

    def ports(self) -> dict[Place, list[int]]:
        """Return the ports of each place's sockets, worker by worker."""
        return {
            place: [int(made.getsockname()[1]) for made in sockets]
            for place, sockets in self._sockets.items()
            if sockets[0].family != socket.AF_UNIX
        }

    def of(self, worker: int) -> dict[Place, int]:
        """Return the descriptor of one worker's socket at each place."""
        return {place: sockets[worker].fileno() for place, sockets in self._sockets.items()}


def _make(place: Place, publication: Publication | None, index: int, workers: int) -> socket.socket:
    if publication is not None and publication.transport == _UNIX:
        return api_socket(worker_path(publication.listen, index), publication.group)
    if publication is not None:
        publish = _PUBLISHING[Transport[publication.transport]]
        return publish(
            Endpoint.parse(publication.listen),
            publication.owner,
            may_be_absent=publication.may_be_absent,
            is_shared=workers > 1,
        )
    makers = {"tcp": intercepting_socket, "udp": intercepting_datagram_socket}
    return makers[place[:3]](int(place[3:]))


def _share_out(publication: Publication, sockets: Sequence[socket.socket]) -> None:
    """Let the kernel choose among the sockets at one address as it chooses among workers."""
    if len(sockets) < 2 or publication.transport == _UNIX:
        return
    # The index that the program returns is a socket's turn to be bound (UDP) or to listen. It
    # stays: the supervisor keeps a duplicate of each for as long as the place is wanted.
    for made in sockets if publication.transport == Transport.TCP.name else ():
        made.listen()
    program = sharding.selector(Endpoint.parse(publication.listen).version, len(sockets))
    attach_program(sockets[0], _SO_ATTACH_REUSEPORT_CBPF, program)
