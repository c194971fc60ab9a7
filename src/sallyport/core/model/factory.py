"""DataFilterFactory: a promise to put a data filter into a flow that may come."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Priority
from sallyport.core.model.events import (
    AcceptedConnection,
    BindUdp,
    ConnectTcp,
    Event,
    UdpDestination,
)
from sallyport.errors import InvalidArgument, Terminating
from sallyport.flags import Transport

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter
    from sallyport.core.model.secondary import SecondaryConnection
    from sallyport.core.model.session import Session

# A UDP port has no accept: what would be attached at the bind is attached as each peer comes.
_RAISED_AS: dict[type[Event], type[Event]] = {
    ConnectTcp: ConnectTcp,
    UdpDestination: UdpDestination,
    AcceptedConnection: AcceptedConnection,
    BindUdp: UdpDestination,
}


class FirewallAction(Protocol):
    """What `allow_future_connect`, `redirect_connections` and `set_data_filter_factory` give.

    (`IFWXFirewallAction`.) It ends by itself when it was used, if it was for one use only; when
    its time has passed; and with its session.
    """

    def cancel(self) -> None:
        """Take the promise back; raises Terminating when it is over already."""


class DataFilterFactory:
    """The action of one `Session.set_data_filter_factory` (`IFWXFirewallAction`)."""

    def __init__(
        self,
        session: "Session",
        event: type[Event],
        address: Endpoint | None,
        make: "Callable[[], DataFilter]",
        *,
        priority: Priority,
        context: object,
        owner: str,
        is_multiple: bool,
    ) -> None:
        if event not in _RAISED_AS:
            raise InvalidArgument("no-flow-in-this-event")
        self.session = session
        self.event = _RAISED_AS[event]
        self._is_about_bound = event in (AcceptedConnection, BindUdp)
        self.address = address
        self.make = make
        self.priority = priority
        self.context = context
        self.owner = owner
        self._is_multiple = is_multiple

    def fits(self, event: type[Event], remote: Endpoint, bound: Endpoint | None) -> bool:
        """Whether such a flow gets a data filter; zeros in the address, or port 0, match any.

        `bound`: None when nothing was bound for it.
        """
        wanted, address = self.address, bound if self._is_about_bound else remote
        if event is not self.event or address is None:
            return False
        return wanted is None or (
            (wanted.address.is_unspecified or wanted.address == address.address)
            and wanted.port in (0, address.port)
        )

    def may_meet(self, event: type[Event], bound: Endpoint | None) -> bool:
        """Whether a flow that raises `event` at the port `bound` could get its data filter.

        `bound` None: the port is not chosen yet, and a factory for one port says nothing so far.
        """
        if event is not self.event:
            return False
        if not self._is_about_bound or self.address is None:
            return True
        if bound is None:
            return self.address.port == 0
        return self.fits(event, bound, bound)

    def used(self) -> None:
        """Note that bytes of a flow begin to pass; a factory for one flow is over.

        Not before: who is denied, or finds nobody, must not make room for one that nobody sees.
        """
        if not self._is_multiple and self in self.session.factories:
            self.session.factories.remove(self)

    def cancel(self) -> None:
        """Take the promise back; raises Terminating when it was used or cancelled already."""
        if self not in self.session.factories:
            raise Terminating("action-is-over")
        self.session.factories.remove(self)


class BindFactory(DataFilterFactory):
    """What a filter attached in the event of a bind: one data filter for the one flow of it."""

    def __init__(
        self,
        connection: "SecondaryConnection",
        data_filter: "DataFilter",
        priority: Priority,
        context: object,
        owner: str,
    ) -> None:
        is_tcp = connection.transport is Transport.TCP
        super().__init__(
            connection.session,
            AcceptedConnection if is_tcp else BindUdp,
            connection.proxy_address,
            self._again,
            priority=priority,
            context=context,
            owner=owner,
            is_multiple=False,
        )
        self.pinhole_id = connection.pinhole.id
        """It is over with this port."""
        self._data_filter = data_filter

    def _again(self) -> "DataFilter":
        """Return the data filter; a peer that was denied, or found no client, has not used it."""
        self._data_filter.slot = None
        return self._data_filter
