"""BIND: one connection of a peer, which ends in the client's own SOCKS connection."""

import select
import socket
from contextlib import suppress

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import ConnectionTerminating, Event
from sallyport.core.model.filter import SessionFilter
from sallyport.core.policy.terms import Frontend
from sallyport.errors import AddressInUse, AddressNotAllowed, AddressNotAvailable
from sallyport.flags import BindFlags, Transport
from sallyport.frontends.rights import SOCKS_BIND
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import let_end
from sallyport.ipfilter import IpFilter
from sallyport.wire import socks
from sallyport.wire.socks import SocksReply

# Exactly one connection is ever accepted, within about a minute.
_FLAGS = BindFlags.NO_KERNEL_MODE | BindFlags.TIMEOUT


class WaitingBind(SessionFilter):
    """A client that waits for its peer; the link of its connection, and told of its binding.

    Strangers are turned away by the binding itself and use nothing up (attack K01).
    """

    def __init__(
        self,
        gateway: Gateway,
        poller: FairPoller,
        primary: PrimaryConnection,
        leg: socket.socket,
        version: int,
    ) -> None:
        """Take over `leg`; `version` is that of the client's SOCKS."""
        self._gateway = gateway
        self._poller = poller
        self._primary = primary
        self._leg: socket.socket | None = leg
        self._version = version
        self._binding: Binding | None = None

    async def begin(self, peers: IpFilter, wish: int) -> None:
        """Bind a port for `peers` and say so; `wish` is the port that the client would like.

        Raises what `bind_for_client` raises; then the connection is still to be answered.
        """
        primary = self._primary
        self._gateway.start_primary(
            primary, gateway_address=None, link=self, client=None, server=None
        )
        own = self._gateway.policy.address_towards(primary.server.address, primary.client.version)
        if own is None:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        # Below our range it is a port of a service, and no wish at all (attack K03).
        wanted = Endpoint(own, wish if wish in self._gateway.port_range else 0)
        self._binding = binding = await self._bind(wanted, peers)
        self._gateway.user_path.lend(binding.connections[0].pinhole.id, self._take)
        if self._leg is not None:
            host = self._gateway.policy.host_of(self._primary.client.address)
            self._poller.watch(self._leg, self._hung_up, client=host, events=select.EPOLLRDHUP)
            self._say(SocksReply.SUCCEEDED, binding.proxy_address)

    def refuse(self, reply: SocksReply) -> None:
        """Answer that there is no port, and end."""
        self._say(reply)
        self._primary.close("refused")

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter`: the end of the binding is the end of the connection."""
        if isinstance(event, ConnectionTerminating):
            self._over(is_late=event.reason == "timed-out")

    def abort(self) -> None:
        """End it and the peer's connection now (`datapath.Link`)."""
        if self._binding is not None:
            self._binding.kill("primary-ended")
        if self._leg is not None:
            self._let_go().close()

    def close(self) -> None:
        """End it (`datapath.Link`); a peer that has connected may finish."""
        if self._leg is not None:
            let_end(self._let_go())

    async def _bind(self, wanted: Endpoint, peers: IpFilter) -> Binding:
        async def bind(proxy: Endpoint) -> Binding:
            return await self._primary.session.bind_for_client(
                [self._primary.client],
                transport=Transport.TCP,
                protocol=SOCKS_BIND,
                proxy_address=proxy,
                flags=_FLAGS,
                session_filter=self,
                ip_filter=peers,
                primary=self._primary,
                frontend=Frontend.SOCKS,
            )

        if wanted.port:
            with suppress(AddressInUse, AddressNotAllowed):  # a wish, and no more
                return await bind(wanted)
        return await bind(wanted.with_port(0))

    def _take(self, peer: Endpoint) -> int:
        """Return the client's connection for the data path; the client hears who the peer is."""
        if self._leg is None:
            raise ConnectionRefusedError
        self._say(SocksReply.SUCCEEDED, peer)
        return self._let_go().detach()

    def _hung_up(self, _events: int) -> None:
        self._primary.close("closed")

    def _over(self, *, is_late: bool) -> None:
        if self._leg is not None:
            self._say(SocksReply.TTL_EXPIRED if is_late else SocksReply.GENERAL_FAILURE)
        self._primary.close("timed-out" if is_late else "closed")

    def _say(self, reply: SocksReply, bound: Endpoint | None = None) -> None:
        if self._leg is not None:
            with suppress(OSError):  # a client that has gone
                self._leg.send(socks.answer(self._version, reply, bound))

    def _let_go(self) -> socket.socket:
        assert self._leg is not None  # noqa: S101 - its callers have looked
        leg, self._leg = self._leg, None
        self._poller.forget(leg)
        return leg
