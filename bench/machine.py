"""What the machine says about itself: processor time and memory, by process and as a whole."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from sallyport.lab.host import NAMESPACES

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_KIB = 1024


def inhabitants(namespace: str) -> Iterator[int]:
    """Yield the processes that live in a network namespace, by its name."""
    home = os.stat(NAMESPACES / namespace)
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                there = os.stat(f"/proc/{name}/ns/net")
            except OSError:  # it ended meanwhile
                continue
            if os.path.samestat(home, there):
                yield int(name)


def processor_seconds(namespace: str) -> float:
    """Return the processor time that its processes have used, with their ended children."""
    return sum(map(seconds_of, inhabitants(namespace)))


def command_of(process: int) -> bytes:
    """Return the command line of a process, its words ended by NUL; empty when it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def seconds_of(process: int) -> float:
    """Return the processor time that one process and its ended children have used; 0 if it is gone.

    proc(5): the sum is exact to a tick even where its parts are sampled.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    # The name may hold spaces and brackets; utime, stime, cutime and cstime are fields 14 to 17.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK


def busy_seconds() -> float:
    """Return the processor time of the whole machine that was not idle, all processors together."""
    with open("/proc/stat", encoding="ascii") as file:
        # user nice system idle iowait irq softirq steal; guest time is part of user time.
        user, nice, system, _, _, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) * _TICK


def memory(namespace: str) -> int:
    """Return the memory of those who live there in bytes, shared pages by their share (PSS)."""
    return sum(map(memory_of, inhabitants(namespace)))


def memory_of(process: int) -> int:
    """Return the memory of one process in bytes, shared pages by their share; 0 if it is gone."""
    try:
        return _field(Path(f"/proc/{process}/smaps_rollup"), "Pss:")
    except OSError:
        return 0


def kernel_memory() -> int:
    """Return what the kernel has allocated in slabs, in bytes, the whole machine's."""
    return _field(Path("/proc/meminfo"), "Slab:")


def _field(path: Path, name: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * _KIB
    return 0


def facts() -> dict[str, str]:
    """Say what machine this is, for the report."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "kernel": platform.release(),
        "processors": f"{os.cpu_count()} × {model}",
        "memory": f"{gibibytes:.0f} GiB",
        "python": platform.python_version(),
        "load at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
