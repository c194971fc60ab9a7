"""DataFilterFactory: makes the data filter for a flow that is expected and may never come."""

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

# The event that the expected flow raises. A UDP port has no accept, so a factory for BindUdp makes
# a data filter as each peer arrives.
_RAISED_AS: dict[type[Event], type[Event]] = {
    ConnectTcp: ConnectTcp,
    UdpDestination: UdpDestination,
    AcceptedConnection: AcceptedConnection,
    BindUdp: UdpDestination,
}


class FirewallAction(Protocol):
    """A permission or factory that can be cancelled (`IFWXFirewallAction`).

    `allow_future_connect`, `redirect_connections` and `set_data_filter_factory` return it. It ends
    by itself when it was used, if it was for one use only; when its time has passed; and with its
    session.
    """

    def cancel(self) -> None:
        """Cancel the action; raises Terminating when it is over already."""


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
        """Whether a flow that raises `event` gets a data filter from this factory.

        `remote` is the flow's far end; `bound` the bound port it came to, None when the client
        opened the flow. In the factory's own address zeros match any address, port 0 any port.
        """
        wanted, address = self.address, bound if self._is_about_bound else remote
        if event is not self.event or address is None:
            return False
        return wanted is None or (
            (wanted.address.is_unspecified or wanted.address == address.address)
            and wanted.port in (0, address.port)
        )

    def may_meet(self, event: type[Event], bound: Endpoint | None) -> bool:
        """Whether a flow that raises `event` at the port `bound` could get a data filter from it.

        `bound` None: the port is not chosen yet; a factory for one certain port then returns False.
        """
        if event is not self.event:
            return False
        if not self._is_about_bound or self.address is None:
            return True
        if bound is None:
            return self.address.port == 0
        return self.fits(event, bound, bound)

    def used(self) -> None:
        """Take note that a flow with its data filter has begun; a factory for one flow is over.

        Not earlier: a flow that is denied or finds no listener must not use the factory up, because
        the next flow would then pass without the data filter.
        """
        if not self._is_multiple and self in self.session.factories:
            self.session.factories.remove(self)

    def cancel(self) -> None:
        """Remove the factory; raises Terminating when it was used up or cancelled already."""
        if self not in self.session.factories:
            raise Terminating("action-is-over")
        self.session.factories.remove(self)


class PortFactory(DataFilterFactory):
    """Makes the data filters of the flows that come to one bound port; it ends with the port."""

    def __init__(
        self,
        connection: "SecondaryConnection",
        make: "Callable[[], DataFilter]",
        *,
        priority: Priority,
        context: object,
        owner: str,
        is_multiple: bool,
    ) -> None:
        is_tcp = connection.transport is Transport.TCP
        super().__init__(
            connection.session,
            AcceptedConnection if is_tcp else BindUdp,
            connection.proxy_address,
            make,
            priority=priority,
            context=context,
            owner=owner,
            is_multiple=is_multiple,
        )
        self.pinhole_id = connection.pinhole.id
        """The pinhole of the port."""


class BindFactory(PortFactory):
    """Holds the data filter that was attached in the event of a bind, until its one flow comes."""

    def __init__(
        self,
        connection: "SecondaryConnection",
        data_filter: "DataFilter",
        priority: Priority,
        context: object,
        owner: str,
    ) -> None:
        super().__init__(
            connection,
            self._again,
            priority=priority,
            context=context,
            owner=owner,
            is_multiple=False,
        )
        self._data_filter = data_filter

    def _again(self) -> "DataFilter":
        """Return the data filter; a peer that was denied, or found no client, did not use it."""
        self._data_filter.slot = None
        return self._data_filter
