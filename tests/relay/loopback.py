"""A user-mode data path on loopback, with peers and clients made of plain sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from itertools import count

from sallyport import limits
from sallyport.addresses import Endpoint, parse_address
from sallyport.core.pinholes.datapath import Arrival, FlowCounters, Pinhole
from sallyport.errors import AddressInUse
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.ipfilter import IpFilter
from sallyport.relay.bound_ports import Ears
from sallyport.relay.datapath import UserDataPath

# TCP_SYN_SENT in include/net/tcp_states.h.
_SYN_SENT = 2

HOSTS = ["127.0.0.1", "::1"]
TCP, UDP = Transport.TCP, Transport.UDP

# Below what Linux gives out by itself, and not the same for two runs on one machine.
_ports = count(12000 + os.getpid() % 16 * 1000)


def run(test: Coroutine[None, None, None]) -> None:
    """Run a scenario; what a callback raises into the loop is a failure too."""
    asyncio.run(asyncio.wait_for(_guarded(test), timeout=20))


async def _guarded(test: Coroutine[None, None, None]) -> None:
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: raised.append(context.get("exception", context))
    )
    await test
    assert raised == []


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def name(endpoint: Endpoint) -> tuple[str, int]:
    return str(endpoint.address), endpoint.port


def endpoint_of(sock: socket.socket) -> Endpoint:
    host, port = sock.getsockname()[:2]
    return Endpoint(parse_address(host), port)


class Told:
    """A FlowSink that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        """What happened, in order; taps may write here too."""
        self.established: list[tuple[int, Endpoint]] = []
        self.refused: list[tuple[int, Endpoint]] = []
        self.turned_away: list[tuple[int, Endpoint]] = []
        self.ended: list[tuple[int, FlowCounters]] = []
        self.on_arrival: Callable[[Arrival], None] = lambda arrival: arrival.proceed(None)
        self.on_established: Callable[[int], None] = lambda _id: None
        self._news = asyncio.Event()

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        self.log.append("arrived")
        self._news.set()
        self.on_arrival(arrival)

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.log.append("established")
        self.established.append((pinhole_id, peer))
        self._news.set()
        self.on_established(pinhole_id)

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.log.append("refused")
        self.refused.append((pinhole_id, peer))
        self._news.set()

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        self.log.append("turned away")
        self.turned_away.append((pinhole_id, peer))
        self._news.set()

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        self.log.append("ended")
        self.ended.append((pinhole_id, counters))
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()


class Bench:
    """One data path and the sockets around it; all of them are closed in the end."""

    def __init__(self, host: str, undo: ExitStack, ears: Ears | None = None) -> None:
        self.host = host
        self.loop = asyncio.get_running_loop()
        self.poller = FairPoller(self.loop)
        undo.callback(self.poller.close)
        self.path = UserDataPath(
            self.loop, self.poller, ears=ears, host_of=lambda address: f"the host of {address}"
        )
        self.told = Told()
        self.path.attach(self.told)
        self._undo = undo
        self._ids = count(1)
        undo.callback(self.path.stop)

    async def turn(self) -> None:
        """Let the loop look at its descriptors as often as the longest way through it takes."""
        for _ in range(4):
            await asyncio.sleep(0)

    def new(
        self, transport: Transport = TCP, host: str | None = None, port: int = 0
    ) -> socket.socket:
        """Make a socket with a port, of its own or as asked for."""
        host = host or self.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_STREAM if transport is TCP else socket.SOCK_DGRAM
        made = self._undo.enter_context(socket.socket(family, kind))
        made.setblocking(False)
        made.bind((host, port))
        return made

    def client(self, backlog: int = 8) -> socket.socket:
        """Make a client that waits for connections."""
        made = self.new()
        made.listen(backlog)
        return made

    def reserved(self, transport: Transport = TCP) -> Endpoint:
        """Reserve some port of the gateway."""
        while True:
            wanted = Endpoint(parse_address(self.host), next(_ports))
            try:
                self.path.reserve(transport, wanted)
            except AddressInUse:
                continue
            return wanted

    def pinhole(
        self,
        target: socket.socket | None,
        transport: Transport = TCP,
        *,
        sources: IpFilter | None = None,
        single: bool = True,
        source_ports: frozenset[int] | None = None,
        is_answered: bool = False,
        idle_seconds: float | None = None,
        backlog: int = 8,
        receive_buffer: int | None = None,
        max_flows: int = limits.MAX_RELAYED_FLOWS,
    ) -> Pinhole:
        """Describe a pinhole at a reserved port."""
        return Pinhole(
            next(self._ids),
            transport,
            self.reserved(transport),
            None if target is None else endpoint_of(target),
            sources,
            single,
            source_ports,
            is_answered,
            idle_seconds=idle_seconds,
            backlog=backlog,
            receive_buffer=receive_buffer,
            max_flows=max_flows,
        )

    async def opened(self, pinhole: Pinhole) -> Pinhole:
        """Open a pinhole and give it back."""
        await self.path.open([pinhole])
        return pinhole

    def peer(self, pinhole: Pinhole, host: str | None = None) -> socket.socket:
        """Connect a peer to a pinhole."""
        made = self.new(host=host)
        self.connect(made, pinhole)
        return made

    def connect(self, peer: socket.socket, pinhole: Pinhole) -> None:
        """Connect without the loop, which may not act before the peer is connected.

        The kernel completes the handshake by itself and, on loopback, at once.
        """
        peer.setblocking(True)
        peer.connect(name(pinhole.listen))
        peer.setblocking(False)

    async def accept(self, client: socket.socket) -> socket.socket:
        """Accept what was let through to a client."""
        accepted, _ = await self.loop.sock_accept(client)
        return self._undo.enter_context(accepted)

    async def flow(
        self, client: socket.socket, pinhole: Pinhole
    ) -> tuple[socket.socket, socket.socket]:
        """Connect a peer through to a client; give the peer's socket and the client's."""
        peer = self.peer(pinhole)
        accepted = await self.accept(client)
        await self.told.until(lambda: endpoint_of(peer) in [e for _, e in self.told.established])
        return peer, accepted

    async def read(self, sock: socket.socket, size: int) -> bytes:
        """Read exactly `size` bytes, fewer at the end of the stream."""
        read = bytearray()
        while len(read) < size and (more := await self.loop.sock_recv(sock, size - len(read))):
            read += more
        return bytes(read)

    def ignores(self, pinhole: Pinhole, host: str | None = None) -> bool:
        """Send a SYN to a pinhole, and tell whether it stays without an answer.

        On loopback an answer is there before the call returns.
        """
        made = self.new(host=host)
        made.setblocking(False)
        made.connect_ex(name(pinhole.listen))
        # The first byte of struct tcp_info is the state (linux/tcp.h).
        return made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _SYN_SENT

    async def is_reset(self, sock: socket.socket) -> bool:
        """Read to the end, and tell whether that was a reset."""
        try:
            while await self.loop.sock_recv(sock, 1 << 16):
                pass
        except ConnectionResetError:
            return True
        return False


@asynccontextmanager
async def bench(host: str = "127.0.0.1", ears: Ears | None = None) -> AsyncIterator[Bench]:
    with ExitStack() as undo:
        yield Bench(host, undo, ears)
