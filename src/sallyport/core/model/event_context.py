"""EventContext: what filters may decide about a connection while they are told of it."""

from typing import TYPE_CHECKING

from sallyport.core.model.chain import Chain, Priority
from sallyport.errors import BadContext, InvalidArgument

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter


class EventContext:
    """One filter being told of one event: it may deny, and attach where there is a chain."""

    __slots__ = ("_chain", "_is_for_many", "is_denied", "ordered", "owner")

    def __init__(self, owner: str, chain: Chain | None, *, is_for_many: bool = False) -> None:
        """Begin to tell `owner`; `chain`: the flow's, None at a bind, where there is no flow yet.

        `is_for_many`: more than one flow may come of the bind.
        """
        self.owner = owner
        """The name of the filter that is told."""
        self._chain = chain
        self._is_for_many = is_for_many
        self.is_denied = False
        self.ordered: list[tuple[DataFilter, Priority, object]] = []
        """What is to be attached to the one flow that may come of a bind."""

    @property
    def is_about_bind(self) -> bool:
        """Whether there is no flow yet that a data filter could be put into."""
        return self._chain is None

    def attach(self, data_filter: "DataFilter", priority: Priority, context: object) -> None:
        """Put a data filter into the flow that is about to start, or that will come of the bind.

        Raises InvalidArgument for one that has, or had, a slot, for what is no priority, and at a
        bind of which many flows may come: two flows never meet in one data filter.
        """
        if self._chain is not None:
            self._chain.attach(data_filter, priority, context, self.owner)
            return
        if self._is_for_many:
            raise InvalidArgument("one-data-filter-for-many-flows")
        if not isinstance(priority, Priority):
            raise InvalidArgument("not-a-priority")
        if data_filter.slot is not None or any(data_filter is one for one, _, _ in self.ordered):
            raise InvalidArgument("data-filter-was-attached-already")
        self.ordered.append((data_filter, priority, context))


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
        UdpDestination and AcceptedConnection of this connection, and in BindTcp and BindUdp: then
        the one flow that comes of the bind passes through it, and the binding is in user mode.
        Raises BadContext at any other time, so also on a connection in the kernel, which no filter
        can look into; InvalidArgument for a data filter that was attached before, for what is no
        priority, and at a bind with ALLOW_MULTIPLE (`Session.set_data_filter_factory` makes one
        for each flow).
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
