"""What a gateway sets up on its host besides its workers: guard, sysctls, route, reserved ports."""

import asyncio
import select
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sallyport import limits
from sallyport.addresses import PortRange
from sallyport.core.policy.rules import Network, NetworkRule, Policy, PublishingRule
from sallyport.core.runtime.environment import Journal
from sallyport.errors import KernelError
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel import host
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.cuts import cuts, forwarded
from sallyport.kernel.drops import DropLog, DropWatch, interface_name
from sallyport.kernel.guard import Guard, interfaces
from sallyport.ops.interfaces import local_addresses
from sallyport.ops.processes.messages import Plan


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What the guard must know; a worker finds it out, the supervisor's process keeps it."""

    networks: tuple[Network, ...]
    network_rules: tuple[NetworkRule, ...]
    publishing_rules: tuple[PublishingRule, ...]
    gateway: GatewayRules

    @property
    def policy(self) -> Policy:
        """The policy, as far as the kernel enforces it by itself."""
        return Policy(self.networks, self.network_rules, publishing_rules=self.publishing_rules)


class Ground:
    """The host, for a gateway with netfilter; for one without it nothing is changed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._guard: Guard | None = None
        self._drops: DropWatch | None = None

    def require(self, plan: Plan) -> None:
        """Check that a gateway can start here; raises StartupError."""
        if plan.lack is None:
            host.require()
        host.require_free(PortRange.parse(plan.port_range))

    def install(self, plan: Plan, rules: GuardRules, undo: ExitStack) -> None:
        """Set everything up and look after it, in the running event loop.

        Pushes on `undo` what takes it away. Raises StartupError.
        """
        if plan.lack is not None:
            return
        policy = rules.policy
        self._tell_cuts(policy, rules.gateway)
        inside, outside = (interfaces(policy, external=external) for external in (False, True))
        changes = host.HostSettings(rules.gateway.port_range, inside, outside)
        drops = self._sample_drops(undo)
        self._guard = Guard(changes, policy, self._journal)
        # The guard stands before the host begins to forward, and falls after it has ceased to.
        undo.callback(self._guard.remove)
        self._guard.install(policy, self._sampling(rules))
        undo.callback(changes.restore)
        changes.apply()
        loop = asyncio.get_running_loop()
        poller = FairPoller(loop)
        undo.callback(poller.close)
        self._guard.run_in(loop, poller)
        if drops is not None:
            self._log_drops(drops, loop, poller)

    def _sample_drops(self, undo: ExitStack) -> DropWatch | None:
        """Ask for samples of what is dropped; a host may have no packet log."""
        try:
            self._drops = DropWatch()
        except KernelError as error:
            self._journal.record(
                "gateway.limited",
                level="warning",
                to="no records of dropped packets",
                lack=str(error),
            )
            return None
        undo.callback(self._drops.close)
        return self._drops

    def _sampling(self, rules: GuardRules) -> GatewayRules:
        return replace(rules.gateway, are_drops_sampled=self._drops is not None)

    def _log_drops(
        self, watch: DropWatch, loop: asyncio.AbstractEventLoop, poller: FairPoller
    ) -> None:
        log = DropLog(self._journal, interface_name)

        def readable(_events: int) -> None:
            for sample in watch.drain():
                log.note(sample)

        def minute_is_over() -> None:
            log.minute_is_over()
            loop.call_later(limits.DROP_MINUTE_SECONDS, minute_is_over)

        poller.watch(watch, readable, events=select.EPOLLIN)
        loop.call_later(limits.DROP_MINUTE_SECONDS, minute_is_over)

    def _tell_cuts(self, policy: Policy, rules: GatewayRules) -> None:
        """Record what of the host's traffic passes no more from now on."""
        supervised = {
            (one.transport, one.port) for one in rules.interceptions if one.server is None
        }
        for cut in cuts(policy, supervised, forwarded(), local_addresses()):
            self._journal.record(
                "guard.cuts", level="warning", found=str(cut), connections=cut.connections
            )

    def replace(self, rules: GuardRules) -> None:
        """Put other rules in the place of those there are; raises StartupError."""
        if self._guard is not None:
            self._guard.install(rules.policy, self._sampling(rules))

    def free_series(self, plan: Plan, taken: set[int]) -> int:
        """Return a series of numbers that is free; raises StartupError."""
        return host.free_series(taken) if plan.lack is None else 0

    @property
    def repairs(self) -> int:
        """How often something of it was put in order."""
        return self._guard.repairs if self._guard else 0

    @property
    def trouble(self) -> str | None:
        """What could not be put in order yet."""
        return self._guard.trouble if self._guard else None
