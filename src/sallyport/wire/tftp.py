"""TFTP requests (RFC 1350, options RFC 2347 to 2349 and 7440): the one packet a gateway must read.

Everything after the request is said between two ports that neither the request nor we have chosen
for the server; it passes unread. A request has an opcode, a name and a mode, or it is none (attack
T01: the kernel's helper takes two bytes for one). What follows is between client and server: real
servers serve requests that are padded, end early, are longer than RFC 2347 allows or have options
with values that no RFC knows, and whatever the options say, the same is opened.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from sallyport import limits
from sallyport.errors import ProtocolError


class Opcode(IntEnum):
    """What a packet is (RFC 1350 section 5, RFC 2347)."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """Why a transfer is refused, as far as a gateway has to say it (RFC 1350, RFC 2347)."""

    ACCESS_VIOLATION = 2
    ALLOCATION_EXCEEDED = 3
    ILLEGAL_OPERATION = 4
    OPTION_REFUSED = 8


class NotARequest(ProtocolError):
    """The packet does not even begin like a request; an answer would be one to noise."""


# RFC 1350 section 5 declares "mail" obsolete; no server of our time takes it.
_MODES = frozenset({b"netascii", b"octet"})


@dataclass(frozen=True, slots=True)
class Request:
    """A read or write request; raises ProtocolError for what cannot be one."""

    opcode: Opcode
    name: bytes
    mode: bytes
    words: tuple[bytes, ...] = ()
    """What follows the mode: names and values of options in turn, in a request that is regular."""
    oddity: str | None = field(default=None, compare=False)
    """How it departs from the RFCs, a stable word; None: it does not."""

    def __post_init__(self) -> None:
        if self.opcode not in (Opcode.RRQ, Opcode.WRQ):
            raise NotARequest("not-a-request")
        if not self.name:
            raise ProtocolError("bad-file-name", self.name)
        if self.mode.lower() not in _MODES:
            raise ProtocolError("unknown-mode", self.mode)

    @property
    def is_write(self) -> bool:
        """Whether the client sends the file."""
        return self.opcode is Opcode.WRQ

    def asks_for(self, option: bytes) -> bool:
        """Whether an option, given in lower case, may be among those asked for.

        Among any words: which of them a server takes for names depends on how it reads padding.
        """
        return any(word.lower() == option for word in self.words)

    def value_of(self, option: bytes) -> int | None:
        """Return the value of an option as a number; None when it has none."""
        names = [word.lower() for word in self.words[::2]]
        if option not in names:
            return None
        value = self.words[1::2][names.index(option) : names.index(option) + 1]
        return int(value[0]) if value and value[0].isdigit() and len(value[0]) < 10 else None

    def is_complete(self, from_server: int, from_client: int) -> bool:
        """Whether the transfer is over, by the bytes that each side has said since the request.

        All blocks are full but the last (RFC 1350 section 2), and each is acknowledged; what is
        repeated is full as well. With options it is never certain: the size of a block and that of
        their acknowledgement are not known.
        """
        if self.words:
            return False
        data, acknowledged = from_server, from_client
        if self.is_write:  # the request itself is acknowledged too
            data, acknowledged = from_client, from_server - _ACK_BYTES
        blocks = -(-data // _BLOCK_BYTES)
        return data % _BLOCK_BYTES != 0 and acknowledged >= blocks * _ACK_BYTES

    def packet(self) -> bytes:
        """Return the request as it is sent, with every word ended."""
        words = (self.name, self.mode, *self.words)
        return self.opcode.to_bytes(2) + b"".join(word + b"\0" for word in words)


def parse_request(packet: bytes) -> Request:
    """Read a request.

    Raises NotARequest when the opcode is another or missing, else ProtocolError: `no-mode`,
    `bad-file-name`, `unknown-mode`, and `request-too-long` beyond `limits.MAX_TFTP_REQUEST`.
    """
    opcode = int.from_bytes(packet[:2]) if len(packet) >= 2 else 0
    if opcode not in (Opcode.RRQ, Opcode.WRQ):
        raise NotARequest("not-a-request", packet)
    if len(packet) > limits.MAX_TFTP_REQUEST:
        raise ProtocolError("request-too-long", packet)
    words = packet[2:].split(b"\0")
    if len(words) < 2:
        raise ProtocolError("no-mode", packet)
    name, mode, *rest = words
    is_ended = bool(rest) and not rest.pop()
    return Request(Opcode(opcode), name, mode, tuple(rest), _oddity(packet, rest, is_ended))


def _oddity(packet: bytes, words: list[bytes], is_ended: bool) -> str | None:
    names = [name.lower() for name in words[::2]]
    if not is_ended:
        return "no-terminator"
    if len(packet) > _REGULAR_BYTES:
        return "longer-than-512-bytes"
    if b"" in names:
        return "padding"
    if len(words) % 2:
        return "option-without-value"
    return "option-given-twice" if len(set(names)) < len(names) else None


# RFC 1350 section 5: opcode and number of a block, and its 512 bytes.
_ACK_BYTES = 4
_BLOCK_BYTES = _ACK_BYTES + 512

# RFC 2347: "The maximum size of a request packet is 512 octets."
_REGULAR_BYTES = 512


def error(code: ErrorCode, text: str) -> bytes:
    """Write an ERROR packet; `text` is ASCII, for people."""
    return Opcode.ERROR.to_bytes(2) + code.to_bytes(2) + text.encode("ascii") + b"\0"
