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

    def is_complete(self, first: bytes, from_server: int, from_client: int) -> bool:
        """Whether the transfer is over, by the bytes that each side has said since the request.

        `first` is what the server said first; empty: not known, then it is not certain with
        options. All blocks are full but the last (RFC 1350 section 2), and each is acknowledged;
        what is repeated is full as well. Options that were acknowledged (OACK) say how long a block
        is. That packet is none, and may be repeated: what could be its repetition is no last block,
        and what does not add up is not certain.
        """
        answer = int.from_bytes(first[:2])
        if answer == Opcode.ERROR:
            return True
        agreed = block_bytes_of(first) if answer == Opcode.OACK else _PLAIN_BYTES
        if agreed is None or (self.words and not first):
            return False
        options = len(first) if answer == Opcode.OACK else 0
        # Either the options are acknowledged by the client, or the request by the server.
        data, acknowledged = from_server - options, from_client - (_ACK_BYTES if options else 0)
        if self.is_write:
            data, acknowledged = from_client, from_server - (options or _ACK_BYTES)
        blocks, rest = divmod(data, _ACK_BYTES + agreed)
        needed = (blocks + 1) * _ACK_BYTES
        if options:
            repeated = range(options, (_MOST_REPEATED + 1) * options, options)
            return rest != 0 and rest not in repeated and acknowledged == needed
        return rest != 0 and acknowledged >= needed

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


def block_bytes_of(packet: bytes) -> int | None:
    """Return how many bytes a full block has, by the options that a server acknowledges (OACK).

    None where an acknowledgement is for several blocks (RFC 7440), or what the packet says is not
    whole or not for sure.
    """
    *words, end = packet[2:].split(b"\0")
    agreed = dict(zip([name.lower() for name in words[::2]], words[1::2], strict=False))
    if end or len(words) != 2 * len(agreed) or agreed.get(b"windowsize", b"1") != b"1":
        return None
    size = agreed.get(b"blksize", b"%d" % _PLAIN_BYTES)
    # RFC 2348: "valid values range between 8 and 65464 octets"
    return int(size) if size.isdigit() and len(size) < 6 and 8 <= int(size) <= 65464 else None


# RFC 1350 section 5: opcode and number of a block, and its 512 bytes where no option says else.
_ACK_BYTES = 4
# Servers give up after five tries, or fewer.
_MOST_REPEATED = 5
_PLAIN_BYTES = 512

# RFC 2347: "The maximum size of a request packet is 512 octets."
_REGULAR_BYTES = 512


def error(code: ErrorCode, text: str) -> bytes:
    """Write an ERROR packet; `text` is ASCII, for people."""
    return Opcode.ERROR.to_bytes(2) + code.to_bytes(2) + text.encode("ascii") + b"\0"
