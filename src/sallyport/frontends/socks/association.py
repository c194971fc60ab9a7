"""UDP ASSOCIATE: datagrams between one client and the hosts that it has written to.

Each peer that answers gets a pair of sockets: the data path has one end and counts, limits and
lists what passes as it does for every binding; we have the other, and write the header.
"""

import asyncio
import select
import socket
from contextlib import suppress
from functools import partial

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.events import ConnectionTerminating, Event
from sallyport.core.model.filter import SessionFilter
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import AddressNotAvailable, BindError, ProtocolError
from sallyport.flags import BindFlags, Transport
from sallyport.frontends.rights import SOCKS_UDP
from sallyport.frontends.socks import destinations
from sallyport.frontends.socks.destinations import plain
from sallyport.frontends.socks.names import NameUnknown, addresses_of
from sallyport.io import eager
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import closed_on_error, endpoint_of, let_end, make, name_of
from sallyport.ipfilter import IpFilter
from sallyport.wire import socks
from sallyport.wire.socks import SocksDatagram, SocksReply

_FLAGS = BindFlags.NO_KERNEL_MODE | BindFlags.ALLOW_MULTIPLE | BindFlags.BIDIRECTIONAL


class Association(SessionFilter):
    """One association; it ends with the TCP connection that asked for it (attack K05)."""

    def __init__(
        self,
        gateway: Gateway,
        poller: FairPoller,
        tasks: asyncio.TaskGroup,
        leg: socket.socket,
        *,
        client: Endpoint,
        asker: Asker,
    ) -> None:
        """Take over `leg`, the TCP connection of `client`; `tasks` look up names."""
        self._gateway = gateway
        self._poller = poller
        self._tasks = tasks
        self._leg = leg
        self._client = client
        self._host = gateway.policy.host_of(client.address)
        """With whose other connections it shares a turn."""
        self._asker = asker
        self._inside: socket.socket | None = None
        self._port = 0
        """Where the client sends from, once that is known."""
        self._binding: Binding | None = None
        self._reached: dict[Endpoint, socket.socket | None] = {}
        """Whom the client has written to, with our end of the pair once they have answered."""
        self._addresses: set[IpAddress] = set()
        self._looking_up: asyncio.Task[None] | None = None
        """Looks up the name in a datagram; the next one waits for it."""

    async def begin(self, port: int) -> None:
        """Bind both sides and say where; `port` is the client's, 0 when it does not know yet.

        Raises what `bind_for_client` raises, and OSError; then the connection is still to be
        answered.
        """
        own = self._gateway.policy.address_towards(None, self._client.version)
        if own is None:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        self._port = port
        here = endpoint_of(self._leg.getsockname())
        with closed_on_error(make(Transport.UDP, here.version)) as inside:
            inside.bind(name_of(here.with_port(0)))
            session = self._gateway.client_session(self._client.address, self._asker)
            self._binding = await session.bind_for_client(
                [self._client],
                transport=Transport.UDP,
                protocol=SOCKS_UDP,
                proxy_address=Endpoint(own, 0),
                flags=_FLAGS,
                session_filter=self,
                ip_filter=IpFilter(),  # no one yet: those whom the client writes to
                frontend=Frontend.SOCKS,
            )
        self._inside = inside
        self._gateway.user_path.lend(self._binding.connections[0].pinhole.id, self._take)
        self._poller.watch(self._leg, self._hung_up, client=self._host, events=select.EPOLLRDHUP)
        self._listen(inside)
        place = endpoint_of(inside.getsockname())
        with suppress(OSError):
            self._leg.send(socks.answer(5, SocksReply.SUCCEEDED, place))

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter`: the end of the binding is the end of the association."""
        if isinstance(event, ConnectionTerminating):
            self._over()

    # -- from the client ----------------------------------------------------------------------

    def _listen(self, inside: socket.socket) -> None:
        self._poller.watch(inside, self._readable, client=self._host, events=select.EPOLLIN)

    def _readable(self, _events: int) -> None:
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            # An action of this turn may have ended it all, or have to wait.
            if self._inside is None or self._looking_up is not None:
                return
            try:
                data, name = self._inside.recvfrom(limits.MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:  # news about a datagram to the client
                continue
            source = endpoint_of(name)
            # Before the first datagram the address is pinned already, and by it the port (K04).
            if source.address == self._client.address and self._port in (0, source.port):
                with suppress(ProtocolError):  # lost, as datagrams are
                    self._heard_inside(socks.parse_datagram(data), source.port)

    def _heard_inside(self, datagram: SocksDatagram, port: int) -> None:
        if datagram.fragment or not datagram.port:
            return
        self._port = port
        if isinstance(datagram.host, str):
            self._looking_up = self._tasks.create_task(self._look_up(datagram))
            if self._inside is not None:
                self._poller.forget(self._inside)
        else:
            self._pass_on(plain(datagram.host), datagram)

    async def _look_up(self, datagram: SocksDatagram) -> None:
        with suppress(NameUnknown):
            found = await addresses_of(datagram.host, self._client.version)
            self._pass_on(found[0], datagram)
        self._looking_up = None
        if self._inside is not None:
            self._listen(self._inside)

    def _pass_on(self, address: IpAddress, datagram: SocksDatagram) -> None:
        peer = Endpoint(address, datagram.port)
        pair = self._reached.get(peer)
        if pair is not None:
            with suppress(OSError):
                pair.send(datagram.payload)
        elif peer.version == self._client.version and self._binding is not None:
            eager.start(self._tasks, self._reach(self._binding, peer, datagram.payload))

    async def _reach(self, binding: Binding, peer: Endpoint, payload: bytes) -> None:
        """Send to a peer that has not answered yet, and let its answers in from now on."""
        if peer not in self._reached:
            is_full = len(self._reached) >= binding.connections[0].pinhole.max_flows
            if is_full or not self._may_reach(peer.address):
                return
            self._reached[peer] = None
        try:
            if peer.address not in self._addresses:
                self._addresses.add(peer.address)
                await binding.set_peers(IpFilter.of(*self._addresses))
            binding.connections[0].send_to(peer, payload)
        except BindError:  # the binding has ended, or a rule has gone meanwhile
            return

    def _may_reach(self, address: IpAddress) -> bool:
        if destinations.fault(self._gateway.policy, address) is not None:
            return False
        client = self._client.address
        return self._gateway.judge(SOCKS_UDP, client, address, self._asker).allowed

    # -- from peers ---------------------------------------------------------------------------

    def _take(self, peer: Endpoint) -> int:
        """Make a pair for a peer that the client has written to; return the data path's end."""
        if peer not in self._reached:
            raise ConnectionRefusedError
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self._drop(peer)
        self._reached[peer] = ours
        heard = partial(self._heard, peer, ours)
        self._poller.watch(ours, heard, client=self._host, events=select.EPOLLIN)
        return theirs.detach()

    def _heard(self, peer: Endpoint, ours: socket.socket, _events: int) -> None:
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                payload = ours.recv(limits.MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                payload = b""
            if not payload and _has_ended(ours):
                self._drop(peer)
                return
            if self._inside is not None and self._port:
                with suppress(OSError):
                    words = socks.write_datagram(peer, payload)
                    self._inside.sendto(words, name_of(self._client.with_port(self._port)))

    def _drop(self, peer: Endpoint) -> None:
        """Let go of a pair: the peer has been silent for a while, and may answer again."""
        pair = self._reached.get(peer)
        if pair is not None:
            self._reached[peer] = None
            self._poller.forget(pair)
            pair.close()

    # -- the end ------------------------------------------------------------------------------

    def _hung_up(self, _events: int) -> None:
        if self._binding is not None:
            self._binding.kill("primary-ended")

    def _over(self) -> None:
        if self._inside is None:
            return
        if self._looking_up is not None:
            self._looking_up.cancel()
        for peer in self._reached:
            self._drop(peer)
        self._poller.forget(self._inside)
        self._inside.close()
        self._inside = None
        self._poller.forget(self._leg)
        let_end(self._leg)


def _has_ended(pair: socket.socket) -> bool:
    """Whether the other end is closed: an empty datagram looks alike."""
    poll = select.poll()
    poll.register(pair, 0)
    return bool(poll.poll(0))
