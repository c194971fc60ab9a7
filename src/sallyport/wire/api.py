"""Messages of the local API: lines of JSON ⇄ values.

A request is an object with `id`, which its answer repeats, and `do`. What happens to a binding
comes on the same connection as objects with `event`. Addresses are text (`10.0.0.8:1553`), bytes
base64.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

MAX_LINE_BYTES = 64 * 1024
"""A request of 64 client addresses and a filter of hundreds of ranges is a tenth of it; a datagram
of 32 KiB fits too."""


class ApiRequest(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="do"):
    """What all requests have."""

    id: int
    """Any number; the answer has the same."""


class ApiBind(ApiRequest, frozen=True, kw_only=True, tag="bind"):
    """`Session.bind_for_client`; the keys are its arguments."""

    client_addresses: list[str]
    transport: Literal["tcp", "udp"]
    protocol: str
    """The protocol that the access rules are asked about, by its name or its UUID."""
    client: str | None = None
    """Whose session it is; without the key the first of the client addresses."""
    proxy_address: str | None = None
    flags: list[str] = []
    """Names of `BindFlags`, in small letters: `allow_multiple`, `timeout`."""
    backlog: int = 1
    ip_filter: list[str] | None = None
    """Addresses, prefixes and ranges that may connect; null: any, an empty list: none."""
    peer_ports: list[int] | None = None
    primary: str | None = None
    """The control connection that it ends with, by its id (`sallyport sessions show`)."""
    close_with_primary: Literal["withdraw", "kill"] = "withdraw"
    shared: bool = False
    """Whether `proxy_address` may be that of other binds that say so too, with other peers."""
    lifetime: float | None = None
    idle: float | None = None
    armed: bool = True
    stays: bool = False
    """Whether it outlives the connection, until its lifetime is over; it needs one."""
    context: Any = None
    """Any value; the events of the binding carry it."""


class ApiArm(ApiRequest, frozen=True, kw_only=True, tag="arm"):
    """`Binding.arm`."""

    binding: str


class ApiExtend(ApiRequest, frozen=True, kw_only=True, tag="extend"):
    """`Binding.extend`."""

    binding: str
    seconds: float


class ApiSetClientAddress(ApiRequest, frozen=True, kw_only=True, tag="set_client_address"):
    """`SecondaryConnection.set_client_address` of the connection with this index."""

    binding: str
    client_address: str
    index: int = 0


class ApiSetIpFilter(ApiRequest, frozen=True, kw_only=True, tag="set_ip_filter"):
    """`SecondaryConnection.set_ip_filter`; without an index `Binding.set_peers`, of all ports."""

    binding: str
    ip_filter: list[str] | None
    peer_ports: list[int] | None = None
    index: int | None = None


class ApiSend(ApiRequest, frozen=True, kw_only=True, tag="send"):
    """`SecondaryConnection.send_to`: one datagram from the proxy address."""

    binding: str
    peer: str
    data: bytes
    index: int = 0


class ApiShow(ApiRequest, frozen=True, kw_only=True, tag="show"):
    """Answer with the binding as it is now."""

    binding: str


class ApiWithdraw(ApiRequest, frozen=True, kw_only=True, tag="withdraw"):
    """`Binding.withdraw`: close its ports; what runs may finish."""

    binding: str


class ApiKill(ApiRequest, frozen=True, kw_only=True, tag="kill"):
    """`Binding.kill`, or of one connection with its index: close, and reset what runs."""

    binding: str
    index: int | None = None


AnyApiRequest = (
    ApiBind
    | ApiArm
    | ApiExtend
    | ApiSetClientAddress
    | ApiSetIpFilter
    | ApiSend
    | ApiShow
    | ApiWithdraw
    | ApiKill
)


class ApiPeer(Struct, frozen=True, kw_only=True):
    """A peer that is connected, and the bytes so far."""

    peer: str
    from_peer_bytes: int
    to_peer_bytes: int


class ApiPort(Struct, frozen=True, kw_only=True):
    """One port of a binding: the lowest port + its index."""

    proxy_address: str
    client_address: str | None
    """Null while it is not known."""
    data_path: Literal["kernel", "user"]
    state: str
    peers: list[ApiPeer] = []


class ApiBinding(Struct, frozen=True, kw_only=True):
    """A binding."""

    binding: str
    """Its id."""
    proxy_address: str
    """Where peers connect; the lowest port when several."""
    state: str
    expires_in: float | None
    """Seconds; null without a time limit."""
    rule: str
    """The access rule that allows it."""
    connections: list[ApiPort]


class ApiFault(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused; then nothing was opened and nothing was changed."""

    code: str
    """The class of the error, such as `policy-denied`."""
    reason: str
    """`sallyport reasons REASON` explains it."""
    message: str
    hresult: int = 0
    """The number that the SDK returns; 0 for what it does not know."""
    socket: str | None = None
    """Of `other-worker`: the socket at which this client is served."""


class ApiAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request: one of `result` and `error`, or neither for a call without a result.

    `id` is null when the line could not be read.
    """

    id: int | None
    result: ApiBinding | float | None = None
    error: ApiFault | None = None


class ApiEvent(Struct, frozen=True, kw_only=True):
    """What happened to a binding of this connection."""

    event: Literal["established", "refused", "closed"]
    binding: str
    index: int
    """Which of its ports."""
    peer: str | None = None
    """Who connected, or could not; of `closed` who came last."""
    context: Any = None
    """What the bind gave."""
    reason: str | None = None
    """Of `closed`: why."""
    flows: int = 0
    """Of `closed`: how many peers connected, and the bytes of all."""
    from_peer_bytes: int = 0
    to_peer_bytes: int = 0


encode = msgspec.json.Encoder().encode
_requests: msgspec.json.Decoder[AnyApiRequest] = msgspec.json.Decoder(AnyApiRequest)
_messages = msgspec.json.Decoder(dict[str, Any])

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a line raises when it is no message."""


def read_request(line: bytes) -> AnyApiRequest:
    """Read one request; raises one of `UNREADABLE`."""
    return _requests.decode(line)


def id_of(line: bytes) -> int | None:
    """Return the id of a request that cannot be read otherwise; None when it has none."""
    try:
        found = _messages.decode(line).get("id")
    except UNREADABLE:
        return None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def read_message(line: bytes) -> ApiAnswer | ApiEvent:
    """Read what the gateway says; raises one of `UNREADABLE`."""
    if "event" in _messages.decode(line):
        return msgspec.json.decode(line, type=ApiEvent)
    return msgspec.json.decode(line, type=ApiAnswer)


class Lines:
    """Cuts what comes from a stream into lines."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes and return the complete lines; raises ValueError for one too long."""
        self._held += data
        *lines, rest = self._held.split(b"\n")
        if max(map(len, (*lines, rest))) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
        self._held = bytearray(rest)
        return [bytes(line) for line in lines if line.strip()]
