"""The guard while the daemon runs: installed, looked after, repaired, and taken away.

What others do to the host must not open it. A flush of the ruleset takes the base table; the guard
table, which we own, stays and does the same until the base is back. So nothing gets in meanwhile,
nothing leaves untranslated and nothing passes by the access rules, and there is time to look: four
times a second the tables are compared with what we loaded, once a second the rest of the host.

Rejected: to listen to nftables' notifications. While anyone listens, the kernel writes one for each
element of each pinhole, which takes a binding 6 microseconds to open and as many to close. Also
rejected: a base that is owned and persists (`flags owner, persist`), which no flush would touch
either. It takes Linux 6.9 and an nft that can write it, and routes and sysctls need looking after
anyway.
"""

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

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

# Nothing hangs on being quick: the guard table stands meanwhile. One look takes 0.2 ms.
LOOK_SECONDS = 0.25

# Every so many looks the sysctls and routes too: they are files and questions, 0.3 ms.
_LOOKS_PER_ROUND = 4

# A transaction that comes just while we read is rare: twice in a row does not happen.
_READINGS = 5


class Guard:
    """Base and guard table, and the host's settings, of a running gateway."""

    def __init__(self, settings: HostSettings, policy: Policy, journal: Journal) -> None:
        """Claim the host, before anything of it is changed; raises StartupError.

        The guard table is the claim: it is refused while another instance has one.
        """
        self._settings = settings
        self._journal = journal
        self._names = InterfaceNames(
            name for network in policy.networks for name in network.interfaces
        )
        self._watch = InterfaceWatch(self._names)
        self._wanted: tuple[Policy, GatewayRules] | None = None
        self._installed: tuple[Policy, GatewayRules] | None = None
        self._table = GUARD_TABLES[1]
        self._owner: socket.socket | None = None
        self._base = b""
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._poller: FairPoller | None = None
        self.repairs = 0
        """How often something was put in order since the start."""
        self.trouble: str | None = None
        """What could not be put in order, and is tried again; None when all is well."""

    def install(self, policy: Policy, rules: GatewayRules) -> None:
        """Put these rules in place of those that stand; raises StartupError, with none changed."""
        before, self._wanted = self._wanted, (policy, rules)
        try:
            self._renew()
        except BaseException:
            self._wanted = before
            raise

    def run_in(self, loop: asyncio.AbstractEventLoop, poller: FairPoller) -> None:
        """Look after everything from now on; called once."""
        self._poller = poller
        poller.watch(self._watch, partial(self._follow_interfaces), events=select.EPOLLIN)
        self._later(loop)

    def remove(self) -> None:
        """Take both tables away, if they are ours; idempotent, never raises."""
        if self._timer is not None:
            self._timer.cancel()
        if self._poller is not None:
            self._poller.forget(self._watch)
            self._poller = None
        self._watch.close()
        if self._owner is not None:
            with contextlib.suppress(StartupError):
                table.load(render_removal(BASE_TABLE))
            self._owner.close()
            self._owner = None

    def look(self) -> None:
        """Compare with what should be, and put it in order; never raises."""
        self._looks += 1
        found: list[str] = []
        trouble: list[str] = []
        parts: list[tuple[str, Callable[[], list[str]]]] = [
            (f"table {BASE_TABLE}", self._repair_base),
        ]
        if self._looks % _LOOKS_PER_ROUND == 0:
            parts += [
                ("sysctls and routes", self._repair_settings),
                (f"table {self._table}", self._follow_forwarding),
            ]
        for what, repair in parts:
            try:
                found += repair()
            except (StartupError, KernelError, OSError) as error:
                trouble.append(f"{what}: {error}")
        if found:
            self.repairs += 1
            self._journal.record("guard.repaired", level="error", found="; ".join(found))
        self._note("; ".join(trouble) or None)

    # -- the rest ---------------------------------------------------------------------------------

    def _repair_base(self) -> list[str]:
        now = table.contents(BASE_TABLE)
        if now is None or now == self._base:
            return []
        self._load_base()
        return [f"table {BASE_TABLE} was " + ("changed" if now else "removed")]

    def _repair_settings(self) -> list[str]:
        return [f"{what} was changed" for what in self._settings.repair()]

    def _follow_forwarding(self) -> list[str]:
        if self._current() != self._installed:
            self._renew()
        return []

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            self._journal.record("guard.degraded", level="error", problem=trouble)
        self.trouble = trouble

    def _later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LOOK_SECONDS, self._look_again, loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self.look()
        finally:
            self._later(loop)

    def _follow_interfaces(self, _events: int) -> None:
        try:
            self._watch.drain()
            if self._installed is not None and self._current() != self._installed:
                self._follow()
        except (StartupError, KernelError, OSError) as error:
            self._note(str(error))

    def _follow(self) -> None:
        assert self._wanted is not None  # noqa: S101 - there is none installed otherwise
        policy = self._named(self._wanted[0])
        self._settings.follow(interfaces(policy, external=False), interfaces(policy, external=True))
        self._renew()
        names = ", ".join(name for network in policy.networks for name in network.interfaces)
        self._journal.record("guard.followed", interfaces=names)

    def _current(self) -> tuple[Policy, GatewayRules] | None:
        """Return what should be installed, as interfaces are called now."""
        if self._wanted is None:
            return None
        policy, rules = self._wanted
        return self._named(policy), replace(rules, forwarded=self._settings.forwarded)

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
            owner = table.owner_of(taken)
            if owner and (self._owner is None or taken == name):
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
        table.load(render_base(*wanted))
        # Others' transactions in between interrupt the reading; removed again at once, it is empty,
        # and the next look finds another one than this.
        read = (table.contents(BASE_TABLE) for _ in range(_READINGS))
        self._base = next((found for found in read if found is not None), None) or b"none"


def interfaces(policy: Policy, *, external: bool) -> Iterable[str]:
    """Return the interfaces of the external network, or of all others."""
    networks = [network for network in policy.networks if policy.is_outside(network) == external]
    return [name for network in networks for name in network.interfaces]
