"""Sallyport itself, by its public command, with an ordinary configuration."""

import importlib.util
import subprocess
from typing import ClassVar

from bench import machine
from bench.errors import Absent
from bench.setups.base import Setup
from bench.setups.kernel import shorten
from sallyport.lab.gateway import RunningGateway

_CONFIGURATION = """\
[gateway]
data_path = "{data_path}"
workers = {workers}

[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]

[networks.external]
interfaces = ["ext0"]

[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
{rules}
[[access_rules]]
name = "bench"
action = "allow"
protocols = ["ftp", "tftp"{more}]
from = ["internal"]
to = ["external"]
max_bindings_per_client = {quota}
"""

# A filter that looks at every secondary connection's bytes and does nothing about them.
_ONLOOKER = """\
from sallyport.api import (
    AcceptedConnection, ApplicationFilter, DataFilter, Hooks, Priority, Scope, SessionFilter,
)

class OnlookerSession(SessionFilter):
    async def on_event(self, event):
        if event.is_secondary:
            event.connection.attach_data_filter(DataFilter(), Priority.MIDDLE)

class Onlooker(ApplicationFilter):
    name = "onlooker"
    api_version = 1
    hooks = Hooks.of(AcceptedConnection, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL)

    def attach_to_session(self, session):
        return OnlookerSession()
"""

# More than the control connections that one client address may have.
_QUOTA = 1024

# Of one processor, for each worker that is capped: two of them, with the load that they make for
# client and server, take less than one of two processors.
CAP = 0.2

# Ten turns of the scheduler's default tick; long beside a transfer, short beside a measurement.
_CAP_PERIOD_NS = 10_000_000


class Sallyport(Setup):
    """The daemon as it is shipped, data in the kernel; only the client's quota is raised."""

    name = "sallyport"
    title = "Sallyport"
    data_path: ClassVar[str] = "auto"
    protocols: ClassVar[tuple[str, ...]] = ()
    """What the rule grants besides FTP and TFTP."""
    quota: ClassVar[int] = _QUOTA
    rules: ClassVar[str] = ""
    """Rules that come before that of everybody."""
    workers: ClassVar[int] = 1

    def start(self) -> None:
        """Implement `Setup.start`."""
        more = "".join(f', "{name}"' for name in self.protocols)
        head = _CONFIGURATION.format(
            data_path=self.data_path,
            workers=self.workers,
            quota=self.quota,
            more=more,
            rules=self.rules,
        )
        text = head + self.filters()
        path = self.write("sallyport.toml", text)
        shorten(self.lab.gateway)
        self.gateway = RunningGateway(self.lab, ("--config", str(path)))

    def filters(self) -> str:
        """Return what the configuration says about filters."""
        return ""


class SallyportLimited(Sallyport):
    """The same, where the second client has the limits of the example in the README."""

    name = "sallyport-limits"
    title = "Sallyport, with limits"
    rules = """
[[access_rules]]
name = "the second client"
action = "allow"
protocols = ["ftp", "tftp"]
from = ["10.0.0.9"]
to = ["external"]
max_bindings_per_client = 64
max_binds_per_minute = 600
"""


class SallyportUser(Sallyport):
    """The same with every byte through the daemon."""

    name = "sallyport-user"
    title = "Sallyport, user mode"
    data_path = "user"


class SallyportFiltered(Sallyport):
    """The same with one data filter on every secondary connection that passes everything on."""

    name = "sallyport-noop"
    title = "Sallyport, one no-op data filter"

    def filters(self) -> str:
        """Implement `Sallyport.filters`; raises Absent where filters of others cannot be loaded."""
        if importlib.util.find_spec("sallyport.api") is None:
            raise Absent("this version has no data filters on secondary connections")
        return f'[filters.onlooker]\npath = "{self.write("onlooker.py", _ONLOOKER)}"\n'


class SallyportSip(Sallyport):
    """The same with a rule that names SIP."""

    name = "sallyport-sip"
    title = "Sallyport, SIP"
    protocols = ("sip",)


class SallyportSipUser(SallyportSip):
    """The same with every datagram of media through the daemon."""

    name = "sallyport-sip-user"
    title = "Sallyport, SIP in user mode"
    data_path = "user"


class SallyportCapped(Sallyport):
    """The same with one worker that has a fixed share of a processor, however busy the machine is.

    A worker that is capped leaves room for client and server, and what one worker makes is not
    what the load leaves it. The kernel keeps to the share (SCHED_DEADLINE, sched(7)): so much of
    each period, before every ordinary process, and no more.
    """

    name = "sallyport-1-worker"
    title = "Sallyport, 1 worker"
    programs = ("chrt",)

    def start(self) -> None:
        """Implement `Setup.start`; raises Absent where nothing can be capped."""
        super().start()
        period = _CAP_PERIOD_NS
        for worker in self.running_workers():
            # What the worker starts, nft for instance, is ordinary again, or it could not start.
            argv = ["chrt", "--reset-on-fork", "--deadline", "--pid"]
            argv += ["--sched-runtime", str(round(CAP * period)), "--sched-deadline", str(period)]
            argv += ["--sched-period", str(period), "0", str(worker)]
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
            if done.returncode:
                raise Absent(f"no worker can be capped: {done.stderr.strip()}")

    def running_workers(self) -> list[int]:
        """Return the process ids of the workers."""
        return [
            process
            for process in machine.inhabitants(self.lab.gateway.namespace)
            if b"sallyport.ops.processes.worker" in machine.command_of(process)
        ]


class SallyportTwoCapped(SallyportCapped):
    """The same with two of them."""

    name = "sallyport-2-workers"
    title = "Sallyport, 2 workers"
    workers = 2


class SallyportSocks(Sallyport):
    """The same, asked by SOCKS."""

    name = "sallyport-socks"
    title = "Sallyport, SOCKS"
    protocols = ("socks-connect", "socks-bind", "socks-udp")

    def filters(self) -> str:
        """Implement `Sallyport.filters`: no filter, but a front end."""
        return '[frontends.socks]\nlisten = ["10.0.0.1:1080"]\n'


class SallyportPcp(Sallyport):
    """The same, asked by PCP."""

    name = "sallyport-pcp"
    title = "Sallyport, PCP MAP"
    protocols = ("port-mapping",)
    # All live mappings of the case are one client's.
    quota = 10_000

    def filters(self) -> str:
        """Implement `Sallyport.filters`: no filter, but a front end."""
        return "[frontends.pcp]\n"
