"""What a gateway as a whole is told: values, valid once built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from sallyport import limits
from sallyport.addresses import MAX_PORT, Endpoint, PortRange
from sallyport.passwords import PasswordHash

# RFC 6335 section 6: ports below are assigned to services, and dialling from one means trust.
FIRST_FREE_PORT = 1024

# Linux: sun_path holds 108 bytes, the last of them NUL (unix(7)).
MAX_SOCKET_PATH_BYTES = 107

# 20 000 ports: 312 clients at their full quota of 64.
_DEFAULT_PORTS = PortRange(40000, 59999)


class DataPathChoice(StrEnum):
    """What the operator may ask for; AUTO takes the fastest that the machine has."""

    AUTO = "auto"
    KERNEL = "kernel"
    USER = "user"


def workers_of(wanted: int | Literal["auto"]) -> int:
    """Return how many workers `[gateway] workers` means on this machine."""
    if wanted == "auto":
        return min(len(os.sched_getaffinity(0)), limits.MAX_WORKERS)
    return wanted


def port_range_fault(ports: PortRange, *, masquerade: bool, workers: int = 1) -> str | None:
    """Say why bindings cannot use `ports` and what to write instead; None when they can."""
    if ports.first < FIRST_FREE_PORT:
        return (
            f"port_range {ports} reaches below {FIRST_FREE_PORT}, where services live;"
            f" write a range within {FIRST_FREE_PORT}-{MAX_PORT}"
        )
    free = max(ports.first - FIRST_FREE_PORT, MAX_PORT - ports.last)
    if masquerade and free < limits.MIN_MASQUERADE_PORTS:
        return (
            f"port_range {ports} leaves {free} consecutive ports for masquerading, which needs"
            f" {limits.MIN_MASQUERADE_PORTS}; write a smaller range or masquerade = false"
        )
    if workers > 1 and len(ports) // workers < limits.MIN_WORKER_PORTS:
        return (
            f"port_range {ports} has {len(ports) // workers} ports for each of {workers} workers,"
            f" which need {limits.MIN_WORKER_PORTS}; write a larger range or fewer workers"
        )
    return None


def node_fault(node: int | None, workers: int) -> str | None:
    """Say why a node of a pair cannot have so many workers; None when it can."""
    if node is None or workers <= limits.MAX_WORKERS_OF_NODE:
        return None
    return (
        f"a node of a pair has at most {limits.MAX_WORKERS_OF_NODE} workers, not {workers}; write"
        f" workers = {limits.MAX_WORKERS_OF_NODE} or fewer"
    )


def socket_path_fault(path: Path, key: str = "control_socket") -> str | None:
    """Say why no socket can be at `path` and what to write instead; None when one can.

    `key`: which key says so.
    """
    if not path.is_absolute() or "\0" in str(path):
        return f"{key} {str(path)!r} is not an absolute path; begin it with /"
    if len(bytes(path)) > MAX_SOCKET_PATH_BYTES:
        return (
            f"{key} is longer than {MAX_SOCKET_PATH_BYTES} bytes, the most that UNIX"
            " sockets allow; write a shorter path"
        )
    return None


@dataclass(frozen=True, slots=True)
class PcpSettings:
    """The front end at which clients ask for ports themselves: PCP, and NAT-PMP beside it.

    Lifetimes of mappings, in seconds, are kept between the two bounds (RFC 6887 section 15).
    """

    nat_pmp: bool = True
    min_lifetime: int = 120
    max_lifetime: int = 86400


@dataclass(frozen=True, slots=True)
class SocksSettings:
    """The front end for SOCKS: where it listens, and who its users are.

    `passwords` None: no client is asked for one.
    """

    listen: tuple[Endpoint, ...]
    passwords: Mapping[str, PasswordHash] | None = None


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The front end for other processes of this host; `group` None: for our own user alone."""

    socket: Path = Path("/run/sallyport/api.sock")
    group: str | None = None


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What concerns the gateway as a whole; raises ValueError for what cannot work."""

    data_path: DataPathChoice = DataPathChoice.AUTO
    port_range: PortRange = _DEFAULT_PORTS
    control_socket: Path = Path("/run/sallyport/control.sock")
    masquerade: bool = True
    workers: int = 1
    drain_seconds: float = 30.0
    node: int | None = None
    """Which of a pair this gateway is, 1 or 2; None: it is alone."""
    control_group: str | None = None
    """The group whose members may do all at the control socket, besides root and our own user."""
    monitor_group: str | None = None
    """The group whose members may only look."""

    def __post_init__(self) -> None:
        fault = port_range_fault(self.port_range, masquerade=self.masquerade, workers=self.workers)
        fault = fault or node_fault(self.node, self.workers)
        fault = fault or socket_path_fault(self.control_socket)
        if fault:
            raise ValueError(fault)
