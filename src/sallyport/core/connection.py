"""Connections: the primary one a client opened, and the secondary ones a bind made for it."""

from typing import TYPE_CHECKING, Protocol

from sallyport.addresses import Endpoint
from sallyport.core.datapath import DataPathKind, FlowCounters, Pinhole
from sallyport.core.deadlines import Deadline
from sallyport.core.journal import Level
from sallyport.core.openings import Opening
from sallyport.core.policy import AccessRule, Relation
from sallyport.core.protocols import ProtocolDefinition

if TYPE_CHECKING:
    from sallyport.core.binding import Binding
    from sallyport.core.filter import DataFilter
    from sallyport.core.gateway import Gateway
    from sallyport.core.session import Session


class Connection(Protocol):
    """What primary and secondary connections have in common (`IFWXConnection`)."""

    @property
    def is_secondary(self) -> bool:
        """Whether a bind made it."""

    def kill(self, reason: str = "killed") -> None:
        """End it now and reset both ends; idempotent, never raises."""


class Link(Protocol):
    """The two sockets of an intercepted connection, as the core may touch them."""

    def abort(self) -> None:
        """Reset both ends; idempotent, never raises."""

    def close(self) -> None:
        """Close both ends after everything queued was sent; idempotent, never raises."""


class PrimaryConnection:
    """A control connection: from the client through us to the server.

    `gateway_address` is our own address on the server's side (the client's, when routed); it is
    known once the server was dialled. Everything bound with `primary=` this ends with it.
    """

    is_secondary = False

    def __init__(
        self,
        gateway: "Gateway",
        *,
        connection_id: str,
        session: "Session",
        protocol: ProtocolDefinition,
        client: Endpoint,
        server: Endpoint,
        rule: AccessRule,
        relation: Relation,
        opened_at: float,
    ) -> None:
        self._gateway = gateway
        self.id = connection_id
        self.session = session
        self.protocol = protocol
        self.client = client
        self.server = server
        self.rule = rule
        self.relation = relation
        self.opened_at = opened_at
        self.gateway_address: Endpoint | None = None
        self.link: Link | None = None
        self.data_filter: DataFilter | None = None
        self.openings: dict[int, Opening] = {}
        self.is_open = True
        self._deadline: Deadline | None = None

    def attach_data_filter(self, data_filter: "DataFilter") -> None:
        """Put a data filter into the stream; legal while the connection is starting.

        Raises BadContext when there is one already: a chain of several is not built yet.
        """
        self._gateway.attach_data_filter(self, data_filter)

    def set_deadline(self, seconds: float | None) -> None:
        """Have the data filter's `deadline_passed` called after `seconds`; None: never.

        One deadline a connection; setting it again moves it.
        """
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and self.is_open:
            self._deadline = self._gateway.call_later(seconds, self._deadline_passed)

    def close(self, reason: str) -> None:
        """End it in order: queued bytes are sent, then both ends are closed. Idempotent."""
        self._gateway.end_primary(self, reason, abort=False)

    def kill(self, reason: str = "killed") -> None:
        """End it now and reset both ends; openings close, transfers under way may finish."""
        self._gateway.end_primary(self, reason, abort=True)

    def note(self, event: str, *, level: Level = "info", **fields: object) -> None:
        """Write one line to the journal, with session and connection filled in."""
        self._gateway.journal.record(
            event, level=level, session=self.session.id, connection=self.id, **fields
        )

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self.data_filter is not None:
            self._gateway.strand_of(self).run(self.data_filter.deadline_passed())


class SecondaryConnection(Opening):
    """One port of a binding (`ConnectionArray[i]`): where peers reach the client."""

    __slots__ = ("binding", "index")

    is_secondary = True

    def __init__(self, binding: "Binding", index: int, pinhole: Pinhole, *, is_timed: bool) -> None:
        super().__init__(pinhole, is_timed=is_timed)
        self.binding = binding
        self.index = index

    @property
    def proxy_address(self) -> Endpoint:
        """Where peers connect."""
        return self.pinhole.listen

    @property
    def client_address(self) -> Endpoint:
        """Where the client listens."""
        return self.pinhole.target

    @property
    def data_path(self) -> DataPathKind:
        """Which data path carries it; decided at bind, final."""
        return self.binding.gateway.openings.data_path.kind

    def peers(self) -> tuple[FlowCounters, ...]:
        """Give every admitted flow with its byte counts so far."""
        return self.binding.gateway.openings.flows(self)

    def kill(self, reason: str = "killed") -> None:
        """Close the pinhole and reset both ends at once, idle or not. Idempotent, never raises."""
        self.binding.gateway.openings.kill(self, reason)

    def on_armed(self) -> None:
        """Write it down."""
        self.binding.gateway.ledger.armed(self)

    def on_admitted(self, peer: Endpoint) -> None:
        """Tell the caller of the bind (`fwx_EstablishedConnection`)."""
        self.binding.gateway.ledger.admitted(self, peer)

    def on_refused(self, peer: Endpoint) -> None:
        """Tell the caller of the bind."""
        self.binding.gateway.ledger.attempt_failed(self, peer)

    def on_closed(self, reason: str, flows: tuple[FlowCounters, ...]) -> None:
        """Give the port back and tell the caller of the bind."""
        self.binding.gateway.ledger.closed(self, reason, flows)
