"""One control connection: from its arrival, by way of its server, to its end."""

import asyncio
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.policy.protocols import Direction
from sallyport.core.policy.rules import Relation
from sallyport.core.runtime.deadlines import Deadline
from sallyport.flags import ConnectionFlags, Transport
from sallyport.frontends.sockets import another_port_of, gateway_socket
from sallyport.frontends.unreachable import end_unreachable
from sallyport.io.fair_poller import FairPoller
from sallyport.io.filtered_stream import Ending, FilteredStream
from sallyport.io.pipes import Pipes
from sallyport.io.sockets import (
    endpoint_of,
    has_failed,
    let_end,
    name_of,
    prepare_leg,
)
from sallyport.io.spliced_stream import SplicedStream

_REASONS: Final = {
    Ending.ACCEPTED_RESET: "client-reset",
    Ending.DIALLED_RESET: "server-reset",
    Ending.ABORTED: "reset-by-filter",
}


class Words(Protocol):
    """What a client that asked us for its connection is told before the server's first byte."""

    def connected(self, ours: Endpoint) -> bytes:
        """Return what it is told when the server has answered us at `ours`."""

    def failed(self, error: OSError | None) -> bytes:
        """Return what it is told when it gets no connection; None: a filter denies it."""


class ControlConnection:
    """A client that was admitted, until its stream has begun (`datapath.Link`).

    Nothing is read before the server has answered. With `words` the client hears them, and its
    bytes are spliced where no filter looks at them.
    """

    def __init__(
        self,
        gateway: Gateway,
        poller: FairPoller,
        primary: PrimaryConnection,
        *,
        accepted: socket.socket,
        words: Words | None = None,
        pipes: Pipes | None = None,
    ) -> None:
        """Take over `accepted`, a leg (`sockets.prepare_leg`)."""
        self._words = words
        self._pipes = pipes
        self._error: OSError | None = None
        self._gateway = gateway
        self._poller = poller
        self._primary = primary
        self._host = gateway.policy.host_of(primary.client.address)
        """Whose turn it takes: an IPv6 host with many addresses has one."""
        self._accepted = accepted
        self._dialled: socket.socket | None = None
        """The server's side, while it does not answer yet."""
        self._patience: Deadline | None = None

    def begin(self) -> None:
        """Announce the connection to the filters, then dial the server."""
        self._poller.watch(self._accepted, self._hung_up)
        self._primary.link = self
        self._gateway.announce_primary(self._primary, self._ready)

    def abort(self) -> None:
        """Reset the client and stop dialling the server (`datapath.Link.abort`)."""
        self._let_go()
        if self._words is None:
            self._accepted.close()
        else:
            self._say(self._words.failed(self._error))
            let_end(self._accepted)

    def close(self) -> None:
        """Close the client's socket and stop dialling (`datapath.Link.close`).

        Nothing was sent yet.
        """
        self._let_go()
        let_end(self._accepted)

    def _hung_up(self, _events: int) -> None:
        if has_failed(self._accepted):
            self._primary.kill("client-reset")

    def _let_go(self) -> None:
        self._poller.forget(self._accepted)
        self._stop_dialling()
        if self._dialled is not None:
            self._poller.forget(self._dialled)
            self._dialled.close()
            self._dialled = None

    def _stop_dialling(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _ready(self) -> None:
        with self._fenced():
            if self._primary.is_emulated:
                self._start(None, appearance(self._primary))
                return
            self._dialled = dialled = _dial(self._primary)
            self._poller.watch(dialled, self._answered, client=self._host, events=select.EPOLLOUT)
            self._patience = self._gateway.call_later(
                limits.CONNECT_TIMEOUT_SECONDS, self._unanswered
            )

    def _answered(self, _events: int) -> None:
        dialled = self._dialled
        assert dialled is not None  # noqa: S101 - it is watched as long as it is here
        self._stop_dialling()
        with self._fenced():
            if number := dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            self._dialled = None
            try:
                self._start(dialled, endpoint_of(dialled.getsockname()))
            except BaseException:
                self._poller.forget(dialled)
                dialled.close()
                raise

    def _unanswered(self) -> None:
        self._patience = None
        with self._fenced():
            raise TimeoutError

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        """Record that a server cannot be reached; a fault of ours ends one connection only."""
        primary = self._primary
        try:
            yield
        except OSError as error:
            self._error = error
            end_unreachable(primary, error)
        except Exception as error:  # noqa: BLE001 - a fence
            reason = "internal-error"
            primary.note("connect.failed", level="error", reason=reason, error=repr(error))
            primary.kill(reason)

    def _start(self, dialled: socket.socket | None, ours: Endpoint) -> None:
        primary = self._primary
        if self._words is not None:
            self._say(self._words.connected(ours))
            if dialled is not None and self._pipes is not None and primary.chain.is_empty:
                self._splice(dialled, ours, self._pipes)
                return
        # A filtered stream has its places at the poller by client.
        for leg in (self._accepted, dialled):
            if leg is not None:
                self._poller.forget(leg)
        stream = FilteredStream(
            asyncio.get_running_loop(),
            self._poller,
            self._accepted,
            dialled,
            client=self._host,
            over=self._over,
            is_dialogue=True,
        )
        assert stream.accepted is not None  # noqa: S101 - it was given
        if primary.direction is Direction.INBOUND:
            # The far end knows us by what it dialled, the published server by who dialled it.
            primary.inside_address = ours
            ours = endpoint_of(self._accepted.getsockname())
        self._gateway.start_primary(
            primary,
            gateway_address=ours,
            link=stream,
            client=stream.accepted,
            server=stream.dialled,
        )
        stream.start(primary.chain)

    def _splice(self, dialled: socket.socket, ours: Endpoint, pipes: Pipes) -> None:
        """Let the bytes of a connection that no filter looks at pass through the kernel."""
        primary = self._primary

        def over(broken: socket.socket | None) -> None:
            if broken is None:
                primary.close("closed")
            else:
                primary.kill("client-reset" if broken is self._accepted else "server-reset")

        legs = (self._accepted, dialled)
        stream = SplicedStream(asyncio.get_running_loop(), pipes, self._poller, legs, over)
        self._gateway.start_primary(
            primary, gateway_address=ours, link=stream, client=None, server=None
        )
        stream.start()

    def _say(self, words: bytes) -> None:
        with suppress(OSError):  # a client that has gone
            self._accepted.send(words)

    def _over(self, ending: Ending) -> None:
        """End the connection with its stream, if it has not ended the stream itself."""
        if ending is Ending.COMPLETE:
            self._primary.close("closed")
        else:
            self._primary.kill(_REASONS[ending])


def appearance(primary: PrimaryConnection) -> Endpoint:
    """Return the address and port from which the server would see us connect.

    Sends nothing to the server, so the port may not be a real one yet. Raises OSError when there
    is no way to the server.
    """
    if not appears_as_gateway(primary):
        return primary.client
    with gateway_socket(Transport.UDP, primary.server, primary.source) as probe:
        probe.connect(name_of(primary.server))
        return endpoint_of(probe.getsockname())


def appears_as_gateway(primary: PrimaryConnection) -> bool:
    """Whether the server sees us, and not the client's own address."""
    if primary.direction is Direction.INBOUND:
        return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in primary.flags
    return primary.relation is Relation.NAT


def _dialling_socket(primary: PrimaryConnection) -> socket.socket:
    """Make the socket for the server's side; raises OSError."""
    if appears_as_gateway(primary):
        return gateway_socket(Transport.TCP, primary.server, primary.source)
    return another_port_of(primary.client, Transport.TCP)


def _dial(primary: PrimaryConnection) -> socket.socket:
    """Return a leg that is on its way to the server, as the gateway or as the client.

    Raises OSError.
    """
    made = _dialling_socket(primary)
    try:
        prepare_leg(made)
        made.connect(name_of(primary.server))
    except BlockingIOError:
        pass  # as usual
    except BaseException:
        made.close()
        raise
    return made
