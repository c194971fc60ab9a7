"""EventContext: the decisions that a filter may take while it is notified of an event.

A connection has an event context only while a filter's `on_event` runs for it. The dispatcher sets
it before the call and removes it after. So `deny` and `attach_data_filter` are legal in the event,
and raise BadContext at any other time. Each filter gets a context of its own, because what it
attaches is run, and blamed, under its name.
"""

from sallyport.core.model.arguments import takes
from sallyport.core.model.chain import Chain, Priority
from sallyport.core.model.filter import DataFilter
from sallyport.errors import BadContext, InvalidArgument


class EventContext:
    """The answer of one filter to one event: it may deny, and attach data filters."""

    __slots__ = ("_chain", "_is_for_many", "is_denied", "ordered", "owner")

    def __init__(self, owner: str, chain: Chain | None, *, is_for_many: bool = False) -> None:
        """Begin the event for the filter `owner`.

        `chain` is the flow's; None at a bind, where there is no flow yet. `is_for_many`: more than
        one flow may come of the bind.
        """
        self.owner = owner
        """The name of the filter that is notified."""
        self._chain = chain
        self._is_for_many = is_for_many
        self.is_denied = False
        self.ordered: list[tuple[DataFilter, Priority, object]] = []
        """The data filters to attach to the one flow that may come of the bind."""

    @property
    def is_about_bind(self) -> bool:
        """Whether the event is about a bind: there is no flow yet for a data filter."""
        return self._chain is None

    def attach(self, data_filter: "DataFilter", priority: Priority, context: object) -> None:
        """Add a data filter to the flow that is about to start, or that will come of the bind.

        Raises InvalidArgument for a data filter that has, or had, a slot, for what is no
        `Priority`, and at a bind of which many flows may come: one data filter serves one flow.
        """
        if self._chain is not None:
            self._chain.attach(data_filter, priority, context, self.owner)
            return
        if self._is_for_many:
            raise InvalidArgument("one-data-filter-for-many-flows")
        if data_filter.slot is not None or any(data_filter is one for one, _, _ in self.ordered):
            raise InvalidArgument("data-filter-was-attached-already")
        self.ordered.append((data_filter, priority, context))


class Askable:
    """A connection that filters may decide about while they are notified of its events."""

    __slots__ = ()

    event_context: EventContext | None
    """Present only while a filter is notified of an event of this connection."""

    @takes(data_filter=DataFilter, priority=Priority)
    def attach_data_filter(
        self,
        data_filter: "DataFilter",
        priority: Priority = Priority.MIDDLE,
        context: object = None,
    ) -> None:
        """Put a data filter into the flow that is about to start (`AttachDataFilter`).

        `priority` is its place in the chain; `context` is passed to `DataFilter.set_sockets`.
        Legal in the events ConnectTcp, UdpDestination and AcceptedConnection of this connection,
        and in BindTcp and BindUdp: then the one flow that comes of the bind passes through the data
        filter, and the binding is in user mode.

        Raises BadContext at any other time, and so always on a connection in the kernel, whose
        bytes no filter can see; InvalidArgument for a data filter that was attached before, for
        what is no `Priority`, and at a bind with ALLOW_MULTIPLE (there
        `Session.set_data_filter_factory` makes one for each flow).
        """
        if self.event_context is None:
            raise BadContext("not-in-an-event-of-this-connection")
        self.event_context.attach(data_filter, priority, context)

    def deny(self) -> None:
        """Refuse what the event is about (`Deny`); access rules are the better place for it.

        A denied bind raises AddressInUse at its caller, a client that connects is reset, a peer
        that was accepted is reset, datagrams are dropped. Legal in BindTcp, BindUdp, ConnectTcp,
        UdpDestination and AcceptedConnection; raises BadContext at any other time.
        """
        if self.event_context is None:
            raise BadContext("not-in-an-event-of-this-connection")
        self.event_context.is_denied = True
