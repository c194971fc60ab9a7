"""The bench without sockets: the doubles that ship with the package."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

from tests.contract.bench import Bench, Owner, Talk
from tests.contract.places import GATEWAY_ADDRESSES, PORTS, Way, policy

from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.errors import OutOfResources
from sallyport.flags import Transport
from sallyport.testing import MemoryDataPath, VirtualWorld

_Result = TypeVar("_Result")

# Where the ports of outside hosts begin; no peer of one bench ever uses one twice.
_FIRST_PEER_PORT = 10_000


class MemoryBench(Bench):
    """A gateway in memory with a path in the kernel's place and one in the relay's."""

    def __init__(
        self,
        way: Way,
        transport: Transport,
        filters: Sequence[ApplicationFilter],
        rule: Mapping[str, Any],
    ) -> None:
        super().__init__(way, transport)
        kernel = MemoryDataPath(GATEWAY_ADDRESSES)
        user = MemoryDataPath(GATEWAY_ADDRESSES, kind=DataPathKind.USER, beside=kernel)
        self.paths = {path.kind: path for path in (kernel, user)}
        self.kinds = tuple(self.paths)
        self.world = VirtualWorld()
        self.world.journal = self.journal
        self.ports = Ports(PortRange.parse(PORTS), self.world.random_below)
        self.gateway = Gateway(
            policy=policy(way, **rule),
            data_paths=self.paths,
            ports=self.ports,
            environment=self.world,
            filters=(Owner(), *filters),
        )
        self._peer_ports = count(_FIRST_PEER_PORT)
        self._served: set[Endpoint] = set()
        self.primary = self.dial()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """See `Bench`."""
        try:
            work.send(None)
        except StopIteration as done:
            result: _Result = done.value
            return result
        work.close()
        raise AssertionError("it waits for something")

    def until(self, condition: Callable[[], bool]) -> None:
        """See `Bench`; what happens here has happened when the call that made it returns."""
        assert condition(), f"it does not happen; {self.journal.records[-5:]}"

    def until_ended(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """See `Bench`; what was ended is over when the call that ended it returns."""
        assert peer not in connection.running

    def pass_time(self, seconds: float) -> None:
        """See `Bench`."""
        self.world.pass_time(self.gateway, seconds)

    def serve(self, at: Endpoint) -> None:
        """See `Bench`."""
        self._served.add(at)

    async def come(
        self, peer: IpAddress, listen: Endpoint, source_port: int = 0
    ) -> "MemoryTalk | None":
        """See `Bench`."""
        source = Endpoint(peer, source_port or next(self._peer_ports))
        for path in self.paths.values():
            if self.transport is Transport.TCP:
                at = path.connect(source, listen)
            else:
                at = path.send(source, listen, b"hello")
            if at is not None:
                assert at in self._served, f"{at} does not listen"
                is_proxied = any(
                    opening.pinhole.is_proxied
                    for binding in self.gateway.bindings()
                    for opening in binding.connections
                    if opening.pinhole.listen == listen
                )
                return MemoryTalk(self, path, source, listen, at, is_proxied=is_proxied)
        return None

    def reach(self, peer: IpAddress, listen: Endpoint, *, source_port: int = 0) -> "MemoryTalk":
        """See `Bench`."""
        talk = self.run(self.come(peer, listen, source_port))
        assert talk is not None, "turned away"
        return talk

    def is_refused(self, peer: IpAddress, listen: Endpoint, *, source_port: int = 0) -> bool:
        """See `Bench`."""
        return self.run(self.come(peer, listen, source_port)) is None

    def fail(self, peer: IpAddress, listen: Endpoint) -> None:
        """See `Bench`."""
        for path in self.paths.values():
            path.attempt(Endpoint(peer, next(self._peer_ports)), listen)

    def heard_outside(self, send: Callable[[Endpoint], None]) -> tuple[bytes, Endpoint]:
        """See `Bench`."""
        to = Endpoint(self.way.server, next(self._peer_ports))
        send(to)
        sent = [datagram for path in self.paths.values() for datagram in path.sent]
        ((listen, peer, data),) = sent
        assert peer == to
        return data, listen

    def fall_silent(self, binding: Binding) -> None:
        """See `Bench`."""
        for path in self.paths.values():
            for peer in [peer for flows in path.flows.values() for peer in flows]:
                path.finish(peer)

    def occupy(self, at: Endpoint) -> None:
        """See `Bench`."""
        self.paths[self.kinds[0]].occupied.add((self.transport, at))

    def refuse_next_open(self) -> None:
        """See `Bench`."""
        self.paths[self.kinds[0]].fail_next = OutOfResources("injected")

    def kept(self) -> object:
        """See `Bench`."""
        return [
            (sorted(path.pinholes), sorted(path.reserved, key=str), sorted(path.flows))
            for path in self.paths.values()
        ]


class MemoryTalk(Talk):
    """What a data path in memory knows of one flow."""

    def __init__(
        self,
        bench: MemoryBench,
        path: MemoryDataPath,
        peer: Endpoint,
        listen: Endpoint,
        at: Endpoint,
        *,
        is_proxied: bool,
    ) -> None:
        self._bench, self._path, self._listen = bench, path, listen
        self.peer, self.at = peer, at
        self.seen = Endpoint(bench.way.inside, peer.port) if is_proxied else peer

    def reaches_client(self, data: bytes) -> bool:
        """See `Talk`."""
        if self._bench.transport is Transport.UDP:
            return self._path.send(self.peer, self._listen, data) == self.at
        return bool(self._path.carry(self.peer, from_peer=len(data)))

    def reaches_peer(self, data: bytes) -> bool:
        """See `Talk`."""
        if self._bench.transport is Transport.UDP:
            return self._path.answer(self._listen, self.peer, data)
        return bool(self._path.carry(self.peer, to_peer=len(data)))

    def is_cut_towards_client(self, data: bytes) -> bool:
        """See `Talk`."""
        return not self.reaches_client(data)

    def is_cut_towards_peer(self, data: bytes) -> bool:
        """See `Talk`."""
        return not self.reaches_peer(data)

    def finish(self) -> None:
        """See `Talk`."""
        self._path.finish(self.peer)
