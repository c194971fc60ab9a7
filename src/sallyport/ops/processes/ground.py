"""What a gateway sets up on its host besides its workers: guard, sysctls, route, reserved ports."""

import asyncio
import select
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from sallyport import limits
from sallyport.addresses import PortRange
from sallyport.core.policy.rules import Network, NetworkRule, Policy, PublishingRule
from sallyport.core.runtime.environment import Journal
from sallyport.errors import KernelError, StartupError
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
        self._drop_log = DropLog(journal, interface_name)
        self._rules: GuardRules | None = None
        self._lack: str | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._poller: FairPoller | None = None

    @property
    def guard(self) -> str | None:
        """The name of the guard table; None without one."""
        return None if self._guard is None else self._guard.table

    def pause(self) -> None:
        """Leave the host alone: a successor sets it up."""
        if self._guard is not None:
            self._guard.pause()
            self._stop_sampling()

    def resume(self) -> None:
        """Look after the host again, in the running event loop."""
        if self._guard is not None and self._poller is not None:
            self._guard.run_in(asyncio.get_running_loop(), self._poller)
            self._sample_drops()
            self._log_drops()

    def require(self, plan: Plan) -> None:
        """Check that a gateway can start here; raises StartupError."""
        if plan.lack is None:
            host.require()
        host.require_free(PortRange.parse(plan.port_range))

    def install(
        self, plan: Plan, rules: GuardRules, undo: ExitStack, before: str | None = None
    ) -> None:
        """Set everything up and look after it, in the running event loop.

        `before` is the guard table of the gateway that is taken over. Pushes on `undo` what takes
        it away. Raises StartupError.
        """
        if plan.lack is not None:
            return
        policy = rules.policy
        self._tell_cuts(policy, rules.gateway)
        inside, outside = (interfaces(policy, external=external) for external in (False, True))
        changes = host.HostSettings(rules.gateway.port_range, inside, outside)
        self._sample_drops()
        undo.callback(self._stop_sampling)
        self._guard = Guard(changes, policy, self._journal, before)
        # The guard stands before the host begins to forward, and falls after it has ceased to.
        undo.callback(self._guard.remove)
        self._guard.install(policy, self._sampling(rules))
        self._rules = rules
        undo.callback(changes.restore)
        changes.apply()
        self._poller = FairPoller(asyncio.get_running_loop())
        undo.callback(self._poller.close)
        self._guard.run_in(asyncio.get_running_loop(), self._poller)
        self._log_drops()
        asyncio.get_running_loop().call_later(limits.DROP_MINUTE_SECONDS, self._end_minute)

    def _sample_drops(self) -> None:
        """Ask for samples of what is dropped; a host may have no packet log."""
        try:
            self._drops = DropWatch()
        except KernelError as error:
            if str(error) != self._lack:
                self._journal.record(
                    "gateway.limited",
                    level="warning",
                    to="no records of dropped packets",
                    lack=str(error),
                )
            self._lack = str(error)
        else:
            self._lack = None

    def _sample_again(self) -> None:
        """Ask for samples once more: the program that had their group may have ended."""
        assert self._guard is not None  # noqa: S101 - it stands as long as samples are looked for
        assert self._rules is not None  # noqa: S101
        self._sample_drops()
        if self._drops is not None:
            with suppress(StartupError):  # the guard looks after its rules itself
                self._guard.install(self._rules.policy, self._sampling(self._rules))
        self._log_drops()

    def _stop_sampling(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        if self._drops is not None and self._poller is not None:
            self._poller.forget(self._drops)
            self._drops.close()
            self._drops = None

    def _sampling(self, rules: GuardRules) -> GatewayRules:
        return replace(rules.gateway, are_drops_sampled=self._drops is not None)

    def _log_drops(self) -> None:
        if self._drops is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(limits.DROP_RETRY_SECONDS, self._sample_again)
        elif self._poller is not None:
            self._poller.watch(self._drops, self._note_drops, events=select.EPOLLIN)

    def _note_drops(self, _events: int) -> None:
        for sample in self._drops.drain() if self._drops is not None else ():
            self._drop_log.note(sample)

    def _end_minute(self) -> None:
        self._drop_log.minute_is_over()
        asyncio.get_running_loop().call_later(limits.DROP_MINUTE_SECONDS, self._end_minute)

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
            self._rules = rules

    def free_series(self, plan: Plan, taken: set[int]) -> int:
        """Return a series of numbers that is free; raises StartupError."""
        return host.free_series(taken, plan.node) if plan.lack is None else 0

    @property
    def repairs(self) -> int:
        """How often something of it was put in order."""
        return self._guard.repairs if self._guard else 0

    @property
    def trouble(self) -> str | None:
        """What could not be put in order yet."""
        return self._guard.trouble if self._guard else None
