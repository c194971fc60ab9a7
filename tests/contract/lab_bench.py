"""The bench on real sockets: hosts in network namespaces, the gateway's loop in ours.

While a bench stands, the test's thread lives in the lab's gateway, so that every socket a data
path makes is the gateway's; the hosts around it are entered for the moment a socket is made.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from tests.contract.bench import Bench, Owner
from tests.contract.lab_talk import PATIENCE, SILENCE, LabTalk, endpoint_of
from tests.contract.places import PORTS, Way, policy
from tests.netns import kernel_bench

from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import DataPath, DataPathKind, Pinhole
from sallyport.core.pinholes.ports import Ports
from sallyport.core.runtime.environment import Journal, Level
from sallyport.errors import OutOfResources
from sallyport.flags import BindFlags, Transport
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.ops.world import AsyncWorld

_Result = TypeVar("_Result")

# Often enough to lose no time, rarely enough to leave the gateway the CPU.
_ASKED_EVERY = 0.02

_GREETING = b"!"
_KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}


class AheadWorld(AsyncWorld):
    """A world whose clock a test may put forward; nothing of the loop's moves with it."""

    def __init__(self, journal: Journal, tasks: asyncio.TaskGroup) -> None:
        super().__init__(journal, tasks)
        self._ahead = 0.0
        self.now = lambda: self._loop.time() + self._ahead

    def go_to(self, when: float) -> None:
        """Let it be `when` now."""
        self._ahead += when - self.now()

    def wake_at(self, when: float) -> None:
        """See `Environment`."""
        super().wake_at(when - self._ahead)


class LabBench(Bench):
    """A gateway in the lab's gateway host, with whatever data paths it is given."""

    def __init__(
        self,
        way: Way,
        transport: Transport,
        lab: Lab,
        loop: asyncio.AbstractEventLoop,
        paths: Mapping[DataPathKind, DataPath],
    ) -> None:
        super().__init__(way, transport)
        self.kinds = tuple(paths)
        self.paths = paths
        self._loop = loop
        self._hosts: dict[IpAddress, Host] = {}
        for family in (way, self.other_family()):
            self._hosts[family.client] = lab.client
            self._hosts[family.neighbour] = lab.clients[1]
            self._hosts[family.server] = lab.server
            self._hosts[family.stranger] = lab.stranger
            self._hosts[family.outside] = lab.gateway
        self._news = asyncio.Event()
        self.arrivals: list[tuple[socket.socket, bytes, Endpoint]] = []
        self._sockets: list[socket.socket] = []
        self._waiting: list[asyncio.Task[None]] = []
        self._tokens = count(1)
        self._closing = asyncio.Event()
        self._world: asyncio.Future[AheadWorld] = loop.create_future()
        self._house = loop.create_task(self._keep_world())

    async def _keep_world(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._world.set_result(AheadWorld(self, tasks))
            await self._closing.wait()

    def start(self, filters: Sequence[ApplicationFilter], rule: Mapping[str, Any]) -> None:
        """Put the gateway together; `rule` replaces fields of the one access rule."""
        self._ahead = world = self.run(_result(self._world))
        self.ports = Ports(PortRange.parse(PORTS), world.random_below)
        self.gateway = Gateway(
            policy=policy(self.way, **rule),
            data_paths=self.paths,
            ports=self.ports,
            environment=world,
            filters=(Owner(), *filters),
        )
        world.drive(self.gateway)
        self.primary = self.dial()

    def stop(self) -> None:
        """End everything and close every socket."""
        self.gateway.shut_down("bench-stops")
        for task in self._waiting:
            task.cancel()
        self._closing.set()
        self._loop.run_until_complete(
            asyncio.gather(*self._waiting, self._house, return_exceptions=True)
        )
        for sock in self._sockets:
            sock.close()

    # -- Journal: every record is news to whoever waits ----------------------------

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Keep a record, and wake `until`."""
        self.journal.record(event, level=level, **fields)
        self._news.set()

    # -- Bench ----------------------------------------------------------------------------------

    @property
    def keeps_peer_address(self) -> bool:
        """See `Bench`: the relay dials as the gateway where it has no privilege."""
        return self.kinds[0] is DataPathKind.KERNEL or not self.way.is_nat

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """See `Bench`."""
        return self._loop.run_until_complete(asyncio.wait_for(work, PATIENCE))

    def until(self, condition: Callable[[], bool]) -> None:
        """See `Bench`."""

        async def wait() -> None:
            while not condition():
                self._news.clear()
                await self._news.wait()

        try:
            self.run(wait())
        except TimeoutError:
            raise AssertionError(f"it does not happen; {self.journal.records[-5:]}") from None

    def pass_time(self, seconds: float) -> None:
        """See `Bench`; the loop's own clock stays, and the gateway's goes ahead of it."""
        end, due = self._ahead.now() + seconds, self.gateway.deadlines
        while (when := due.next) is not None and when <= end:
            self._ahead.go_to(when)
            due.fire(when)
        self._ahead.go_to(end)

    def serve(self, at: Endpoint) -> None:
        """See `Bench`."""
        sock = self._socket(self._hosts[at.address], at)
        if self.transport is Transport.TCP:
            sock.listen(64)
            waiting = self._greet(sock)
        else:
            waiting = self._collect(sock)
        self._waiting.append(self._loop.create_task(waiting))

    def reach(self, peer: IpAddress, listen: Endpoint, *, source_port: int = 0) -> LabTalk:
        """See `Bench`."""
        known = self.journal.events().count("binding.established")
        talk = self.run(self.come(peer, listen, source_port))
        assert talk is not None, f"turned away; {self.journal.records[-5:]}"
        self.until(lambda: self.journal.events().count("binding.established") > known)
        return talk

    def speak_first(self, client: Endpoint, peer: IpAddress) -> tuple[Endpoint, Endpoint]:
        """See `Bench`."""
        self._heard_first = outer = self._socket(self._hosts[peer], Endpoint(peer, 0))
        return endpoint_of(outer.getsockname()), self.speak_again(client, b"first")

    def speak_again(self, client: Endpoint, data: bytes = b"again") -> Endpoint:
        """See `Bench`."""
        (inner,) = (one for one in self._sockets if endpoint_of(one.getsockname()) == client)
        inner.sendto(data, self._heard_first.getsockname())
        heard = self._loop.sock_recvfrom(self._heard_first, 100)
        received, source = self.run(asyncio.wait_for(heard, SILENCE))
        assert received == data
        return endpoint_of(source)

    def answer_to(self, seen: Endpoint, data: bytes = b"answer to the first") -> Endpoint:
        """See `Bench`."""
        self._heard_first.sendto(data, (str(seen.address), seen.port))
        return self.run(asyncio.wait_for(self.arrival_of(data), SILENCE))[1]

    def is_refused(self, peer: IpAddress, listen: Endpoint, *, source_port: int = 0) -> bool:
        """See `Bench`."""
        coming = asyncio.wait_for(self.come(peer, listen, source_port), SILENCE)
        try:
            return self._loop.run_until_complete(coming) is None
        except TimeoutError:
            return True

    def ignores(self, peer: IpAddress, listen: Endpoint, source_port: int = 0) -> bool:
        """TCP: a peer comes to `listen`; whether it gets no answer at all."""
        coming = asyncio.wait_for(self.come(peer, listen, source_port), SILENCE)
        try:
            self._loop.run_until_complete(coming)
        except TimeoutError:
            return True
        return False

    def fail(self, peer: IpAddress, listen: Endpoint) -> None:
        """See `Bench`."""
        assert self.is_refused(peer, listen)

    def heard_outside(self, send: Callable[[Endpoint], None]) -> tuple[bytes, Endpoint]:
        """See `Bench`."""
        sock = self._socket(self._hosts[self.way.server], Endpoint(self.way.server, 0))
        send(endpoint_of(sock.getsockname()))
        data, source = self.run(self._loop.sock_recvfrom(sock, 65536))
        return data, endpoint_of(source)

    def fall_silent(self, binding: Binding) -> None:
        """See `Bench`; `short_silence` has made the time short."""
        if self.kinds[0] is DataPathKind.KERNEL and BindFlags.TIMEOUT not in binding.flags:
            # An entry that nobody waits for is reaped when the kernel next comes by: in a minute.
            family = f"ipv{self.way.version}"
            gateway = self._hosts[self.way.outside]
            gateway.run(["conntrack", "-D", "-p", "udp", "-f", family])

        for connection in binding.connections:
            for peer in tuple(connection.running):
                self.until_ended(connection, peer)

    def until_ended(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """See `Bench`."""

        async def wait() -> None:
            # No event: nobody is told of the end of one flow among others. So it is asked for.
            while peer in connection.running:  # noqa: ASYNC110
                await asyncio.sleep(_ASKED_EVERY)

        self.run(wait())

    def spoof(self, source: IpAddress, listen: Endpoint) -> None:
        """TCP: the stranger sends a SYN in somebody else's name."""
        kernel_bench.send_syn(self._hosts[self.way.stranger], str(source), str(listen))

    def occupy(self, at: Endpoint) -> None:
        """See `Bench`."""
        sock = self._socket(self._hosts[at.address], at)
        if self.transport is Transport.TCP:
            sock.listen()

    def refuse_next_open(self) -> None:
        """See `Bench`."""
        path = self.paths[self.kinds[0]]
        really = path.open

        async def refuse(pinholes: Sequence[Pinhole]) -> None:
            path.open = really  # type: ignore[method-assign]
            # Half-way: they are open when the refusal comes.
            await really(pinholes)
            path.close([pinhole.id for pinhole in pinholes])
            raise OutOfResources("injected")

        path.open = refuse  # type: ignore[method-assign]

    def kept(self) -> object:
        """See `Bench`: the descriptors of this process, reservations among them."""
        return len(os.listdir("/proc/self/fd"))

    # -- inside ---------------------------------------------------------------------------------

    def _socket(self, host: Host, at: Endpoint) -> socket.socket:
        family = socket.AF_INET if at.version == 4 else socket.AF_INET6
        with host.entered():
            sock = socket.socket(family, _KINDS[self.transport])
        self._sockets.append(sock)
        sock.setblocking(False)
        if self.transport is Transport.TCP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(at.address), at.port))
        return sock

    async def _greet(self, listener: socket.socket) -> None:
        """Whoever is accepted hears so: a handshake may be the relay's and proves nothing."""
        while True:
            accepted, name = await self._loop.sock_accept(listener)
            accepted.setblocking(False)
            self._sockets.append(accepted)
            self._arrive(accepted, b"", name)
            await self._loop.sock_sendall(accepted, _GREETING)

    async def _collect(self, sock: socket.socket) -> None:
        while True:
            data, name = await self._loop.sock_recvfrom(sock, 65536)
            self._arrive(sock, data, name)

    def _arrive(self, sock: socket.socket, data: bytes, name: Any) -> None:  # noqa: ANN401 - an address of the socket module
        self.arrivals.append((sock, data, endpoint_of(name)))
        self._news.set()

    async def come(self, peer: IpAddress, listen: Endpoint, source_port: int = 0) -> LabTalk | None:
        """See `Bench`."""
        sock = self._socket(self._hosts[peer], Endpoint(peer, source_port))
        come = self._connect if self.transport is Transport.TCP else self._send
        return await come(sock, (str(listen.address), listen.port))

    async def _connect(self, sock: socket.socket, to: tuple[str, int]) -> LabTalk | None:
        try:
            await self._loop.sock_connect(sock, to)
            if await self._loop.sock_recv(sock, len(_GREETING)) != _GREETING:
                return None
        except ConnectionError:
            return None
        inner, _, seen = self.arrivals[-1]
        return LabTalk(self, sock, to, inner, seen)

    async def _send(self, sock: socket.socket, to: tuple[str, int]) -> LabTalk | None:
        token = b"hello %d" % next(self._tokens)
        with contextlib.suppress(ConnectionRefusedError):
            await self._loop.sock_sendto(sock, token, to)
        arrival = await self.arrival_of(token)
        return LabTalk(self, sock, to, arrival[0], arrival[1])

    async def arrival_of(self, data: bytes, known: int = 0) -> tuple[socket.socket, Endpoint]:
        """Wait until a client gets this datagram, after the first `known` ones.

        Gives its socket and the source it saw.
        """
        while True:
            for sock, arrived, seen in self.arrivals[known:]:
                if arrived == data:
                    return sock, seen
            self._news.clear()
            await self._news.wait()


async def _result(future: "asyncio.Future[_Result]") -> _Result:
    return await future


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of one test; what fails in a callback fails the test."""
    loop, faults = asyncio.new_event_loop(), list[object]()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    try:
        yield loop
    finally:
        loop.close()
    assert faults == []
