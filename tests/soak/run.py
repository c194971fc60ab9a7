"""A soak: clients, faults and books, for as long as is asked for."""

import ctypes
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from subprocess import run as run_program
from time import monotonic

from tests.netns.test_daemon import traces
from tests.soak.books import Books, Happening, Log
from tests.soak.faults import FAULTS, Fault, Scene
from tests.soak.gateways import NAME, Gateways
from tests.soak.load import KINDS, Load
from tests.soak.network import PATIENCE, Network
from tests.soak.rogues import ROGUES
from tests.soak.visits import Kind

from sallyport import limits
from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.state_file import STATE_FOLDER
from sallyport.lab.network import Lab
from sallyport.wire.conntrack import read_tuple

# Room for the log of a long soak (one KiB a session), and for what gateways keep.
LOG_BYTES, STATE_BYTES = 1 << 28, 1 << 22

# A client that vanished is given up by its server after fifteen seconds, a TFTP transfer that an
# earlier process let in when it has been silent for a minute. A telephone has said nothing for two
# minutes when its conversation is over, and a call whose end was lost with a cable has five, and
# then the conversation its two.
REST_SECONDS = limits.SIP_DEAD_CALL_SECONDS + limits.DATAGRAM_IDLE_SECONDS + 60.0
# Where there is no time for that an operator ends what waits, after this.
SHORT_REST_SECONDS = 20.0

# Python keeps some pages of what it has freed; a leak of a kilobyte in a hundred sessions shows.
MEMORY_SLACK = 12 << 20
# Descriptors that come and go by themselves: admin connections, pipes of splice.
DESCRIPTOR_SLACK = 8
# What is remembered of the last of something is no leak; one object of each session would be.
OBJECT_SLACK = 1100

# Linux asks three times for a neighbour, a second apart: on a busy machine a host that is away for
# two seconds is given up, and its clients hear of no route.
ASK_FOR_NEIGHBOUR_TIMES = 20

_NAMES = ("int0", "ext0")

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how much, and by which chance."""

    seed: int
    seconds: float
    per_second: float
    pause: tuple[float, float]
    """Between a fault and the next: at least, at most."""
    audit_seconds: float = float("inf")
    """How often all clients rest and everything is counted, besides the end."""
    rest_seconds: float = REST_SECONDS
    clients: int = 32
    faults: Sequence[Fault] = FAULTS
    kinds: Sequence[Kind] = (*KINDS, *ROGUES)


def long(seed: int, minutes: float) -> Plan:
    """Return the plan of so many minutes, in whole rounds."""
    return Plan(seed, 60 * minutes, 40, (3.0, 12.0), audit_seconds=900, clients=40)


def short(seed: int) -> Plan:
    """Return the plan of one round of all faults."""
    return Plan(seed, 0, 30, (0.2, 0.8), rest_seconds=SHORT_REST_SECONDS)


@dataclass(slots=True)
class Footprint:
    """The most that a process of a gateway holds while nothing runs."""

    memory: int
    descriptors: int
    objects: Counter[str]


@dataclass(slots=True)
class Result:
    """What came of it."""

    books: Books
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def wrong(self) -> list[str]:
        """What must not be."""
        return self.books.wrong


def soak(lab: Lab, folder: Path, plan: Plan, say: Say, kept_log: Path | None = None) -> Result:
    """Soak a gateway of a lab with six clients and five servers; `folder` is for its files.

    The log of the gateways is copied to `kept_log`, if it is given.
    """
    _wait_for_neighbours(lab)
    _wait_for_addresses(lab)
    host = _lines(lab)
    with ExitStack() as undo:
        undo.enter_context(small_disk(STATE_FOLDER, STATE_BYTES))
        log_folder = folder / "log"
        undo.enter_context(small_disk(log_folder, LOG_BYTES))
        (lab.folder / f"{NAME}.log").symlink_to(log_folder / "log")
        (log_folder / "log").touch()
        network = Network(lab)
        undo.callback(network.close)
        gateways = Gateways(lab, folder)
        undo.callback(gateways.end)
        if kept_log is not None:
            undo.callback(shutil.copy, log_folder / "log", kept_log)
        made = Soak(gateways, network, log_folder, plan, say)
        made.run()
        gateways.stop()
        made.books.close()
    if (after := _lines(lab)) != host:
        made.result.wrong.append(f"the host is another: {sorted(after ^ host)}")
    return made.result


def _wait_for_neighbours(lab: Lab) -> None:
    """Let no host give up another one that is away for a moment."""
    interfaces = [(host, "eth0") for host in (*lab.clients, *lab.servers)]
    interfaces += [(lab.gateway, name) for name in _NAMES]
    for host, name in interfaces:
        for version in (4, 6):
            for kind in ("ucast_solicit", "mcast_solicit"):
                setting = f"net.ipv{version}.neigh.{name}.{kind}"
                host.sysctl(setting, ASK_FOR_NEIGHBOUR_TIMES)


def _wait_for_addresses(lab: Lab) -> None:
    """Wait until the kernel has entered the gateway's addresses; it does so when a link is up."""
    wanted = {f"local {start}" for start in ("2001:db8::1 dev ext0", "fd00:a::1 dev int0")}
    until = monotonic() + PATIENCE
    while True:
        lines = [line for line in _lines(lab) if line.startswith("local ")]
        found = {one for one in wanted if any(line.startswith(one) for line in lines)}
        own = [line for line in lines if line.startswith("local fe80:")]
        if found == wanted and all(any(f"dev {name} " in line for line in own) for name in _NAMES):
            return
        assert monotonic() < until, lines
        threading.Event().wait(0.1)


def _lines(lab: Lab) -> set[str]:
    """Return what a gateway changes of its host; the order is that of changes, and no matter."""
    return {line for trace in traces(lab) for line in trace.splitlines()}


class Soak:
    """One soak while it runs."""

    def __init__(
        self, gateways: Gateways, network: Network, log_folder: Path, plan: Plan, say: Say
    ) -> None:
        self._gateways = gateways
        self._network = network
        self._log_folder = log_folder
        self._plan = plan
        self._say = say
        self._random = Random(plan.seed)
        self.books = Books(Log(log_folder / "log"))
        self.result = Result(self.books)
        self._began = monotonic()
        self._told = 0
        self._load: Load | None = None
        self._fresh: Footprint | None = None

    def run(self) -> None:
        """Let clients come and faults happen until the time is over, and count what is left."""
        due = self._began + self._plan.audit_seconds
        self._say(f"seed {self._plan.seed}: {len(self._plan.faults)} faults, in rounds")
        self._measure()
        self._begin()
        number = count(1)
        is_over = False
        while not is_over:
            for fault in self._random.sample(self._plan.faults, len(self._plan.faults)):
                self._happen(fault, next(number))
                if monotonic() > due:
                    self._rest()
                    self._begin()
                    due = monotonic() + self._plan.audit_seconds
            is_over = monotonic() > self._began + self._plan.seconds
        self._rest()
        self.result.seconds = monotonic() - self._began

    # -- faults ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Let clients come."""
        self._load = Load(
            self._network,
            seed=self._random.getrandbits(32),
            clients=self._plan.clients,
            per_second=self._plan.per_second,
            kinds=self._plan.kinds,
        )

    def _happen(self, fault: Fault, number: int) -> None:
        happening = Happening(fault.name, fault.costs)
        self.books.happenings.append(happening)
        random = Random(self._random.getrandbits(64))
        scene = Scene(self._gateways, self._network, self._log_folder, random, happening, number)
        try:
            fault.inject(scene)
            self._gateways.until_well()
        except Exception as error:  # noqa: BLE001 - the rest is to be seen as well
            self.result.wrong.append(f"{fault.name}: {error!r}")
        happening.ended = monotonic()
        self.result.faults[fault.name] += 1
        threading.Event().wait(self._random.uniform(*self._plan.pause))
        self._enter()
        self._progress(happening)

    def _enter(self) -> None:
        if self._load is not None:
            self.books.enter(self._load.take())
        self.books.log.read()

    def _progress(self, happening: Happening) -> None:
        for line in self.result.wrong[self._told :]:
            self._say(f"WRONG: {line}")
        self._told = len(self.result.wrong)
        minutes, seconds = divmod(int(monotonic() - self._began), 60)
        books = self.books
        self._say(
            f"{minutes}:{seconds:02d} {books.visits} sessions, {books.transfers} transfers,"
            f" {sum(books.excused.values())} excused, {len(self.result.wrong)} wrong;"
            f" {happening.name} {happening.ended - happening.began:.1f} s"
        )

    # -- at rest --------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Let everybody finish, and count what is left."""
        assert self._load is not None
        self._load.stop()
        self._enter()
        self._load = None
        began = monotonic()
        while (left := self._left()) and monotonic() < began + self._plan.rest_seconds:
            threading.Event().wait(1.0)
        if left and self._plan.rest_seconds < REST_SECONDS:
            left = self._end_what_waits()
        self._say(f"at rest after {monotonic() - began:.0f} s")
        if left:
            self.result.wrong.append(f"left after {monotonic() - began:.0f} s: {left}")
        self.books.close()
        self._measure()

    def _end_what_waits(self) -> str:
        """End every session, as an operator may; return what is left of them."""
        for row in self._gateways.asked("sessions.list").get("sessions", []):
            self._gateways.asked("sessions.kill", id=row["id"])
        until = monotonic() + SHORT_REST_SECONDS
        while (left := self._left()) and monotonic() < until:
            threading.Event().wait(0.2)
        return left

    def _left(self) -> str:
        """Return what is left of clients; nothing when all is gone."""
        status = self._gateways.status()
        # One that does not answer says nothing of sessions either.
        if len(status["workers"]) != 2 or status["sessions"]:
            rows = self._gateways.asked("sessions.list").get("sessions")
            return f"{rows}, {status['workers']}"
        host = self._network.lab.gateway
        # As text: nft 1.0.6 reads what it has freed when it writes the flags of our tables in JSON.
        table = ""
        for line in host.run(["nft", "list", "ruleset"]).stdout.splitlines():
            if line.startswith("table "):
                table = line.split()[2]
            elif table.startswith("sallyport_pins") and "elements = {" in line:
                return f"elements in {table}: {line.strip()}"
        with host.entered(), closing(ConntrackRequests()) as requests:
            watched = marks.PIN | marks.WON
            flows = [
                read_tuple(report.original)
                for report in requests.dump(watched, watched)
                if report.mark & marks.ENDS != marks.ENDS
            ]
        return f"flows: {flows}" if flows else ""

    def _measure(self) -> None:
        """Count what the processes hold, beside what they held before the first client."""
        pids = self._gateways.pids(are_serving=True)
        found = Footprint(
            max(memory(pid) for pid in pids),
            max(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            Counter(),
        )
        for pid in pids:
            found.objects |= self._gateways.census(pid)
        grown = found.objects - self._fresh.objects if self._fresh else Counter()
        self._say(
            f"the largest: {found.memory >> 20} MiB, {found.descriptors} descriptors,"
            f" {found.objects['tasks']} tasks; grown: {dict(grown.most_common(8))}"
        )
        if self._fresh is None:
            self._fresh = found
            return
        if found.memory > self._fresh.memory + MEMORY_SLACK:
            self.result.wrong.append(f"memory: {self._fresh.memory} to {found.memory}")
        if found.descriptors > self._fresh.descriptors + DESCRIPTOR_SLACK:
            self.result.wrong.append(
                f"descriptors: {self._fresh.descriptors} to {found.descriptors}"
            )
        kept = [f"{name}: {number}" for name, number in grown.items() if number > OBJECT_SLACK]
        if kept:
            self.result.wrong.append(f"objects kept: {kept}")


def memory(pid: int) -> int:
    """Return the bytes of a process that are its own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) << 10
    return 0


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of its own that a fault can fill.

    Seen by this thread and what it starts alone: other tests may run beside it.
    """
    if _libc.unshare(_CLONE_NEWNS) != 0:  # os.unshare arrives in Python 3.12
        raise OSError(ctypes.get_errno(), "unshare")
    folder.mkdir(exist_ok=True)
    run_program(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        run_program(["umount", "--lazy", str(folder)], check=True)
