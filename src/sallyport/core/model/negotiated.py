"""Negotiated: the common base of a bound port and an outbound permission.

Each of them has two sides. For a data path it is an `Opening`: a pinhole with a life. For filters
it is a connection (`Askable`): it belongs to a session, was granted by a rule, may end with a
primary connection, and filters may decide about its flows. This class joins the two sides, so that
the registry needs to know nothing of filters, and dispatcher and ledger treat both kinds alike.
"""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import OCTETS, takes
from sallyport.core.model.engine import Engine
from sallyport.core.model.event_context import Askable, EventContext
from sallyport.core.pinholes.datapath import DataPath, Missed, Pinhole
from sallyport.core.pinholes.registry import Opening, Traffic
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker, Rule
from sallyport.core.runtime.serial import SerialRunner

if TYPE_CHECKING:
    from sallyport.core.model.chain import Chain
    from sallyport.core.model.connection import PrimaryConnection
    from sallyport.core.model.filter import SessionFilter
    from sallyport.core.model.session import Session


class Negotiated(Opening, Askable):
    """An opening that a bind or a permission made for one client."""

    __slots__ = (
        "asked_about",
        "asked_by",
        "context",
        "engine",
        "event_context",
        "has_failed",
        "is_filtered",
        "is_killed_with_primary",
        "missed",
        "primary",
        "protocol",
        "reservations",
        "rule",
        "runner",
        "session",
        "session_filter",
    )

    def __init__(
        self,
        engine: Engine,
        pinhole: Pinhole,
        *,
        path: DataPath,
        is_timed: bool,
        is_filtered: bool,
        session: "Session",
        protocol: ProtocolDefinition,
        rule: Rule,
        primary: "PrimaryConnection | None",
        session_filter: "SessionFilter | None",
        context: object,
        reservations: PortReservations | None,
        is_killed_with_primary: bool = False,
    ) -> None:
        super().__init__(pinhole, path=path, is_timed=is_timed)
        self.engine = engine
        self.session = session
        self.protocol = protocol
        """The protocol that the access rules were asked about."""
        self.rule = rule
        """The rule that grants it."""
        self.primary = primary
        """The primary connection it ends with, if any."""
        self.is_killed_with_primary = is_killed_with_primary
        """Whether the end of the primary connection ends its flows too."""
        self.session_filter = session_filter
        """The filter that asked for it and is notified of its flows; None: no filter is."""
        self.asked_by = session.name_of(session_filter)
        """The name of that filter; empty for a caller that is no filter of the session."""
        self.context = context
        """The `context` argument of the request; the events for its caller carry it."""
        self.reservations = reservations
        """The reservations that hold its gateway port; None where no port of the gateway is used.
        """
        self.is_filtered = is_filtered
        """Whether filters are asked about its flows before they start; decided at the bind."""
        self.missed: Missed | None = None
        """Why no flow has used it, when it is over and the data path could tell."""
        self.event_context: EventContext | None = None
        self.has_failed = False
        self.runner: SerialRunner | None = None
        """Runs the filters that are asked about its flows, one flow after another."""
        self.asked_about: list[Chain] = []
        """The chains of the peers that wait for the filters' answer."""

    def traffic(self) -> Traffic:
        """Return the sum of every admitted flow so far; asks the data path."""
        return self.engine.registry.traffic(self)

    def first_datagram(self) -> bytes:
        """Return what the peer said first over UDP, on a bind or permission with TIMEOUT.

        At most `limits.MAX_FIRST_DATAGRAM` bytes, while the flow runs. Empty when it is not known:
        nothing has come, the client spoke first, or the kernel had no room for a copy. Asks the
        data path.
        """
        return self.path.first_datagram(self.pinhole.id)

    @takes(peer=Endpoint, data=OCTETS)
    def send_to(self, peer: Endpoint, data: bytes) -> None:
        """Send one UDP datagram to `peer` from the address that its flows come to.

        (`IFWXSocket::SendTo`.) From the proxy address of a bound port to a peer outside; of a
        permission, in the name of the far end to the client, who may then answer. Never blocks;
        lost if the kernel is busy. Raises BadContext for TCP, or where a filter plays the peers and
        no port is held; InvalidArgument for another family; AddressNotAllowed for a host whose
        flows are not admitted; PolicyDenied when the rules do not allow them; Terminating when it
        is over.
        """
        self.engine.require_sendable(self, peer)
        path = self.path if self.reservations is None else self.reservations.path
        path.send_from(self.pinhole.listen, peer, data)

    def withdraw(self, reason: str = "withdrawn") -> None:
        """Let no new flow in; flows that run go on. Idempotent, never raises.

        `reason` is a short stable word; the journal and `ConnectionTerminating` carry it.
        """
        self.engine.registry.withdraw(self, reason)

    @property
    def age(self) -> float:
        """For how many seconds it has been."""
        return 0.0

    def on_unused(self) -> None:
        """Ask the data path why, unless it has opened nothing."""
        if not self.is_emulated:
            self.missed = self.path.missed(self.pinhole.id, self.age)

    @property
    def asker(self) -> Asker | None:
        """Who asked for it by a front end; None: a filter asked."""
        return None

    def kill(self, reason: str = "killed", explanation: str | None = None) -> None:
        """Close it and reset both ends of its flows at once. Idempotent, never raises.

        `explanation`, if any, is for the protocol's user; `ConnectionTerminating` carries it.
        """
        self.engine.registry.kill(self, reason, explanation)
