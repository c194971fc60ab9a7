"""TCP in user mode: the port, where peers are accepted.

A peer that is not let in is not answered, as on the kernel's path; where too many are let in to
list them, it is reset at once. It never counts. A single pinhole serves one peer at a time: while
the sink decides or the client is dialled, the next peers wait in the accept queue. If the client
refuses, the next one gets its chance; if it accepts, the waiting ones are reset. So no peer is lost
to a listener that closes and opens again, and exactly one is ever connected through.
"""

import contextlib
import socket

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.io.acceptor import Acceptor
from sallyport.io.sockets import prepare_leg
from sallyport.relay import sockets
from sallyport.relay.attempts import StreamAttempt
from sallyport.relay.bound_ports import BoundPort, RelayContext
from sallyport.relay.peer_program import program


class TcpPort(BoundPort):
    """Listens while an opening is reachable; otherwise its socket only holds the port."""

    def __init__(self, context: RelayContext, sock: socket.socket, *, is_reserved: bool) -> None:
        super().__init__(context, sock, is_reserved=is_reserved)
        self._is_listening = False
        self._peers: bytes | None = None
        """The program that says whom the socket answers; None: anyone."""
        self._acceptor = Acceptor(context.loop, context.poller, sock, self._meet)

    @property
    def is_needed(self) -> bool:
        """Whether an opening needs the socket; flows have their own."""
        return any(opening.is_open for opening in self.openings)

    @property
    def strangers(self) -> int:
        """Implement `BoundPort.strangers`: with those whom its filter has dropped."""
        return self._strangers + sockets.dropped(self.socket)

    def settle(self) -> None:
        """Implement `BoundPort.settle`."""
        self.openings = [opening for opening in self.openings if not opening.is_over]
        wanted = [opening.pinhole for opening in self.openings if opening.is_reachable]
        backlogs = [_backlog(pinhole) for pinhole in wanted]
        if backlogs:
            # Before it listens: no stranger is answered in between.
            self._answer_only(program(wanted, wanted[0].listen.version))
        if backlogs and not self._is_listening:
            self.show()
            prepare_leg(self.socket)
            sockets.listen(self.socket, max(backlogs))
        elif self._is_listening and not backlogs:
            self._acceptor.turn(is_on=False)
            sockets.stop_listening(self.socket)
        self._is_listening = bool(backlogs)
        is_busy = any(o.attempts and o.pinhole.single for o in self.openings)
        self._acceptor.turn(is_on=self._is_listening and not is_busy)

    def close(self) -> None:
        """Implement `BoundPort.close`; what waits in the accept queue is reset."""
        self._acceptor.turn(is_on=False)
        self.socket.close()

    def _answer_only(self, peers: bytes | None) -> None:
        if peers == self._peers:
            return
        self._peers = peers
        # Without CAP_NET_ADMIN Linux (6.18) lets no TCP socket have a filter. A stranger then gets
        # a handshake, and a reset at once: `find` decides in any case.
        with contextlib.suppress(PermissionError):
            sockets.answer_only(self.socket, peers)

    def _meet(self, accepted: socket.socket, peer: Endpoint) -> None:
        opening = self.find(peer)
        if opening is None or opening.is_full:
            accepted.close()
            if opening is not None:
                self.context.sink.flow_turned_away(opening.pinhole.id, peer)
            return
        attempt = StreamAttempt(self.context, opening, peer, accepted)
        self.settle()
        self.context.sink.flow_arrived(opening.pinhole.id, peer, attempt)


def _backlog(pinhole: Pinhole) -> int:
    """Return how many connections may wait: many peers come at once where many are let in."""
    if pinhole.single:
        return pinhole.backlog
    return max(pinhole.backlog, limits.MIN_BACKLOG_FOR_MANY)
