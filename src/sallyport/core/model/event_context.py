"""EventContext: what filters may decide about a connection while they are told of it."""

from typing import TYPE_CHECKING

from sallyport.core.model.chain import Chain, Priority
from sallyport.errors import BadContext

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter


class EventContext:
    """One filter being told of one event: it may deny, and attach where there is a chain."""

    __slots__ = ("_chain", "is_denied", "owner")

    def __init__(self, owner: str, chain: Chain | None) -> None:
        self.owner = owner
        """The name of the filter that is told."""
        self._chain = chain
        self.is_denied = False

    @property
    def is_about_bind(self) -> bool:
        """Whether there is no flow yet that a data filter could be put into."""
        return self._chain is None

    def attach(self, data_filter: "DataFilter", priority: Priority, context: object) -> None:
        """Put a data filter into the flow that is about to start."""
        if self._chain is None:
            raise BadContext("no-flow-in-this-event")
        self._chain.attach(data_filter, priority, context, self.owner)


class Askable:
    """What filters are asked about: a connection."""

    __slots__ = ()

    event_context: EventContext | None

    def attach_data_filter(
        self,
        data_filter: "DataFilter",
        priority: Priority = Priority.MIDDLE,
        context: object = None,
    ) -> None:
        """Put a data filter into the flow that is about to start (`AttachDataFilter`).

        `context` is what `DataFilter.set_sockets` hands over. Legal in the events ConnectTcp,
        UdpDestination and AcceptedConnection of this connection; raises BadContext at any other
        time, so also on a connection in the kernel, which no filter can look into.
        """
        if self.event_context is None:
            raise BadContext("not-in-an-event-of-this-connection")
        self.event_context.attach(data_filter, priority, context)

    def deny(self) -> None:
        """Refuse what the event is about (`Deny`); rules are the better place for it.

        The caller of a bind gets AddressInUse, who connects is refused, who was accepted is reset,
        datagrams are dropped. Legal in BindTcp, BindUdp, ConnectTcp, UdpDestination and
        AcceptedConnection; raises BadContext at any other time.
        """
        if self.event_context is None:
            raise BadContext("not-in-an-event-of-this-connection")
        self.event_context.is_denied = True
