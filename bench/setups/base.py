"""A network with one gateway in it, load at both ends, and how a client goes through."""

import json
import os
import select
import shutil
import subprocess
import sys
from abc import ABC
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec

from bench import machine
from bench.errors import Absent
from bench.load.jobs import Held, HoldJob, Route, TransferJob, Transfers, Way
from sallyport.addresses import Endpoint
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

_Answer = TypeVar("_Answer")

# A control connection more than an address may hold through Sallyport (512) takes another address;
# 32 of them are enough for ten thousand.
_ADDRESSES = 32


# Several of a kind may stand at once.
_numbers = count(1)

# What a load process may take longer than its job says: its start, and a gateway that stalls.
_SLACK_SECONDS = 60.0


class Setup(ABC):
    """One gateway in a network of its own. Nothing runs before `start`."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What the report calls it."""
    way: ClassVar[Way] = Way.ACTIVE
    programs: ClassVar[tuple[str, ...]] = ()
    """What must be installed."""
    most_sessions: ClassVar[int] = 1_000_000
    """Idle control sessions that it is asked to hold at most, and `why_so_few`."""
    why_so_few: ClassVar[str] = ""

    def __init__(self) -> None:
        for program in self.programs:
            if shutil.which(program) is None:
                raise Absent(f"{program}: not installed (scripts/bootstrap bench does it)")
        self.lab = Lab.build(f"bench{os.getpid()}-{self.name}{next(_numbers)}", clients=2)
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        lab = self.lab
        for host in lab.hosts:
            self._widen(host)
        extra = "".join(f"addr add {address}/24 dev eth0\n" for address in self.addresses)
        lab.client.run(["ip", "-batch", "-"], stdin=extra)
        argv = [sys.executable, "-m", "bench.load.server", str(lab.server.address4)]
        lab.server.popen(argv, log=lab.folder / "load-server.log")
        self.wait_for_port(lab.server, Endpoint(lab.server.address4, 21))

    @staticmethod
    def _widen(host: Host) -> None:
        """Let a host make as many connections as it can think of."""
        with host.entered():
            settings = Path("/proc/sys/net/ipv4")
            (settings / "ip_local_port_range").write_text("1024 65535", encoding="ascii")
            (settings / "tcp_tw_reuse").write_text("1", encoding="ascii")

    def start(self) -> None:
        """Make the lab's gateway one of this kind; raises Absent, StartupError."""

    def close(self) -> None:
        """Take everything down. Idempotent."""
        self.lab.close()

    # -- where the load lives -------------------------------------------------------------------

    @property
    def client(self) -> Host:
        """Where clients live."""
        return self.lab.client

    @property
    def addresses(self) -> tuple[str, ...]:
        """More addresses of the client's, for more sessions than one address may have."""
        return tuple(f"10.0.0.{100 + number}" for number in range(_ADDRESSES))

    @property
    def route(self) -> Route:
        """How a client goes through."""
        return Route(self.way, str(self.lab.server.address4))

    # -- load -----------------------------------------------------------------------------------

    def transfers(
        self,
        connections: int,
        seconds: float,
        *,
        size: int = 1024,
        whole_sessions: bool = False,
        sources: Sequence[str] = (),
    ) -> Transfers:
        """Make transfers; processor time is that of gateway, client and server.

        `sources` are the client's addresses that are taken in turn; without any it has one.

        Raises Absent when no transfer succeeds.
        """
        lab = self.lab
        job = TransferJob(
            route=self.route,
            connections=connections,
            seconds=seconds,
            size=size,
            whole_sessions=whole_sessions,
            sources=tuple(sources),
            watched=tuple(h.namespace for h in (lab.gateway, self.client, lab.server)),
        )
        return self.work("bench.load.transfers", job, Transfers, seconds)

    def work(
        self, module: str, job: msgspec.Struct, answer: type[_Answer], seconds: float
    ) -> _Answer:
        """Run a load process with a job at the client; raises Absent when it fails."""
        text = msgspec.json.encode(job).decode()
        argv = [sys.executable, "-m", module, text]
        try:
            done = self.client.run(argv, check=False, timeout=seconds + _SLACK_SECONDS)
        except subprocess.TimeoutExpired:
            raise Absent("the load process hangs") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
            raise Absent(last[0])
        return msgspec.json.decode(done.stdout, type=answer)

    @contextmanager
    def idle_sessions(self, wanted: int) -> Iterator[None]:
        """Hold control connections that are logged in and idle; raises Absent for fewer."""
        if not wanted:
            yield
            return
        job = HoldJob(self.route, wanted, self.addresses)
        argv = [sys.executable, "-m", "bench.load.hold", msgspec.json.encode(job).decode()]
        with running(self.client, argv, self.lab.folder / "hold.log") as process:
            held = answer_of(process, Held, _SLACK_SECONDS * 2)
            if held.count < wanted:
                raise Absent(f"{held.count} of {wanted} idle sessions: {held.first_failure}")
            yield

    def memory(self) -> int:
        """Return the memory of the gateway's processes in bytes."""
        return machine.memory(self.lab.gateway.namespace)

    # -- helpers for starting -------------------------------------------------------------------

    def wait_for_port(self, host: Host, at: Endpoint) -> None:
        """Return once a program listens there; raises Absent after five seconds."""
        argv = [sys.executable, "-m", "bench.setups.waiting", str(at.address), str(at.port)]
        done = host.run(argv, check=False)
        if done.returncode:
            logs = sorted(self.lab.folder.glob("*.log"), key=os.path.getmtime)
            said = logs[-1].read_text(errors="replace").strip().splitlines()[-1:] if logs else []
            raise Absent(f"no program listens at {at}: {' '.join(said) or 'it says nothing'}")

    def write(self, name: str, text: str) -> Path:
        """Write a configuration file beside the lab's others."""
        path = self.lab.folder / name
        path.write_text(text, encoding="utf-8")
        return path


@contextmanager
def running(host: Host, argv: Sequence[str], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a program that talks by its standard streams; it has ended afterwards."""
    with open(log, "ab") as errors, host.entered():
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(host: Host, argv: Sequence[str], log: Path) -> Iterator[None]:
    """Run a server that writes a line of JSON once it listens; raises Absent when it does not."""
    with running(host, argv, log) as process:
        answer_of(process, str, _SLACK_SECONDS)
        yield


def answer_of(process: "subprocess.Popen[str]", answer: type[_Answer], seconds: float) -> _Answer:
    """Read one line of JSON from a program; raises Absent when none comes."""
    assert process.stdout is not None  # noqa: S101 - `running` made a pipe of it
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline() if ready else ""
    if not line:
        raise Absent("the load process hangs" if not ready else "the load process died")
    try:
        return msgspec.json.decode(line, type=answer)
    except msgspec.MsgspecError as error:
        raise Absent(json.dumps(line)) from error
