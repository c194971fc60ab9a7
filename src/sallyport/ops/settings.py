"""What a running gateway is configured with: values, valid once built, and the known filters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from sallyport import limits
from sallyport.addresses import MAX_PORT, PortRange
from sallyport.core.filter import ApplicationFilter
from sallyport.core.policy import Policy
from sallyport.core.protocols import Direction, ProtocolDefinition
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.filters.tftp import TftpFilter

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


def port_range_fault(ports: PortRange, *, masquerade: bool) -> str | None:
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
    return None


def socket_path_fault(path: Path) -> str | None:
    """Say why no socket can be at `path` and what to write instead; None when one can."""
    if not path.is_absolute() or "\0" in str(path):
        return f"control_socket {str(path)!r} is not an absolute path; begin it with /"
    if len(bytes(path)) > MAX_SOCKET_PATH_BYTES:
        return (
            f"control_socket is longer than {MAX_SOCKET_PATH_BYTES} bytes, the most that UNIX"
            " sockets allow; write a shorter path"
        )
    return None


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What concerns the gateway as a whole; raises ValueError for what cannot work."""

    data_path: DataPathChoice = DataPathChoice.AUTO
    port_range: PortRange = _DEFAULT_PORTS
    control_socket: Path = Path("/run/sallyport/control.sock")
    masquerade: bool = True

    def __post_init__(self) -> None:
        fault = port_range_fault(self.port_range, masquerade=self.masquerade)
        fault = fault or socket_path_fault(self.control_socket)
        if fault:
            raise ValueError(fault)


class FtpKeys(Struct, frozen=True):
    """The keys of `[filters.ftp]`."""

    # Attack V01: a 227 naming a third host. Servers behind a NAT of their own name their inside
    # address; "replace" helps those, since the control connection shows the right one.
    trust_pasv_address: Annotated[
        Literal["server", "replace"], Meta(description='"server" or "replace"')
    ] = "server"
    # F27: RFC 959 section 3.2 has servers dial from control - 1; many do not, hence off.
    strict_data_port: Annotated[bool, Meta(description="true or false")] = False


class TftpKeys(Struct, frozen=True):
    """The keys of `[filters.tftp]`: there is nothing to choose yet."""


def _make_ftp(settings: Mapping[str, object]) -> ApplicationFilter:
    return FtpFilter(
        FtpSettings(
            replace_foreign_passive_address=settings["trust_pasv_address"] == "replace",
            strict_data_port=bool(settings["strict_data_port"]),
        )
    )


@dataclass(frozen=True, slots=True)
class KnownFilter:
    """A filter that this version has: the protocols rules may name and the keys it takes."""

    name: str
    protocols: tuple[ProtocolDefinition, ...]
    keys: type[Struct]
    make: Callable[[Mapping[str, object]], ApplicationFilter]
    """Gives the filter with the settings of `Configuration.filters`."""
    on_by_default: bool
    summary: str

    def names(self, direction: Direction) -> tuple[str, ...]:
        """Give the protocols that access rules (outbound) or publishing rules (inbound) name."""
        return tuple(one.name for one in self.protocols if one.direction is direction)


KNOWN_FILTERS: Mapping[str, KnownFilter] = {
    known.name: known
    for known in (
        KnownFilter(
            name=FtpFilter.name,
            protocols=FtpFilter.protocols,
            keys=FtpKeys,
            make=_make_ftp,
            on_by_default=True,
            summary="FTP data connections of clients and of published servers (RFC 959, 2428)",
        ),
        KnownFilter(
            name=TftpFilter.name,
            protocols=TftpFilter.protocols,
            keys=TftpKeys,
            make=lambda _settings: TftpFilter(),
            on_by_default=True,
            summary="TFTP transfers from the port that the server chooses (RFC 1350, 2347)",
        ),
    )
}

KNOWN_PROTOCOLS: Mapping[Direction, tuple[str, ...]] = {
    direction: tuple(name for known in KNOWN_FILTERS.values() for name in known.names(direction))
    for direction in Direction
}


def default_filter_settings() -> dict[str, Mapping[str, object]]:
    """Give every known filter's settings as they are when nobody says otherwise."""
    return {name: structs.asdict(known.keys()) for name, known in KNOWN_FILTERS.items()}


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything an operator decides. `filters` has every known filter, defaults filled in."""

    gateway: GatewaySettings
    policy: Policy
    filters: Mapping[str, Mapping[str, object]]
