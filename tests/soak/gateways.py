"""One gateway after another, at one control socket and with one log, and what is seen of them."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from tests.interop.office import configuration
from tests.ops.config.offered import write

from sallyport.errors import OperatorError
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.ops.control.client import request

NAME = "../sallyport/soak"
"""Its control socket lies where its state does, as on a host."""

# Longer than the slowest transfer.
DRAIN_SECONDS = 10.0
# A new generation gets what processors the clients leave it.
START_SECONDS = 60.0

# Turns every byte of a published server round, and back: these transfers pass by two filters of
# user mode. All others stay in the kernel.
TURNING = """
from sallyport.api import *
from sallyport.filters.ftp import FTP_SERVER

TABLE = bytes(255 - i for i in range(256))


class Turn(DataFilter):
    async def from_client(self, data):
        self.server.send(data.translate(TABLE))

    async def from_server(self, data):
        self.client.send(data.translate(TABLE))


class TurningSession(SessionFilter):
    async def on_event(self, event):
        if event.is_secondary:
            event.connection.attach_data_filter(Turn(), Priority.INTERNAL)
            event.connection.attach_data_filter(Turn(), Priority.POST_TRUST)


class Turning(ApplicationFilter):
    name = "turning"
    api_version = 1
    protocols = (FTP_SERVER,)
    hooks = Hooks.of(AcceptedConnection, ConnectTcp, scope=Scope.SECONDARY)

    def attach_to_session(self, session):
        return TurningSession()
"""

# Imported by every Python process of the gateway. Counts, when it is asked by a signal, the objects
# of ours that are alive and the tasks of the event loop. And lets the host's clock jump: the file
# says how far. A time namespace has no clock of the day of its own, and a preloaded library that
# fakes it breaks clock_nanosleep(2).
INSTRUMENTS = """
import signal
import time
from pathlib import Path

HERE = Path(__file__).parent


def census(*_):
    import asyncio, collections, gc, json, os
    gc.collect()
    kinds = collections.Counter(
        type(one).__qualname__
        for one in gc.get_objects()
        if type(one).__module__.startswith("sallyport")
    )
    try:
        kinds["tasks"] = len(asyncio.all_tasks())
    except RuntimeError:
        pass
    draft = HERE / f"{os.getpid()}.new"
    draft.write_text(json.dumps(kinds))
    draft.rename(draft.with_suffix(".census"))


signal.signal(signal.SIGUSR1, census)

true_ns, true_localtime = time.time_ns, time.localtime
jump = 0


def jumped_ns():
    global jump
    try:
        jump = int((HERE / "clock").read_text())
    except OSError:  # a process without descriptors has the time all the same
        pass
    return true_ns() + jump * 10**9


time.time_ns = jumped_ns
time.time = lambda: jumped_ns() / 1e9
time.localtime = lambda seconds=None: true_localtime(time.time() if seconds is None else seconds)
"""

REST = """
[filters.turning]
path = "turning.py"

[frontends.pcp]

[frontends.socks]
listen = ["10.0.0.1:1080", "[fd00:a::1]:1080"]

[[publishing_rules]]
name = "ours"
protocol = "ftp-server"
listen = "203.0.113.1:21"
server = "10.0.0.8:21"

[[publishing_rules]]
name = "ours 6"
protocol = "ftp-server"
listen = "[fd00:a::8]:21"
server = "[fd00:a::8]:21"
"""
PROTOCOLS = ("ftp", "tftp", "rtsp", "sip", "port-mapping", "socks-connect", "socks-bind")
# All clients are a handful of hosts, and a TFTP transfer holds its port until it has been silent.
RULE = "max_bindings_per_client = 10000"


class Gateways:
    """The gateway that runs now, with two workers."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        """Start the first one; `folder` is for its configuration and censuses."""
        self._lab = lab
        self._folder = folder
        write(folder / "turning.py", TURNING)
        (folder / "sitecustomize.py").write_text(INSTRUMENTS)
        self.set_clock(0)
        self._wrapper = ("env", f"PYTHONPATH={folder}")
        self.write(0)
        self.now = self._run()

    def write(self, number: int) -> None:
        """Write the configuration; another number makes another one."""
        keys = f"workers = 2\ndrain_seconds = {DRAIN_SECONDS}"
        rule = f"{RULE}\nmax_lifetime = {3600 + number}"
        text = configuration(gateway=keys, protocols=PROTOCOLS, rule=rule, rest=REST)
        (self._folder / "sallyport.toml").write_text(text)

    def _run(self, *arguments: str) -> RunningGateway:
        argv = ["--config", str(self._folder / "sallyport.toml"), *arguments]
        return RunningGateway(
            self._lab, argv, name=NAME, wrapper=self._wrapper, seconds=START_SECONDS
        )

    # -- what is done to them -------------------------------------------------------------------

    def stop(self) -> None:
        """Stop it in order, with all the time it has for that; fails when it does not."""
        self.now.process.terminate()
        assert self.now.process.wait(DRAIN_SECONDS + 15) == 0

    def end(self) -> None:
        """Stop it, however long that takes; idempotent."""
        self.now.stop()

    def start(self) -> None:
        """Start another one."""
        self.now = self._run()

    def kill(self) -> None:
        """Kill its supervisor, and with that all of it."""
        pids = self.pids()
        self.now.kill()
        self.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    def succeed(self) -> None:
        """Let another one take over."""
        before, new = self.now, self._run("--takeover")
        self.until(lambda: self.status()["pid"] == new.process.pid or has_ended(new))
        assert not has_ended(new), self.said()[-3:]
        self.now = new
        assert before.process.wait(10) == 0

    def fail_to_succeed(self) -> None:
        """Let another one try to take over, which cannot; this one goes on."""
        other = self._run("--takeover")
        assert other.process.wait(START_SECONDS) == 1
        assert self.status()["pid"] == self.now.process.pid

    def renew(self) -> None:
        """Let new workers take over."""
        before = {row["pid"] for row in self.serving()}
        os.kill(self.now.process.pid, signal.SIGUSR2)
        self.until(lambda: before.isdisjoint(row["pid"] for row in self.serving()))

    def reload(self, number: int) -> None:
        """Let it read another configuration, and wait until it has."""
        self.write(number)
        assert self.asked("reload")

    def set_clock(self, seconds: int) -> None:
        """Let the clock of the day be so far off, for all processes of gateways."""
        draft = self._folder / "clock.new"
        draft.write_text(str(seconds))
        draft.rename(self._folder / "clock")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that may take as long as a start."""
        until = monotonic() + START_SECONDS
        while not condition():
            assert monotonic() < until, self.said()[-3:]
            threading.Event().wait(0.1)

    def until_well(self) -> None:
        """Wait until both workers serve and nothing is out of order."""
        self.until(lambda: len(self.serving()) == 2 and self.status()["degraded"] is None)

    # -- what is seen of them -------------------------------------------------------------------

    def asked(self, operation: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Return the answer of the admin API; an empty one when nobody gives one."""
        try:
            return request(self.now.control_socket, operation, expect=dict, **arguments)
        except OperatorError:
            return {}

    def status(self) -> dict[str, Any]:
        """Return the status; without a gateway one that says so."""
        nothing: dict[str, Any] = {"pid": 0, "degraded": "no gateway", "workers": []}
        return {**nothing, **self.asked("status")}

    def serving(self) -> list[dict[str, Any]]:
        """Return the rows of the workers that have the clients, by their index."""
        return [row for row in self.status()["workers"] if row["state"] == "serving"]

    def pids(self, *, are_serving: bool = False) -> list[int]:
        """Return the supervisor and its workers, all or those that serve."""
        rows = self.serving() if are_serving else self.status()["workers"]
        return [self.now.process.pid, *(row["pid"] for row in rows)]

    def said(self) -> list[str]:
        """Return what the gateways say besides records."""
        return [line for line in self.now.journal() if not line.startswith(("{", "\0"))]

    def census(self, pid: int) -> Counter[str]:
        """Return how many objects of ours, by class, and tasks a process has."""
        file = self._folder / f"{pid}.census"
        file.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR1)
        self.until(file.exists)
        return Counter(json.loads(file.read_text()))


def has_ended(gateway: RunningGateway) -> bool:
    """Whether its process is over."""
    return gateway.process.poll() is not None
