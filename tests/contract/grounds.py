"""What benches stand on: the network of the suite, the guard, and the data paths themselves."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from tests.contract.places import PORTS, WAYS, Way, policy
from tests.netns.kernel_bench import both_guards

from sallyport import limits
from sallyport.addresses import PortRange
from sallyport.core.pinholes.datapath import DataPath, DataPathKind
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel import table
from sallyport.kernel.base_table import BASE_TABLE, GUARD_TABLES, GatewayRules, render_removal
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.first_words import FirstWords
from sallyport.kernel.host import HostSettings
from sallyport.lab.network import Lab
from sallyport.relay.datapath import UserDataPath

Paths = Mapping[DataPathKind, DataPath]


@dataclass
class Ground:
    """A network with two clients inside, a server and a stranger outside, and its gateway ready.

    `guard` tells for whom the base table stands; None is no table at all.
    """

    lab: Lab
    guard: Way | None = None

    @classmethod
    @contextmanager
    def prepared(cls, prefix: str) -> Iterator[Self]:
        """Build the network; it goes at the end."""
        with Lab.build(prefix, clients=2) as lab:
            for host in (lab.server, lab.stranger):
                # IPv6 is routed in every lab; here IPv4 is too.
                host.run(["ip", "route", "add", "10.0.0.0/24", "via", str(lab.gateway.address4)])
            ground = cls(lab)
            with lab.gateway.entered():
                ground.set_guard(WAYS[0])
                # What the daemon sets up at its start.
                file = lab.folder / "host.state"
                HostSettings(PortRange.parse(PORTS), ["int0"], ["ext0"], file).apply()
            yield ground

    def set_guard(self, way: Way | None) -> None:
        """Load or remove the base table, in the gateway, where we are; it takes 36 ms, so only
        when it is another one than the last test's."""
        if way == self.guard:
            return
        rules = GatewayRules(PortRange.parse(PORTS))
        removal = render_removal(BASE_TABLE) + render_removal(GUARD_TABLES[0])
        table.load(both_guards(policy(way), rules) if way else removal)
        self.guard = way

    @contextmanager
    def user_paths(self, way: Way, loop: asyncio.AbstractEventLoop) -> Iterator[Paths]:
        """The relay alone, gone at the end.

        Where addresses are translated there is no netfilter at all, and no privilege is used. On a
        routed relation peers connect to the client's own address: that takes a transparent socket,
        and the base table, which hands it what comes.
        """
        self.set_guard(None if way.is_nat else way)
        with ExitStack() as undo:
            poller = FairPoller(loop)
            undo.callback(poller.close)
            user = self._user(loop, poller, undo, is_transparent=not way.is_nat)
            yield {DataPathKind.USER: user}

    @staticmethod
    def _user(
        loop: asyncio.AbstractEventLoop,
        poller: FairPoller,
        undo: ExitStack,
        *,
        is_transparent: bool,
    ) -> UserDataPath:
        ears = FirstWords(loop) if is_transparent else None
        if ears is not None:
            undo.callback(ears.stop)
        user = UserDataPath(loop, poller, is_transparent=is_transparent, ears=ears)
        undo.callback(user.stop)
        return user

    @contextmanager
    def kernel_paths(self, way: Way, loop: asyncio.AbstractEventLoop) -> Iterator[Paths]:
        """Both data paths behind the guard, the kernel's first, as the daemon has them."""
        self.set_guard(way)
        with ExitStack() as undo:
            poller = FairPoller(loop)
            undo.callback(poller.close)
            kernel = KernelDataPath.start(int(limits.UDP_IDLE_SECONDS))
            undo.callback(kernel.stop)
            kernel.run_in(loop, poller)
            user = self._user(loop, poller, undo, is_transparent=True)
            yield {DataPathKind.KERNEL: kernel, DataPathKind.USER: user}
