"""The filter interface: the classes that a protocol author writes, imported from `sallyport.api`.

One `ApplicationFilter` per process (`IFWXFilter`) makes one `SessionFilter` per client
(`IFWXSessionFilter`), which attaches `DataFilter`s (`IFWXDataFilter`) to connections. Their methods
are `async def` and await only methods of the session: no event loop, no sockets, no clock.

Promises about calls, for each object:

* `start`, `attach_to_session` and `set_sockets` are called first and once, `shutdown` and `detach`
  last and once: no call begins after them. `detach` of a data filter may be called without
  `set_sockets`, when the connection never started. A call that was waiting when the end came may
  still finish; it has no effect any more.
* The events of one connection come in order; so do the calls of all data filters of one flow, and
  they never overlap: the next call begins when the coroutine of the last one has finished.
* An exception in a filter, a call that does not return, or a wait of more than
  `limits.FILTER_WAIT_SECONDS` ends the connection that the filter worked for, with what was opened
  for it, and no other (attack X07). A failure in `detach` is only counted. After
  `limits.MAX_FILTER_FAULTS` faults, at most one a connection, the filter is switched off for that
  client; after as many clients, for all. Whatever a filter that is off would have been asked about
  is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.arguments import takes
from sallyport.core.model.chain import MISSING_END, Slot
from sallyport.core.model.events import ConnectTcp, Event, UdpDestination
from sallyport.core.model.hooks import Hooks
from sallyport.core.model.transcript import Hop, Transcript
from sallyport.core.pinholes.datapath import StreamEnd
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import Rule
from sallyport.errors import BadContext

if TYPE_CHECKING:
    from sallyport.core.model.connection import Connection
    from sallyport.core.model.session import Session

API_VERSION = 1
"""The version of this interface; a filter declares the one it was written for."""


class Firewall(Protocol):
    """The gateway as a whole, as a filter sees it (`IFWXFirewall`)."""

    def client_session(self, client: IpAddress) -> "Session":
        """Return the session of a client, made if there is none (`GetClientSession`).

        Call it only for a host that the filter knows to be a client of this gateway, and only when
        you need the session: it ends with its last connection, binding or permission, or
        `limits.UNUSED_SESSION_SECONDS` after it was made if none was added. Raises
        InvalidArgument for an address of the gateway.
        """

    def private_session(self, client: IpAddress) -> "Session":
        """Return a new session of the filter's own for `client` (`CreatePrivateSession`).

        Access rules know it by its client address alone, and it shares the client's quota. It ends
        as `client_session` says, or by `Session.kill`. Raises InvalidArgument for an address of
        the gateway, QuotaExceeded when the client has `limits.MAX_PRIVATE_SESSIONS` of them.
        """


class DataFilter:
    """Sits in one flow: all data of both sides passes through it (`IFWXDataFilter`).

    The default methods pass bytes and half-closes on untouched. A data filter may change data, hold
    it back, add to it, and end the flow. It sends to its two ends, `client` and `server`; each is a
    socket or the neighbour in the chain, and the data filter cannot tell which.

    On a primary connection and on an outbound secondary one, `client` leads to the host that opened
    it. On a bound port, `client` leads to the session's client and `server` to the `peer` that
    connected. With UDP each call carries one datagram, and each remote `peer` has a data filter of
    its own.
    """

    client: StreamEnd = MISSING_END
    server: StreamEnd = MISSING_END
    connection: "Connection"
    peer: Endpoint
    context: object = None
    """The `context` argument of `attach_data_filter`."""
    slot: Slot | None = None
    """Belongs to the chain; filters use `set_deadline`, `reset` and `close`."""

    def set_sockets(
        self,
        client: StreamEnd,
        server: StreamEnd,
        connection: "Connection",
        peer: Endpoint,
        context: object,
    ) -> None:
        """Take both ends, the connection and the `context`: called once, before any other method.

        `peer` is the far end of the flow. The neighbours may not have their ends yet: send nothing
        before `started`.
        """
        self.client, self.server = client, server
        self.connection, self.peer, self.context = connection, peer, context

    async def started(self) -> None:
        """Begin: every filter of the chain has its ends. Called once, before any data."""

    async def from_client(self, data: bytes) -> None:
        """Take bytes, or one datagram, that the client sent; the default passes them on."""
        self.server.send(data)

    async def from_server(self, data: bytes) -> None:
        """Take bytes, or one datagram, that the server sent; the default passes them on."""
        self.client.send(data)

    async def client_closed(self) -> None:
        """Take the end of the client's data (FIN); the default passes it on."""
        self.server.shutdown()

    async def server_closed(self) -> None:
        """Take the end of the server's data (FIN); the default passes it on."""
        self.client.shutdown()

    @takes(seconds=int | float | None)
    def set_deadline(self, seconds: float | None) -> None:
        """Set the deadline: `deadline_passed` is called after `seconds`. None cancels it.

        A data filter has one deadline; a second call moves it. Raises BadContext before the flow
        has begun (`set_sockets`), InvalidArgument for NaN.
        """
        if self.slot is None:
            raise BadContext("not-attached")
        self.slot.set_deadline(seconds)

    async def deadline_passed(self) -> None:
        """Take note that the deadline has passed; the default kills the connection."""
        self.connection.kill("deadline-passed")

    @takes(is_held=bool)
    def hold_client(self, *, is_held: bool) -> None:
        """Hold back what the client sends, or take it again: TCP makes the client wait.

        What was read before may still come. The other direction goes on, and a reset is noticed;
        the end of the client's data comes behind them. Does nothing for datagrams.
        """
        if self.slot is not None:
            self.slot.hold_client(is_held=is_held)

    @takes(is_held=bool)
    def hold_server(self, *, is_held: bool) -> None:
        """Hold back what the server sends, or take it again, as `hold_client`."""
        if self.slot is not None:
            self.slot.hold_server(is_held=is_held)

    def reset(self) -> None:
        """Reset both sockets of this flow alone; `connection.kill` also closes its port.

        Idempotent, never raises. A primary connection ends with all that was opened for it.
        """
        if self.slot is not None:
            self.slot.reset()

    def close(self, explanation: str | None = None) -> None:
        """End this flow in order: deliver what was sent, then close both ends. Idempotent.

        `explanation` is a sentence for the protocol's user; `ConnectionTerminating` carries it.
        """
        if self.slot is not None:
            self.slot.close(explanation)

    def transcript(self, hop: Hop, *, is_running: bool) -> Transcript | None:
        """Return what an operator may see of the bytes that go by `hop`, while one traces the flow.

        Credentials and payload are never part of it. `is_running`: the trace begins in the middle
        of the conversation, perhaps of a line. None, the default: how many bytes, and no more.
        """
        return None

    def detach(self) -> None:
        """Release what the data filter holds: called exactly once, when the flow is over."""


class SessionFilter(ABC):
    """One filter's state for one client (`IFWXSessionFilter`)."""

    hooks: Hooks | None = None
    """The events of this session; None: the application filter's. Read once, after
    `attach_to_session`."""

    @abstractmethod
    async def on_event(self, event: Event) -> None:
        """Handle one event of this session (`FirewallEventHandler`)."""

    def detach(self) -> None:
        """Release what the filter holds for this client: called exactly once, at the end."""


class ApplicationFilter(ABC):
    """A protocol filter; one instance per process (`IFWXFilter`)."""

    name: str
    api_version: int
    """The version of `sallyport.api` this filter was written for."""
    protocols: tuple[ProtocolDefinition, ...] = ()
    """The protocols it handles; access rules name them."""
    hooks: Hooks = Hooks.of(ConnectTcp, UdpDestination)
    """The events it is notified of; `SessionFilter.hooks` replaces them for one session."""
    settings: ClassVar[type | None] = None
    """A frozen dataclass whose fields are the keys of `[filters.NAME]`; the filter is made with an
    instance of it. None: no settings."""

    def start(self, firewall: "Firewall") -> None:
        """Prepare for service (`FilterInit`): called once, before the first session.

        An exception here refuses the filter; the gateway does not start, or keeps its old filters.
        """

    @abstractmethod
    def attach_to_session(self, session: "Session") -> SessionFilter:
        """Return a session filter: called once a session, before the filter's first event there."""

    def remarks(self, rule: Rule, direction: Direction, *, is_translated: bool) -> Sequence[str]:
        """Return what this filter makes of what `rule` allows, for `sallyport explain`.

        `is_translated`: whether client and far end are behind NAT from each other. One sentence
        each; the default says nothing.
        """
        return ()

    def shutdown(self) -> None:
        """Release everything (`FilterShutdown`): called once, after the filter's last session."""
