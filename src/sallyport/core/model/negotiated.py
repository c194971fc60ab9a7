"""Negotiated: what a port of a bind and an outbound permission have in common.

Both are openings for the data path and connections for filters; both are made for a filter of one
session, belong to one rule, may end with a primary connection, and may be asked about.
"""

from typing import TYPE_CHECKING

from sallyport.core.model.engine import Engine
from sallyport.core.model.event_context import Askable, EventContext
from sallyport.core.pinholes.datapath import DataPath, Pinhole
from sallyport.core.pinholes.registry import Opening
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule
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
        "is_filtered",
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
    ) -> None:
        super().__init__(pinhole, path=path, is_timed=is_timed)
        self.engine = engine
        self.session = session
        self.protocol = protocol
        """What the access rules were asked about."""
        self.rule = rule
        """The rule that grants it."""
        self.primary = primary
        """The connection it ends with, if any."""
        self.session_filter = session_filter
        """The filter that asked for it, if it wants to hear what becomes of it."""
        self.asked_by = session.name_of(session_filter)
        """The name of that filter; empty for a caller that is no filter of the session."""
        self.context = context
        """What the caller gave with its request; every event carries it."""
        self.reservations = reservations
        """The reservations that hold its gateway port; None where no port of the gateway is used.
        """
        self.is_filtered = is_filtered
        """Whether filters are asked about its flows before they start; known from the start."""
        self.event_context: EventContext | None = None
        self.runner: SerialRunner | None = None
        """Runs the filters that are asked about its flows, one flow after another."""
        self.asked_about: list[Chain] = []
        """The chains of the peers that wait for the filters' answer."""

    def kill(self, reason: str = "killed", explanation: str | None = None) -> None:
        """Close it and reset both ends of its flows at once. Idempotent, never raises.

        `explanation`, if any, is for the protocol's user; `ConnectionTerminating` carries it.
        """
        self.engine.registry.kill(self, reason, explanation)
