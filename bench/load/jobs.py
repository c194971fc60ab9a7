"""What a load process is told to do and what it tells, as JSON between processes."""

from enum import StrEnum

from msgspec import Struct


class Way(StrEnum):
    """How a client gets at its data."""

    ACTIVE = "active"
    """PORT: the server connects to the client, whatever stands between translates."""
    PASSIVE = "passive"
    """PASV: the client connects to the server."""
    SOCKS = "socks"
    """PORT with the address that a SOCKS5 proxy gave for BIND (RFC 1928)."""
    PULL = "pull"
    """No FTP at all: a connection, a number of bytes asked for, the bytes."""


class Route(Struct, frozen=True):
    """The way through one setup; addresses as text, IPv4."""

    way: Way
    server: str
    port: int = 21
    proxy: str = ""
    proxy_port: int = 1080


class TransferJob(Struct, frozen=True):
    """Transfer after transfer on some control connections for a while."""

    route: Route
    connections: int
    seconds: float
    size: int = 1024
    """Bytes of the file, which the server makes up."""
    whole_sessions: bool = False
    """A new control connection with its login for every transfer."""
    sources: tuple[str, ...] = ()
    """The client's addresses, taken in turn; empty leaves it to the kernel."""
    watched: tuple[str, ...] = ()
    """Network namespaces whose processor time is wanted."""


class Transfers(Struct, frozen=True):
    """What came of a TransferJob, within its `seconds`, the beginning left out."""

    count: int
    octets: int
    seconds: float
    failures: int
    reply_us: list[float]
    """From the data command (PORT or PASV) to its answer, microseconds, in ascending order."""
    transfer_us: list[float]
    """From the data command to 226."""
    processor_seconds: list[float]
    """Of each watched namespace."""
    busy_seconds: float
    """Of the whole machine."""
    first_failure: str = ""


class HoldJob(Struct, frozen=True):
    """Control connections that log in and say nothing more, until standard input ends."""

    route: Route
    connections: int
    sources: tuple[str, ...] = ()


class Held(Struct, frozen=True):
    """How many of them stand."""

    count: int
    first_failure: str = ""
