"""The filter interface: what a protocol author writes, who sees it as `sallyport.api`.

One `ApplicationFilter` per process (`IFWXFilter`) makes one `SessionFilter` per client
(`IFWXSessionFilter`), which attaches `DataFilter`s (`IFWXDataFilter`) to connections. Their methods
are `async def` and await only methods of the session: no event loop, no sockets, no clock.

What is promised about calls, for each object:

* `start`, `attach_to_session` and `set_sockets` come first and once, `shutdown` and `detach` last
  and once: nothing begins after them. `detach` of a data filter may come without `set_sockets`,
  when the connection never came to be. A step that waited when the end came may still finish,
  and changes nothing any more.
* The events of one connection come in order; so do the calls of all data filters of one flow, and
  they never overlap: the next one comes when the coroutine of the last has finished.
* What a filter raises, or a step that does not come back, or a wait of more than
  `limits.FILTER_WAIT_SECONDS`, ends the client's session and no other (attack X07); what fails in
  `detach` is only counted. After `limits.MAX_FILTER_FAULTS` faults, one a session, the filter is
  switched off for that client; after so many clients, for all: whatever it would have been asked
  about is then refused.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.chain import MISSING_END, Slot
from sallyport.core.model.events import ConnectTcp, Event, UdpDestination
from sallyport.core.model.hooks import Hooks
from sallyport.core.pinholes.datapath import StreamEnd
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import BadContext

if TYPE_CHECKING:
    from sallyport.core.model.connection import Connection
    from sallyport.core.model.session import Session

API_VERSION = 1
"""The version of this interface; a filter declares the one it was written for."""


class Firewall(Protocol):
    """What the service as a whole offers a filter (`IFWXFirewall`)."""

    def client_session(self, client: IpAddress) -> "Session":
        """Find or make the session of a client (`GetClientSession`).

        Only for a host the filter knows to be a client here. It ends with the last thing in it, or
        when nothing was put into it for `limits.UNUSED_SESSION_SECONDS`: ask when you need it.
        Raises InvalidArgument for an address of the gateway.
        """

    def private_session(self, client: IpAddress) -> "Session":
        """Make a session of the filter's own for `client` (`CreatePrivateSession`).

        Policy knows it by its address alone, and its quota is the client's. It ends as
        `client_session` says, or by `Session.kill`. Raises InvalidArgument for an address of the
        gateway, QuotaExceeded when the client has `limits.MAX_PRIVATE_SESSIONS` of them.
        """


class DataFilter:
    """Sits in one flow: everything both sides say passes through it.

    The defaults pass bytes and half-closes on untouched. A filter may change, hold back, add and
    end: `client` and `server` are where it sends to, whether that is a socket or a neighbour in the
    chain. On a primary connection and on an outbound secondary one the client is who opened it; of
    a bound port the client is the session's and the server is the `peer` that connected. Of UDP
    each call is one datagram, and each remote `peer` has a data filter of its own.
    """

    client: StreamEnd = MISSING_END
    server: StreamEnd = MISSING_END
    connection: "Connection"
    peer: Endpoint
    context: object = None
    """What the filter was attached with."""
    slot: Slot | None = None
    """The chain's; filters use `set_deadline` and `reset`."""

    def set_sockets(
        self,
        client: StreamEnd,
        server: StreamEnd,
        connection: "Connection",
        peer: Endpoint,
        context: object,
    ) -> None:
        """Take both ends and what they belong to: called once, before anything else."""
        self.client, self.server = client, server
        self.connection, self.peer, self.context = connection, peer, context

    async def started(self) -> None:
        """Every filter of the chain has its ends; called once, before any data."""

    async def from_client(self, data: bytes) -> None:
        """Take bytes the client sent."""
        self.server.send(data)

    async def from_server(self, data: bytes) -> None:
        """Take bytes the server sent."""
        self.client.send(data)

    async def client_closed(self) -> None:
        """The client will send no more (FIN)."""
        self.server.shutdown()

    async def server_closed(self) -> None:
        """The server will send no more (FIN)."""
        self.client.shutdown()

    def set_deadline(self, seconds: float | None) -> None:
        """Have `deadline_passed` called after `seconds`; None: never.

        One deadline a data filter; setting it again moves it. Raises BadContext before
        `set_sockets`, InvalidArgument for what is not a number.
        """
        if self.slot is None:
            raise BadContext("not-attached")
        self.slot.set_deadline(seconds)

    async def deadline_passed(self) -> None:
        """The deadline has passed; the default ends the connection."""
        self.connection.kill("deadline-passed")

    def reset(self) -> None:
        """Reset this flow alone; `connection.kill` also closes the port it came by."""
        if self.slot is not None:
            self.slot.reset()

    def close(self, explanation: str | None = None) -> None:
        """End this flow in order: what was sent arrives, then both ends are closed.

        `explanation` is for the protocol's user; `ConnectionTerminating` carries it.
        """
        if self.slot is not None:
            self.slot.close(explanation)

    def detach(self) -> None:
        """Release everything: called exactly once, when the flow is over."""


class SessionFilter(ABC):
    """A filter's memory for one client."""

    hooks: Hooks | None = None
    """The events of this session; None: those of the application filter. Read once, when the
    filter was attached."""

    @abstractmethod
    async def on_event(self, event: Event) -> None:
        """Take one event of this session."""

    def detach(self) -> None:
        """Release everything: called exactly once, when the session is over."""


class ApplicationFilter(ABC):
    """A protocol filter; one instance per process."""

    name: str
    api_version: int
    """The version of `sallyport.api` this filter was written for."""
    protocols: tuple[ProtocolDefinition, ...] = ()
    """The protocols it handles; rules name them."""
    hooks: Hooks = Hooks.of(ConnectTcp, UdpDestination)
    """What it is told of, until one of its session filters says otherwise for its session."""
    settings: ClassVar[type | None] = None
    """A frozen dataclass: the keys of `[filters.NAME]`. The filter is made with a value of it."""

    def start(self, firewall: "Firewall") -> None:
        """The service starts (`FilterInit`): called once, before the first session."""

    @abstractmethod
    def attach_to_session(self, session: "Session") -> SessionFilter:
        """Make the session filter: called once a session, before its first event there."""

    def shutdown(self) -> None:
        """The service stops or goes on without it: called once, after its last session."""
