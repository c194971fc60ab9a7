"""What is done to a gateway while clients transfer: each fault, and what it may cost.

Each holds from its injection until the gateway is well again, and `Costs.seconds` longer. Faults
come one after the other; what single clients and servers do wrong (rogues.py) goes on all the time.
"""

import os
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.soak.books import NOTHING, Costs, Happening
from tests.soak.gateways import Gateways
from tests.soak.network import Network
from tests.soak.visits import Phase

from sallyport.kernel.state_file import STATE_FOLDER
from sallyport.lab.host import Host

CONTROLS = frozenset({Phase.DIAL, Phase.TALK, Phase.OPEN})
EVERYTHING = frozenset(Phase)

# Longer than a worker may be silent (limits.WORKER_SILENCE_SECONDS), so who hangs is found.
LONG_SILENCE = 7.0
MOMENT = 2.0

_EXTRA = ("203.0.113.77/24", "10.0.0.77/24", "2001:db8::77/64", "fd00:a::77/64")


@dataclass(slots=True)
class Scene:
    """Where faults happen."""

    gateways: Gateways
    network: Network
    log_folder: Path
    random: Random
    happening: Happening
    number: int = 0
    """How many faults there were before."""

    @property
    def host(self) -> Host:
        """The gateway's host."""
        return self.network.lab.gateway

    def a_worker(self) -> int:
        """Choose one of the workers, whose clients alone may notice; return its process."""
        rows = self.gateways.serving()
        index = self.random.randrange(len(rows))
        self.happening.workers = frozenset({index})
        pid = rows[index]["pid"]
        assert isinstance(pid, int)
        return pid

    def wait(self, seconds: float = MOMENT) -> None:
        """Let clients meet the fault."""
        threading.Event().wait(seconds)


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of the table."""

    name: str
    inject: Callable[[Scene], None]
    costs: Costs = NOTHING


# -- processes -------------------------------------------------------------------------------------


def kill_worker(scene: Scene) -> None:
    """One worker is killed; another one adopts its transfers."""
    pid = scene.a_worker()
    scene.happening.loses_records_now()
    os.kill(pid, signal.SIGKILL)
    scene.gateways.until(lambda: not is_alive(pid))


def kill_worker_without_descriptors(scene: Scene) -> None:
    """The same while the supervisor cannot start another one."""
    supervisor = scene.gateways.now.process.pid
    pid = scene.a_worker()
    with limited_descriptors(supervisor, 0):
        scene.happening.loses_records_now()
        os.kill(pid, signal.SIGKILL)
        scene.wait()


def hang_worker(scene: Scene) -> None:
    """One worker is stopped for good; it is killed and replaced."""
    pid = scene.a_worker()
    scene.happening.loses_records_now()
    os.kill(pid, signal.SIGSTOP)
    scene.gateways.until(lambda: not is_alive(pid))
    scene.happening.loses_records_now()


def stop_worker(scene: Scene) -> None:
    """One worker stands still for a moment."""
    stand_still([scene.a_worker()], scene, MOMENT)


def stop_supervisor(scene: Scene) -> None:
    """The supervisor stands still for longer than a worker may."""
    stand_still([scene.gateways.now.process.pid], scene, LONG_SILENCE)


def suspend(scene: Scene) -> None:
    """All stand still, as on a host that is suspended: the clock of intervals has jumped."""
    pids = scene.gateways.pids()
    scene.random.shuffle(pids)
    stand_still(pids, scene, LONG_SILENCE)


def starve_worker(scene: Scene) -> None:
    """One worker has no descriptors left."""
    with limited_descriptors(scene.a_worker(), 2):
        scene.wait()


def kill_supervisor(scene: Scene) -> None:
    """The supervisor is killed, its workers die with it, and another gateway starts."""
    scene.happening.loses_records_now()
    scene.gateways.kill()
    scene.happening.loses_records_now()
    scene.wait(scene.random.uniform(0, MOMENT))
    scene.gateways.start()


def restart(scene: Scene) -> None:
    """The gateway is stopped in order, and started."""
    scene.gateways.stop()
    scene.gateways.start()


def take_over(scene: Scene) -> None:
    """Another gateway takes over."""
    scene.gateways.succeed()


def renew(scene: Scene) -> None:
    """New workers take over."""
    scene.gateways.renew()


def reload(scene: Scene) -> None:
    """The configuration is another one."""
    scene.gateways.reload(scene.number)


def jump(scene: Scene) -> None:
    """The clock of the day jumps."""
    scene.gateways.set_clock(scene.random.randint(-(10**8), 10**9))


# -- what others do to the host --------------------------------------------------------------------


def flush_ruleset(scene: Scene) -> None:
    """Somebody loads a rule set, which begins with a flush."""
    scene.host.run(["nft", "flush ruleset"])


def delete_base(scene: Scene) -> None:
    """Somebody deletes our table."""
    scene.host.run(["nft", "delete table inet sallyport"])


def flush_conntrack(scene: Scene) -> None:
    """Somebody has the kernel forget all connections."""
    scene.host.run(["conntrack", "-F"], check=False)


def change_settings(scene: Scene) -> None:
    """Somebody takes our routing rules, and forwarding."""
    for family in ("-4", "-6"):
        rules = scene.host.run(["ip", family, "rule"]).stdout.splitlines()
        for rule in (rule for rule in rules if "fwmark" in rule):
            priority = rule.partition(":")[0]
            scene.host.run(["ip", family, "rule", "del", "priority", priority])
    scene.host.sysctl("net.ipv4.ip_forward", 0)


def fill_conntrack(scene: Scene) -> None:
    """The connection table has no room."""
    with scene.host.entered(), full_conntrack():
        scene.wait(MOMENT / 2)


def fill_log(scene: Scene) -> None:
    """The log's disk is full."""
    scene.happening.loses_records_now()
    with full(scene.log_folder):
        scene.wait()
    scene.happening.loses_records_now()


def fill_state(scene: Scene) -> None:
    """The disk of our state is full while another gateway wants to take over, and in a reload."""
    with full(STATE_FOLDER):
        scene.gateways.reload(scene.number)
        scene.gateways.fail_to_succeed()


def end_sessions(scene: Scene) -> None:
    """An operator ends some sessions."""
    rows = scene.gateways.asked("sessions.list").get("sessions", [])
    for row in scene.random.sample(rows, min(3, len(rows))):
        scene.gateways.asked("sessions.kill", id=row["id"])


# -- the network -----------------------------------------------------------------------------------


def change_addresses(scene: Scene) -> None:
    """Addresses come and go."""
    for verb in ("add", "del"):
        for address in _EXTRA:
            interface = "ext0" if address.startswith("2") else "int0"
            nodad = ["nodad"] if ":" in address and verb == "add" else []
            scene.host.run(["ip", "address", verb, address, "dev", interface, *nodad])
        scene.wait(MOMENT / 2)


def lose_address(scene: Scene) -> None:
    """The address that the world sees goes, and comes back."""
    scene.host.run(["ip", "address", "del", "203.0.113.1/24", "dev", "ext0"])
    scene.wait(MOMENT / 2)
    scene.host.run(["ip", "address", "add", "203.0.113.1/24", "dev", "ext0"])


def pull_cable(scene: Scene) -> None:
    """A cable of the gateway is pulled, and plugged in again."""
    port = scene.random.choice(("port0", "port1"))
    switch = scene.network.lab.switch
    switch.run(["ip", "link", "set", port, "down"])
    scene.wait()
    switch.run(["ip", "link", "set", port, "up"])


def set_down(scene: Scene) -> None:
    """An interface is set down and up; the kernel takes its IPv6 addresses with it."""
    name = scene.random.choice(("int0", "ext0"))
    address = {"int0": "fd00:a::1/64", "ext0": "2001:db8::1/64"}[name]
    scene.host.run(["ip", "link", "set", name, "down"])
    scene.wait(MOMENT / 2)
    scene.host.run(["ip", "link", "set", name, "up"])
    scene.host.run(["ip", "address", "add", address, "dev", name, "nodad"], check=False)


def rename(scene: Scene) -> None:
    """An interface is called otherwise for a moment."""
    name = scene.random.choice(("int0", "ext0"))
    scene.host.run(["ip", "link", "set", name, "name", "other0"])
    scene.wait(MOMENT / 2)
    scene.host.run(["ip", "link", "set", "other0", "name", name])


def lose_host(scene: Scene) -> None:
    """A client, or a server, is not there for a moment."""
    lab = scene.network.lab
    port = scene.random.randrange(2, 2 + len(lab.clients) + len(lab.servers))
    lab.switch.run(["ip", "link", "set", f"port{port}", "down"])
    scene.wait()
    lab.switch.run(["ip", "link", "set", f"port{port}", "up"])


def kill_server(scene: Scene) -> None:
    """All sessions of a server are killed at the server."""
    server = scene.random.choice((scene.network.outside, scene.network.inside))
    for pid in children(server.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def nothing_happens(scene: Scene) -> None:
    """Clients alone."""
    scene.wait()


FAULTS = (
    Fault("nothing", nothing_happens),
    Fault("worker killed", kill_worker, Costs(CONTROLS, user_moves=True)),
    Fault(
        "worker killed, no descriptors for another",
        kill_worker_without_descriptors,
        Costs(CONTROLS, user_moves=True),
    ),
    Fault("worker hangs", hang_worker, Costs(CONTROLS, user_moves=True)),
    Fault("worker stands still", stop_worker),
    Fault("supervisor stands still", stop_supervisor),
    Fault("host suspended", suspend),
    Fault("worker without descriptors", starve_worker, Costs(CONTROLS, user_moves=True)),
    Fault("supervisor killed", kill_supervisor, Costs(CONTROLS, user_moves=True)),
    Fault("restart", restart, Costs(CONTROLS)),
    Fault("takeover", take_over, Costs(begins_of_mappings=True)),
    Fault("new workers", renew, Costs(begins_of_mappings=True)),
    Fault("reload", reload),
    Fault("clock jumps", jump),
    Fault("ruleset flushed", flush_ruleset),
    Fault("base table deleted", delete_base),
    Fault("conntrack flushed", flush_conntrack, Costs(EVERYTHING)),
    Fault("rules and forwarding taken", change_settings, Costs(CONTROLS)),
    Fault("conntrack full", fill_conntrack, Costs(CONTROLS)),
    Fault("log disk full", fill_log),
    Fault("state disk full", fill_state),
    Fault("sessions killed", end_sessions, Costs(EVERYTHING)),
    Fault("addresses come and go", change_addresses),
    Fault("main address goes", lose_address, Costs(EVERYTHING)),
    Fault("cable pulled", pull_cable, Costs(first_datagrams=True)),
    Fault("interface down", set_down, Costs(EVERYTHING)),
    Fault("interface renamed", rename),
    Fault("host gone for a moment", lose_host, Costs(first_datagrams=True)),
    Fault("server killed", kill_server, Costs(EVERYTHING, cuts_short=True)),
)


# -- inside ----------------------------------------------------------------------------------------


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Return the child processes of a process, and theirs."""
    try:
        found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*found, *(grandchild for child in found for grandchild in children(child))]


def stand_still(pids: list[int], scene: Scene, seconds: float) -> None:
    """Stop processes for so long."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    scene.wait(seconds)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def limited_descriptors(pid: int, more: int) -> Iterator[None]:
    """Let a process have only so many more descriptors than it has."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + more, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no room on the file system of a folder."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


# linux/netfilter/nfnetlink_conntrack.h; these entries are told from others by their mark.
_NEW, _DELETE = 0x0100, 0x0102
_FULL_MARK = 0x0000_0F00
_SECONDS = 120
# As many as a datagram of netlink takes, from ports of one address; then from another's.
_AT_ONCE = 400
_SOURCE = bytes((198, 18, 255, 255))
_ASSURED_SEEN_REPLY = 0x4 | 0x2


@contextmanager
def full_conntrack() -> Iterator[None]:
    """Fill the connection table with entries that are not dropped for newer ones."""
    most = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    there = int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())
    first = b"".join(_entry(port) for port in range(_AT_ONCE))
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)) as kernel:
        kernel.connect((0, 0))
        for number in range((most - there) // _AT_ONCE + 1):
            kernel.send(first.replace(_SOURCE, _SOURCE[:2] + struct.pack("!H", number)))
        try:
            yield
        finally:
            marked = _attribute(8, _FULL_MARK.to_bytes(4, "big"))
            marked += _attribute(21, b"\xff\xff\xff\xff")
            kernel.send(_message(_DELETE, 1, marked))


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def _tuple_of(kind: int, source: bytes, destination: bytes, ports: tuple[int, int]) -> bytes:
    nested = 0x8000
    addresses = _attribute(1, source) + _attribute(2, destination)
    protocol = _attribute(1, b"\x11")
    protocol += _attribute(2, struct.pack("!H", ports[0])) + _attribute(
        3, struct.pack("!H", ports[1])
    )
    return _attribute(
        kind | nested, _attribute(1 | nested, addresses) + _attribute(2 | nested, protocol)
    )


def _entry(port: int) -> bytes:
    there = bytes((198, 51, 100, 1))
    attributes = _tuple_of(1, _SOURCE, there, (port, 9)) + _tuple_of(2, there, _SOURCE, (9, port))
    attributes += _attribute(3, struct.pack("!I", _ASSURED_SEEN_REPLY | 0x8))
    attributes += _attribute(7, struct.pack("!I", _SECONDS))
    attributes += _attribute(8, struct.pack("!I", _FULL_MARK))
    return _message(_NEW, 0x0401, attributes)
