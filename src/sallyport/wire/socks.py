"""SOCKS messages: bytes ⇄ values. Version 5 (RFC 1928), its passwords (RFC 1929), 4 and 4a.

A reader is a generator: it yields how many bytes it needs next, is sent exactly as many, and
returns what they mean. So nothing is read that belongs to what follows, and a message may come
whole or byte by byte.
"""

import struct
from collections.abc import Generator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar

from sallyport.addresses import Endpoint, IpAddress
from sallyport.errors import ProtocolError

_Value = TypeVar("_Value")

Reading = Generator[int, bytes, _Value]
"""Yields how many bytes it needs, always at least one; returns what was read."""

Host = IpAddress | str
"""A host as a client names it: by an address, or by a name that we look up."""

# RFC 1929 section 2; the sub-negotiation has a version of its own.
_PASSWORD_VERSION: Final = 1

_IPV4, _NAME, _IPV6 = 1, 3, 4

# A user id of SOCKS 4 has no length in front. Those in use are login names; a name of DNS has at
# most 253 bytes (RFC 1035 section 2.3.4).
_MAX_TEXT_4: Final = 255

_GRANTED_4, _REJECTED_4 = 90, 91
_NOWHERE: Final = Endpoint(IPv4Address(0), 0)


class Method(IntEnum):
    """How a client proves who it is (RFC 1928 section 3)."""

    NONE = 0
    PASSWORD = 2
    NOT_ACCEPTABLE = 255


class SocksCommand(IntEnum):
    """What a request asks for (RFC 1928 section 4)."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class SocksReply(IntEnum):
    """What a request is answered with (RFC 1928 section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class SocksRefusal(ProtocolError):
    """The request of a client that speaks SOCKS cannot be granted; `reply` is its answer."""

    def __init__(self, reply: SocksReply, version: int = 5) -> None:
        super().__init__("socks-request-refused")
        self.reply = reply
        self.version = version


class NotSocks(ProtocolError):
    """What was said is no SOCKS: there is no answer that its speaker would understand."""

    def __init__(self, offending: bytes = b"") -> None:
        super().__init__("not-socks", offending)


@dataclass(frozen=True, slots=True)
class SocksRequest:
    """What a client asks for; `version` says how it is answered. Port 0 means none."""

    version: int
    command: SocksCommand
    host: Host
    port: int
    user_id: str = ""
    """SOCKS 4: what the client calls its user; nothing proves it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, as they came (RFC 1929 section 2)."""

    name: bytes
    password: bytes


@dataclass(frozen=True, slots=True)
class SocksDatagram:
    """One datagram of a UDP association (RFC 1928 section 7); `fragment` 0 is a whole one."""

    fragment: int
    host: Host
    port: int
    payload: bytes


# -- what clients say -------------------------------------------------------------------------


def read_version() -> Reading[int]:
    """Read with which version a client begins, 4 or 5; raises NotSocks."""
    (version,) = yield 1
    if version not in (4, 5):
        raise NotSocks(bytes((version,)))
    return version


def read_methods() -> Reading[frozenset[int]]:
    """Read the rest of a greeting of version 5: the methods that the client offers."""
    (count,) = yield 1
    return frozenset((yield count) if count else b"")


def read_credentials() -> Reading[Credentials]:
    """Read a name and a password; raises NotSocks for another sub-negotiation."""
    version, length = yield 2
    if version != _PASSWORD_VERSION:
        raise NotSocks(bytes((version, length)))
    name = (yield length) if length else b""
    (length,) = yield 1
    return Credentials(name, (yield length) if length else b"")


def read_request() -> Reading[SocksRequest]:
    """Read a request of version 5. Raises NotSocks, and SocksRefusal once it is whole."""
    version, command, _reserved, kind = yield 4
    if version != 5:
        raise NotSocks(bytes((version, command)))
    host, port = yield from _read_place(kind)
    return SocksRequest(5, _command(command, 5), host, port)


def read_request_4() -> Reading[SocksRequest]:
    """Read the rest of a request of version 4 or 4a; raises as `read_request`."""
    command, port, number = struct.unpack("!BHI", (yield 7))
    user_id = yield from _text_4()
    host: Host = IPv4Address(number)
    if 0 < number < 256:
        # 4a: an impossible address, 0.0.0.x, says that a name follows.
        host = _name((yield from _text_4()), 4)
    asked = _command(command, 4)
    return SocksRequest(4, asked, host, port, user_id.decode("utf-8", "replace"))


def parse_datagram(data: bytes) -> SocksDatagram:
    """Read a datagram of a client; raises ProtocolError for what is none."""
    if len(data) < 4 or data[:2] != b"\0\0":
        raise NotSocks(data)
    reading, at = _read_place(data[3]), 4
    try:
        wanted = next(reading)
        while True:
            piece = data[at : at + wanted]
            if len(piece) < wanted:
                raise NotSocks(data)
            at += wanted
            wanted = reading.send(piece)
    except StopIteration as done:
        host, port = done.value
    return SocksDatagram(data[2], host, port, data[at:])


def _read_place(kind: int) -> Reading[tuple[Host, int]]:
    host: Host
    if kind == _IPV4:
        host = IPv4Address((yield 4))
    elif kind == _IPV6:
        host = IPv6Address((yield 16))
    elif kind == _NAME:
        (length,) = yield 1
        host = _name((yield length) if length else b"", 5)
    else:
        # How long such an address is no one knows, so this is where reading ends.
        raise SocksRefusal(SocksReply.ADDRESS_TYPE_NOT_SUPPORTED)
    (port,) = struct.unpack("!H", (yield 2))
    return host, port


def _text_4() -> Reading[bytes]:
    """Read what ends with NUL; raises NotSocks when that does not come."""
    text = bytearray()
    while (byte := (yield 1)) != b"\0":
        text += byte
        if len(text) > _MAX_TEXT_4:
            raise NotSocks(bytes(text))
    return bytes(text)


def _name(text: bytes, version: int) -> str:
    """Return the name of a host; raises SocksRefusal for what none can have."""
    # A NUL would end the name for the resolver, and not for who reads our log.
    if not text or not all(0x21 <= byte <= 0x7E for byte in text):
        raise SocksRefusal(SocksReply.HOST_UNREACHABLE, version)
    return text.decode("ascii")


def _command(number: int, version: int) -> SocksCommand:
    known = tuple(SocksCommand) if version == 5 else (SocksCommand.CONNECT, SocksCommand.BIND)
    if number not in known:
        raise SocksRefusal(SocksReply.COMMAND_NOT_SUPPORTED, version)
    return SocksCommand(number)


# -- what we say ------------------------------------------------------------------------------


def choose(method: Method) -> bytes:
    """Write which method of those offered is used, or that none is."""
    return bytes((5, method))


def judge_password(*, is_right: bool) -> bytes:
    """Write whether a name and a password are accepted."""
    return bytes((_PASSWORD_VERSION, not is_right))


def answer(version: int, reply: SocksReply, bound: Endpoint | None = None) -> bytes:
    """Write a reply; `bound` is its BND.ADDR and BND.PORT, zeros when there is none."""
    at = bound or _NOWHERE
    if version == 4:
        code = _GRANTED_4 if reply is SocksReply.SUCCEEDED else _REJECTED_4
        # It has no room for more; a client of version 4 knows no other address anyway.
        address = at.address.packed if at.version == 4 else bytes(4)
        return struct.pack("!BBH", 0, code, at.port) + address
    return bytes((5, reply, 0)) + _place(at)


def write_datagram(peer: Endpoint, payload: bytes) -> bytes:
    """Write a datagram of a peer to the client of an association."""
    return b"\0\0\0" + _place(peer) + payload


def _place(at: Endpoint) -> bytes:
    kind = _IPV4 if at.version == 4 else _IPV6
    return bytes((kind,)) + at.address.packed + struct.pack("!H", at.port)
