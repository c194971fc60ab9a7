"""The guard while the daemon runs: installed, looked after, repaired, and taken away.

What others do to the host must not open it. A flush of the ruleset takes the base table; the guard
table, which we own, stays and does the same until the base is back. So nothing gets in meanwhile,
nothing leaves untranslated and nothing passes by the access rules.

The kernel gives notice of each transaction and names the process that made it; then the base table
is compared with what we loaded, and put back. Sysctls, reserved ports and routes give no notice and
are compared twice a second; the table then too, in case a notice was lost.

Rejected: to compare alone, which cannot say who did it. Notices cost each transaction of a worker
3.5 microseconds (8.7 to 12.2, measured), so a binding 7: the kernel writes one also where a socket
filter drops it. Also rejected: a base that is owned and persists (`flags owner, persist`), which no
flush would touch either. It takes Linux 6.9 and an nft that can write it, and routes and sysctls
need looking after anyway.
"""

import asyncio
import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from sallyport.core.policy.rules import Network, Policy
from sallyport.core.runtime.environment import Journal
from sallyport.errors import KernelError, StartupError
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel import table
from sallyport.kernel.base_table import (
    BASE_TABLE,
    GUARD_TABLES,
    GatewayRules,
    render_base,
    render_guard,
    render_removal,
)
from sallyport.kernel.host import HostSettings
from sallyport.kernel.interface_names import InterfaceNames, InterfaceWatch
from sallyport.kernel.ruleset import Ruleset, RulesetWatch
from sallyport.wire.ruleset import RulesetChange

# What gives no notice is to be back within a second. One look takes half a millisecond.
LOOK_SECONDS = 0.5

# A culprit is among the last of them; who changes rules all the time fills no log line.
_SUSPECTS = 8

# Another program's transaction comes just while we load the base: rare, and twice in a row more so.
_LOADINGS = 3


class Guard:
    """Base and guard table, and the host's settings, of a running gateway."""

    def __init__(
        self,
        settings: HostSettings,
        policy: Policy,
        journal: Journal,
        before: str | None = None,
    ) -> None:
        """Claim the host, before anything of it is changed; raises StartupError.

        The guard table is the claim: it is refused while another instance has one, unless that is
        `before`, the table of the gateway that is taken over.
        """
        self._before = before
        self._settings = settings
        self._journal = journal
        self._names = InterfaceNames(
            name for network in policy.networks for name in network.interfaces
        )
        self._interfaces = InterfaceWatch(self._names)
        self._ruleset = Ruleset()
        self._changes = RulesetWatch()
        self._wanted: tuple[Policy, GatewayRules] | None = None
        self._installed: tuple[Policy, GatewayRules] | None = None
        self._table = before or GUARD_TABLES[1]
        self._owner: socket.socket | None = None
        # What the kernel held of the base table when all was well; None: load it again to be sure.
        self._base: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._poller: FairPoller | None = None
        self._damage: str | None = None
        # Who changed rules since the base was last as it should be, of many the last.
        self._suspects: deque[RulesetChange] = deque(maxlen=_SUSPECTS)
        self._troubles: dict[Callable[[], list[str]], str] = {}
        self.repairs = 0
        """How often something was put in order since the start."""

    def install(self, policy: Policy, rules: GatewayRules) -> None:
        """Put these rules in place of those that stand; raises StartupError, with none changed."""
        before, self._wanted = self._wanted, (policy, rules)
        try:
            self._renew()
        except BaseException:
            self._wanted = before
            raise

    def run_in(self, loop: asyncio.AbstractEventLoop, poller: FairPoller) -> None:
        """Look after everything from now on."""
        self._poller = poller
        poller.watch(self._interfaces, self._heed_interfaces, events=select.EPOLLIN)
        poller.watch(self._changes, self._heed_changes, events=select.EPOLLIN)
        self._later(loop)

    @property
    def table(self) -> str:
        """The name of the guard table that stands."""
        return self._table

    def pause(self) -> None:
        """Leave the host alone until `run_in` is called again; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._poller is not None:
            self._poller.forget(self._interfaces)
            self._poller.forget(self._changes)
            self._poller = None

    def remove(self) -> None:
        """Take both tables away, if they are ours; idempotent, never raises."""
        self.pause()
        self._interfaces.close()
        self._changes.close()
        self._ruleset.close()
        if self._owner is not None:
            with contextlib.suppress(StartupError):
                table.load(render_removal(BASE_TABLE))
            self._owner.close()
            self._owner = None

    @property
    def trouble(self) -> str | None:
        """What could not be put in order, and is tried again; None when all is well."""
        return "; ".join(self._troubles.values()) or None

    def look(self) -> None:
        """Compare everything with what should be, and put it in order; never raises."""
        self._put_in_order(self._repair_base, self._repair_settings, self._follow_interfaces)

    # -- the rest ---------------------------------------------------------------------------------

    def _put_in_order(self, *repairs: Callable[[], list[str]]) -> None:
        found: list[str] = []
        for repair in repairs:
            try:
                found += repair()
            except (StartupError, KernelError, OSError) as error:
                self._note(repair, str(error))
            else:
                self._troubles.pop(repair, None)
        if found:
            self.repairs += 1
            self._journal.record("guard.repaired", level="error", found="; ".join(found))

    def _note(self, repair: Callable[[], list[str]], trouble: str) -> None:
        if self._troubles.get(repair) != trouble:
            self._journal.record("guard.degraded", level="error", problem=trouble)
        self._troubles[repair] = trouble

    def _repair_base(self) -> list[str]:
        self._suspects += self._changes.drain()
        now = self._ruleset.contents(BASE_TABLE)
        if now is None:
            # A program changes rules at this moment; of that there will be a notice.
            return []
        if now == self._base:
            self._suspects.clear()
            return []
        if self._base is not None:
            self._damage = f"table {BASE_TABLE} was {'changed' if now else 'removed'}"
            if self._suspects:
                self._damage += f" by {', '.join(dict.fromkeys(map(str, self._suspects)))}"
        try:
            self._load_base()
        except StartupError as error:
            raise StartupError(f"{self._damage}, and cannot be put back: {error}") from None
        found, self._damage = self._damage, None
        return [found] if found else []

    def _repair_settings(self) -> list[str]:
        return [f"{what} was changed" for what in self._settings.repair()]

    def _keep_up(self) -> list[str]:
        """Follow what the interfaces are called now, and whether the host forwards for others."""
        current, before = self._current(), self._installed
        if current is None or before is None or current == before:
            return []
        policy, _ = current
        if policy != before[0]:
            inside, outside = (interfaces(policy, external=external) for external in (False, True))
            self._settings.follow(inside, outside, self._names.take_renamed())
        self._renew()
        if policy != before[0]:
            names = ", ".join(name for network in policy.networks for name in network.interfaces)
            self._journal.record("guard.followed", interfaces=names)
        return []

    def _later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LOOK_SECONDS, self._look_again, loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self.look()
        finally:
            self._later(loop)

    def _heed_interfaces(self, _events: int) -> None:
        self._put_in_order(self._follow_interfaces)

    def _follow_interfaces(self) -> list[str]:
        self._interfaces.drain()
        return self._keep_up()

    def _heed_changes(self, _events: int) -> None:
        self._put_in_order(self._repair_base)

    def _current(self) -> tuple[Policy, GatewayRules] | None:
        """Return what should be installed, as interfaces are called now."""
        if self._wanted is None:
            return None
        policy, rules = self._wanted
        inside = interfaces(policy, external=False)
        numbers = frozenset(number for name in inside for number in self._names.numbers(name))
        now = replace(rules, forwarded=self._settings.forwarded, inside_numbers=numbers)
        return self._named(policy), now

    def _named(self, policy: Policy) -> Policy:
        return replace(policy, networks=tuple(map(self._as_called, policy.networks)))

    def _as_called(self, network: Network) -> Network:
        names = [now for name in network.interfaces for now in self._names.now(name)]
        return replace(network, interfaces=tuple(names))

    def _renew(self) -> None:
        """Put guard and base in place of those that stand, each for a moment beside the old."""
        current = self._current()
        assert current is not None  # noqa: S101 - called with something to install
        name = GUARD_TABLES[0] if self._table == GUARD_TABLES[1] else GUARD_TABLES[1]
        for taken in GUARD_TABLES:
            owner = self._ruleset.owner_of(taken)
            is_ours = self._owner is not None or taken == self._before
            if owner and (not is_ours or taken == name):
                raise StartupError(
                    f"table {taken} exists already (netlink port {owner});"
                    " another instance runs in this network namespace"
                )
        owner_socket = table.claim(render_guard(*current, name), name)
        try:
            # The guard stands: whatever becomes of the base, nothing is open.
            self._load_base(current)
        except BaseException:
            owner_socket.close()
            raise
        if self._owner is not None:
            self._owner.close()
        self._owner, self._table, self._installed = owner_socket, name, current

    def _load_base(self, rules: tuple[Policy, GatewayRules] | None = None) -> None:
        wanted = rules or self._installed
        assert wanted is not None  # noqa: S101 - looked after only when installed
        self._base = None
        for _ in range(_LOADINGS):
            self._changes.drain()
            table.load(render_base(*wanted))
            found = self._ruleset.contents(BASE_TABLE)
            # With a second transaction beside ours this may be what its maker left of it.
            if found is not None and len(self._changes.drain()) == 1:
                self._base = found
                return


def interfaces(policy: Policy, *, external: bool) -> Iterable[str]:
    """Return the interfaces of the external network, or of all others."""
    networks = [network for network in policy.networks if policy.is_outside(network) == external]
    return [name for network in networks for name in network.interfaces]
