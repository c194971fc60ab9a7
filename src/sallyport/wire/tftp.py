"""TFTP requests (RFC 1350, options RFC 2347 to 2349 and 7440): the one packet a gateway must read.

Everything after the request is said between two ports that neither the request nor we have chosen
for the server; it passes unread. What is not a whole and plain request is none (attack T01: the
kernel's helper takes two bytes for one).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
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

# Names are netascii by RFC 1350, in practice UTF-8; a control character is in no honest one.
_NAME = re.compile(rb"[^\x00-\x1f\x7f]+")

_DECIMAL = re.compile(rb"[0-9]{1,20}")  # 20 digits write every 64-bit size


def _number(low: int, high: int) -> Callable[[bytes], bool]:
    return lambda value: _DECIMAL.fullmatch(value) is not None and low <= int(value) <= high


# The values a *request* may carry. Unknown options are the server's to ignore (RFC 2347).
_VALUES: dict[bytes, Callable[[bytes], bool]] = {
    b"blksize": _number(8, 65464),  # RFC 2348
    b"timeout": _number(1, 255),  # RFC 2349
    b"tsize": _number(0, 2**64 - 1),  # RFC 2349: 0 in a read request, the file's size in a write
    b"windowsize": _number(1, 65535),  # RFC 7440
    b"multicast": lambda value: not value,  # RFC 2090: empty in a request
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it was asked for; names are compared without regard to case (RFC 2347)."""

    name: bytes
    value: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ProtocolError("bad-option-name", self.name)
        is_allowed = _VALUES.get(self.name.lower(), _is_text)
        if not is_allowed(self.value):
            raise ProtocolError("bad-option-value", self.name + b"=" + self.value)


@dataclass(frozen=True, slots=True)
class Request:
    """A read or write request; raises ProtocolError for what cannot be one."""

    opcode: Opcode
    name: bytes
    mode: bytes
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        if self.opcode not in (Opcode.RRQ, Opcode.WRQ):
            raise NotARequest("not-a-request")
        if not _NAME.fullmatch(self.name):
            raise ProtocolError("bad-file-name", self.name)
        if self.mode.lower() not in _MODES:
            raise ProtocolError("unknown-mode", self.mode)
        names = [option.name.lower() for option in self.options]
        if len(set(names)) < len(names):
            # Which of the two counts is the server's choice; we would have to guess it.
            raise ProtocolError("option-given-twice", b",".join(names))

    @property
    def is_write(self) -> bool:
        """Whether the client sends the file."""
        return self.opcode is Opcode.WRQ

    def asks_for(self, option: bytes) -> bool:
        """Whether an option, given in lower case, is among those asked for."""
        return any(asked.name.lower() == option for asked in self.options)

    def packet(self) -> bytes:
        """Write the request."""
        words = [self.name, self.mode]
        for option in self.options:
            words += [option.name, option.value]
        return self.opcode.to_bytes(2) + b"".join(word + b"\0" for word in words)


def parse_request(packet: bytes) -> Request:
    """Read a whole request; `parse_request(packet).packet() == packet` for everything accepted.

    Raises NotARequest when the opcode is another or missing, else ProtocolError.
    """
    opcode = int.from_bytes(packet[:2]) if len(packet) >= 2 else 0
    if opcode not in (Opcode.RRQ, Opcode.WRQ):
        raise NotARequest("not-a-request", packet)
    if len(packet) > limits.MAX_TFTP_REQUEST:
        raise ProtocolError("request-too-long", packet)
    words = packet[2:].split(b"\0")
    if words.pop():
        raise ProtocolError("no-terminator", packet)
    if len(words) < 2:
        raise ProtocolError("no-mode", packet)
    name, mode, *rest = words
    if len(rest) % 2:
        raise ProtocolError("option-without-value", packet)
    options = tuple(Option(rest[i], rest[i + 1]) for i in range(0, len(rest), 2))
    return Request(Opcode(opcode), name, mode, options)


def error(code: ErrorCode, text: str) -> bytes:
    """Write an ERROR packet; `text` is ASCII, for people."""
    return Opcode.ERROR.to_bytes(2) + code.to_bytes(2) + text.encode("ascii") + b"\0"


def _is_text(value: bytes) -> bool:
    return not value or _NAME.fullmatch(value) is not None
