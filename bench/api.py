"""The only module here that uses Sallyport's Python API: a gateway in this process, to be asked.

Run as a process inside a lab's gateway; takes orders as JSON lines, answers each with one.
"""

import asyncio
import gc
import os
import re
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import machine
from sallyport.addresses import Endpoint, PortRange
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import DataPath, DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    Policy,
    Relation,
)
from sallyport.core.runtime.environment import Level
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.ipfilter import IpFilter
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.guard import Guard
from sallyport.kernel.host import HostSettings
from sallyport.kernel.pins_table import pins_table
from sallyport.ops.interfaces import local_addresses
from sallyport.ops.world import AsyncWorld
from sallyport.relay.datapath import UserDataPath

_PROTOCOL = ProtocolDefinition("bench", Transport.TCP, 7)
_CLIENT, _SERVER = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:7")
_CLIENT_PORT = 1553
_PROXY = Endpoint.parse("203.0.113.1:0")

# Sixty thousand bindings need nearly every port there is.
_PORTS = PortRange(2000, 65535)
_QUOTA = 65536

# Bindings made and not yet withdrawn while binds are timed: as many as make no difference.
_WITHDRAWN_TOGETHER = 256

_ELEMENTS = re.compile(r"elements = {([^}]*)}")


class Order(Struct, frozen=True):
    """What to do."""

    verb: str
    """`fill`: have `count` live bindings. `bind`: make `count` binds of `block` addresses each and
    withdraw them. `cycles`: open and close `count` times. `weigh`: say what is used."""
    count: int = 0
    block: int = 1


class Answer(Struct, frozen=True):
    """What came of it."""

    seconds: float = 0.0
    """Spent in the binds alone."""
    close_seconds: float = 0.0
    times_us: list[float] = []
    """Of each bind, ascending."""
    memory: int = 0
    """Bytes (PSS) of this process."""
    slab: int = 0
    """Bytes of the kernel's slabs, whole machine."""
    descriptors: int = 0
    elements: int = 0
    """Elements in the kernel's sets of pinholes."""
    live: int = 0
    problem: str = ""


class _Silence:
    """A journal that drops every record."""

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Implement `core.runtime.journal.Journal.record`."""


def _policy() -> Policy:
    rule = AccessRule(
        name="bench",
        action=Action.ALLOW,
        protocols=frozenset({_PROTOCOL.name}),
        sources=Hosts.of("internal"),
        destinations=Hosts.of("external"),
        max_bindings_per_client=_QUOTA,
    )
    internal = Network("internal", ("int0",), (ip_network("10.0.0.0/24"),))
    return Policy(
        networks=(internal, Network("external", ("ext0",))),
        network_rules=(NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),),
        access_rules=(rule,),
        gateway_addresses=frozenset(local_addresses()),
    )


class Subject:
    """A gateway with one client, whose binds are timed."""

    def __init__(self, world: AsyncWorld, path: DataPath, kind: DataPathKind) -> None:
        self._kind = kind
        self._gateway = Gateway(
            policy=_policy(),
            data_paths={kind: path},
            ports=Ports(_PORTS, world.random_below),
            environment=world,
            filters=(),
        )
        world.drive(self._gateway)
        self._primary = self._gateway.admit_primary(_PROTOCOL, _CLIENT, _SERVER)
        self._session: Session = self._primary.session
        self._filled: list[Binding] = []

    async def obey(self, order: Order) -> Answer:
        """Do what is asked."""
        if order.verb == "fill":
            await self._fill(order.count)
            return self._weighed()
        if order.verb == "bind":
            return await self._bind(order.count, order.block)
        if order.verb == "cycles":
            return await self._cycle(order.count)
        return self._weighed()

    async def _one(self, clients: list[Endpoint]) -> Binding:
        # As the FTP filter calls it: one peer, the primary's server.
        return await self._session.bind_for_client(
            clients,
            transport=Transport.TCP,
            protocol=_PROTOCOL,
            proxy_address=_PROXY,
            ip_filter=IpFilter.of(_SERVER.address),
        )

    async def _fill(self, count: int) -> None:
        clients = [Endpoint(_CLIENT.address, _CLIENT_PORT)]
        while len(self._filled) < count:
            self._filled.append(await self._one(clients))
        while len(self._filled) > count:
            self._filled.pop().withdraw()

    async def _bind(self, count: int, block: int) -> Answer:
        clients = [Endpoint(_CLIENT.address, _CLIENT_PORT + n) for n in range(block)]
        times: list[int] = []
        made: list[Binding] = []
        closing = 0
        clock = time.perf_counter_ns
        for number in range(1, count + 1):
            begin = clock()
            made.append(await self._one(clients))
            times.append(clock() - begin)
            if len(made) * block >= _WITHDRAWN_TOGETHER or number == count:
                begin = clock()
                for binding in made:
                    binding.withdraw()
                closing += clock() - begin
                made.clear()
                # What a real daemon's loop would do meanwhile: timers, events of the kernel.
                await asyncio.sleep(0)
        return Answer(
            seconds=sum(times) / 1e9,
            close_seconds=closing / 1e9,
            times_us=sorted(spent / 1000 for spent in times),
            live=len(self._filled),
        )

    async def _cycle(self, count: int) -> Answer:
        clients = [Endpoint(_CLIENT.address, _CLIENT_PORT)]
        begin = time.perf_counter()
        open_ones: deque[Binding] = deque()
        for number in range(count):
            open_ones.append(await self._one(clients))
            if len(open_ones) > 8:
                open_ones.popleft().withdraw()
            if number % _WITHDRAWN_TOGETHER == 0:
                await asyncio.sleep(0)
        for binding in open_ones:
            binding.withdraw()
        seconds = time.perf_counter() - begin
        return msgspec.structs.replace(self._weighed(), seconds=seconds)

    def _weighed(self) -> Answer:
        gc.collect()
        return Answer(
            memory=machine.memory_of(os.getpid()),
            slab=machine.kernel_memory(),
            descriptors=len(os.listdir("/proc/self/fd")),
            elements=_elements() if self._kind is DataPathKind.KERNEL else 0,
            live=len(self._filled),
        )


def _elements() -> int:
    """Count what lies in the pinhole sets, by nft's own listing."""
    # As text: nft 1.0.6 breaks its JSON off at the flag of a table that a process owns.
    argv = ["nft", "list", "table", "inet", pins_table(0)]
    listing = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return sum(block.count(",") + 1 for block in _ELEMENTS.findall(listing))


async def _serve(kind: DataPathKind, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    with ExitStack() as undo:
        poller = FairPoller(loop)
        undo.callback(poller.close)
        settings = HostSettings(_PORTS, ["int0"], ["ext0"], folder / "host.state")
        guard = Guard(settings, _policy(), _Silence())
        undo.callback(guard.remove)
        guard.install(_policy(), GatewayRules(_PORTS, masquerade=False))
        settings.apply()
        path: DataPath
        if kind is DataPathKind.KERNEL:
            kernel = KernelDataPath.start()
            undo.callback(kernel.stop)
            kernel.run_in(loop, poller)
            path = kernel
        else:
            user = UserDataPath(loop, poller, is_transparent=True)
            undo.callback(user.stop)
            path = user
        async with asyncio.TaskGroup() as tasks:
            subject = Subject(AsyncWorld(_Silence(), tasks), path, kind)
            # Orders are read without the loop: while we wait for one there is nothing to do.
            for line in sys.stdin:
                try:
                    answer = await subject.obey(msgspec.json.decode(line, type=Order))
                except Exception as error:  # noqa: BLE001 - the report says what it was
                    answer = Answer(problem=repr(error))
                sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(DataPathKind(sys.argv[1]), Path(sys.argv[2])))
