"""What supervisor and workers tell each other: values, and how they become frames; pure.

A frame is four bytes of length, the highest first, and that many bytes of JSON. Descriptors travel
beside the frame that says how many there are. JSON and not pickle: what a worker sends may come
from a process whose filters went wrong, and must not run in the supervisor.
"""

import struct
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from sallyport.errors import (
    ConfigError,
    ConfigErrors,
    OperatorError,
    RequestRefused,
    SallyportError,
)
from sallyport.ops.config.admin_shapes import AdminShape, MetricsShape
from sallyport.ops.control.schema import Mistake, mistakes_of

_LENGTH = struct.Struct(">I")

# `bindings list` of 60 000 bindings is 25 MB.
MAX_FRAME_BYTES = 256 * 1024 * 1024

_T = TypeVar("_T")


class ConfigSource(Struct, frozen=True, kw_only=True):
    """What a configuration is read from: the text of a file, or two interfaces."""

    file: str | None = None
    """The file's path: mistakes are reported by it, paths in it are relative to its folder."""
    text: str = ""
    internal: str = ""
    external: str = ""
    control_socket: str | None = None
    """What the command line says instead of the configuration."""


class Publication(Struct, frozen=True):
    """A socket at an address of the gateway, for a published server."""

    owner: str
    """What of the configuration wants it."""
    listen: str
    transport: str
    """TCP, UDP or UNIX."""
    may_be_absent: bool = False
    """The address may come to this host later."""
    group: str | None = None
    """UNIX: whose members may connect."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a configuration asks of the supervisor, found out by a worker."""

    workers: int
    node: int | None = None
    """Which of a pair this gateway is."""
    control_socket: str
    control_group: str | None = None
    monitor_group: str | None = None
    admin: AdminShape | None = None
    metrics: MetricsShape | None = None
    port_range: str
    interfaces: list[str]
    networks: list[str]
    data_paths: list[str]
    filters: list[str]
    intercepting: list[str]
    """Sockets TPROXY delivers to, by transport and version: `tcp4`."""
    published: dict[str, Publication]
    """Sockets at addresses of the gateway."""
    drain_seconds: float
    lack: str | None
    """What the host misses for interception; None when nothing is missing."""
    doubts: list[Mistake] = []
    """What `check-config` would warn of."""


class Prepare(Struct, frozen=True, tag=True):
    """Read a configuration and answer with its `Plan`; nothing is set up or changed.

    Without a source: what the configuration in force means on the host as it is now.
    """

    source: ConfigSource | None


class Render(Struct, frozen=True, tag=True):
    """Answer with the guard's rules for what was prepared (`values.plain` of GuardRules)."""

    ports: dict[str, list[int]]
    """Of each intercepting socket: the loopback port, worker by worker."""


class Take(Struct, frozen=True, tag=True, kw_only=True):
    """Serve by what was prepared, at these sockets; descriptors: the shared memory of
    kernel/quiet.py, and one for each place."""

    worker: int
    """Its number, which ids begin with."""
    index: int
    """Its place among the workers that share the clients, from 0 on."""
    workers: int
    series: int
    places: list[str]


class Ask(Struct, frozen=True, tag=True):
    """Answer a request of the admin API."""

    command: str
    arguments: dict[str, object]


class Follow(Struct, frozen=True, tag=True):
    """Send what a stream has to tell from now on, by the number of this request.

    The answer says that it has begun.
    """

    command: str
    arguments: dict[str, object]


class Leave(Struct, frozen=True, tag=True):
    """End the stream that was asked for by this number."""

    stream: int


class Drain(Struct, frozen=True, tag=True):
    """Accept nothing more; end when the last session has ended, at the latest after `seconds`."""

    seconds: float
    keeps_sessions: bool
    """Whether control connections go on too, or only transfers that run."""


class HandOver(Struct, frozen=True, tag=True):
    """End the mappings that clients asked for and answer with `MappingsAnswer`."""


class MappingsAnswer(Struct, frozen=True):
    """The mappings as `values.plain` of LeaseBook; None when there is no front end for them."""

    book: dict[str, object] | None = None


class TakeOver(Struct, frozen=True, tag=True):
    """Make the mappings of another process again, and answer clients that ask for mappings.

    Comes after the first `Take`, also when there is nothing to take over.
    """

    book: dict[str, object] | None = None
    """Those of all clients; a worker takes its own clients'."""


class SwitchOff(Struct, frozen=True, tag=True):
    """Switch a filter off for all clients, as another worker has."""

    name: str


class Outlive(Struct, frozen=True, tag=True):
    """Do not die with this supervisor: another one takes over, at the same connection."""


class Adopt(Struct, frozen=True, tag=True):
    """Look for transfers that a process has left, and answer with how many were adopted.

    One worker at a time is asked: two would find the same.
    """


class Stop(Struct, frozen=True, tag=True):
    """End now."""


Body = (
    Prepare
    | Render
    | Take
    | Ask
    | Follow
    | Leave
    | Drain
    | HandOver
    | TakeOver
    | SwitchOff
    | Outlive
    | Adopt
    | Stop
)


class WorkerRequest(Struct, frozen=True):
    """One request to a worker; its answer carries the same number."""

    number: int
    body: Body


class Fault(Struct, frozen=True):
    """Why a request failed; `mistakes` are those of a configuration file."""

    code: str
    message: str
    mistakes: list[Mistake] = []


class WorkerAnswer(Struct, frozen=True, tag=True):
    """The answer to a request."""

    number: int
    result: Raw = Raw(b"null")
    fault: Fault | None = None


class Told(Struct, frozen=True, tag=True):
    """One document of a stream, by the number of the request that began it."""

    number: int
    document: Raw
    lost: int = 0
    """How many before it were not sent, because the supervisor did not keep up."""


class Beat(Struct, frozen=True, tag=True):
    """The worker's event loop turns."""


class SwitchedOff(Struct, frozen=True, tag=True):
    """A filter has failed with so many clients that this worker has it off for all."""

    name: str


class Left(Struct, frozen=True, tag=True):
    """What a worker that ends has left for the next process; its last word."""

    book: dict[str, object] | None


Report = WorkerAnswer | Told | Beat | SwitchedOff | Left

_requests = msgspec.json.Decoder(WorkerRequest)
_reports = msgspec.json.Decoder(Report)
encode = msgspec.json.Encoder().encode
decode_request = _requests.decode
decode_report = _reports.decode


def fault_of(error: Exception) -> Fault:
    """Return what to answer when a request ends with this error."""
    if isinstance(error, ConfigErrors):
        return Fault(error.code, str(error), mistakes_of(error.errors))
    if isinstance(error, SallyportError):
        return Fault(error.code, str(error))
    return Fault("internal-error", repr(error))


def error_of(fault: Fault) -> OperatorError:
    """Return the error that a fault stands for."""
    if fault.mistakes:
        return ConfigErrors(ConfigError(m.file, m.line, m.problem) for m in fault.mistakes)
    return RequestRefused(fault.code, fault.message)


def frame(message: Struct) -> bytes:
    """Return a message as one frame."""
    body = encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what comes from a stream into the bodies of frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether a frame has come in part."""
        return bool(self._held)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in bytes and yield what is complete; raises ValueError for a frame too long."""
        self._held += data
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._held) < end:
                return
            body = bytes(self._held[_LENGTH.size : end])
            del self._held[:end]
            yield body
