"""PCP messages (RFC 6887), with FILTER and PORT_SET (RFC 7753): bytes ⇄ values.

A request is read in the order in which its faults must be answered: what is no request at all is
not answered, then version, length, opcode, options. `Refusal` is a fault with its result code; the
answer to it repeats the request (section 8.2).
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final

from sallyport.addresses import Endpoint, IpAddress, IpNetwork

VERSION: Final = 2
MAX_BYTES: Final = 1100
"""The longest message (section 7): it fits into one packet on any link."""

_HEADER: Final = struct.Struct("!BBHI16s")
_RESPONSE: Final = struct.Struct("!BBxBII12x")
_MAP: Final = struct.Struct("!12sB3xHH16s")
_PEER: Final = struct.Struct("!12sB3xHH16sH2x16s")
_OPTION: Final = struct.Struct("!BxH")
_FILTER: Final = struct.Struct("!xBH16s")
_PORT_SET: Final = struct.Struct("!HHB")

_RESPONSE_BIT: Final = 0x80
# Options below this number must be understood or refused (section 7.3).
_FIRST_OPTIONAL: Final = 128
# An IPv4 address in IPv6 form, ::ffff:0:0/96: a prefix of it has this many bits before its own.
_MAPPED_BITS: Final = 96


class PcpOpcode(IntEnum):
    """What a request asks for (section 19.2)."""

    ANNOUNCE = 0
    MAP = 1
    PEER = 2


class PcpResult(IntEnum):
    """Result codes (section 7.4)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


class Option(IntEnum):
    """Options that are understood (section 19.4; PORT_SET: RFC 7753 section 4)."""

    THIRD_PARTY = 1
    PREFER_FAILURE = 2
    FILTER = 3
    PORT_SET = 130


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """A request that is answered with `result` and has no other effect."""

    result: PcpResult


@dataclass(frozen=True, slots=True)
class PeerFilter:
    """One FILTER option (section 13.3): who may connect; port 0 is any port."""

    prefix: IpNetwork
    port: int


@dataclass(frozen=True, slots=True)
class PortSet:
    """A PORT_SET option (RFC 7753 section 4.1): as many consecutive ports, same parity or not."""

    size: int
    first_internal_port: int
    keeps_parity: bool


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a MAP request says (section 11.1), with its options.

    `filters` None: no FILTER was sent, so a renewal keeps those it has; empty: all were cleared.
    """

    nonce: bytes
    protocol: int
    internal_port: int
    external_port: int
    external_address: IpAddress
    third_party: IpAddress | None = None
    prefers_failure: bool = False
    filters: tuple[PeerFilter, ...] | None = None
    port_set: PortSet | None = None


@dataclass(frozen=True, slots=True)
class Peering:
    """What a PEER request says (section 12.1): it asks about a flow to one remote peer.

    External port and address are how the client expects to be seen; zeros expect nothing.
    """

    nonce: bytes
    protocol: int
    internal_port: int
    external_port: int
    external_address: IpAddress
    remote: Endpoint
    third_party: IpAddress | None = None


@dataclass(frozen=True, slots=True)
class PcpRequest:
    """A well-formed request: of `mapping` and `peering` ANNOUNCE has neither, others have one."""

    opcode: PcpOpcode
    lifetime: int
    client: IpAddress
    mapping: Mapping | None
    peering: Peering | None = None


@dataclass(frozen=True, slots=True)
class _Options:
    third_party: IpAddress | None = None
    prefers_failure: bool = False
    filters: tuple[PeerFilter, ...] | None = None
    port_set: PortSet | None = None


def is_request(data: bytes) -> bool:
    """Whether a datagram may be answered at all: not a response, and long enough to say so."""
    return len(data) >= 2 and not data[1] & _RESPONSE_BIT


def parse(data: bytes) -> PcpRequest:
    """Read a request for which `is_request` holds. Raises Refusal with the code to answer with."""
    if data[0] != VERSION:
        raise Refusal(PcpResult.UNSUPP_VERSION)
    if not _HEADER.size <= len(data) <= MAX_BYTES or len(data) % 4:
        raise Refusal(PcpResult.MALFORMED_REQUEST)
    _, opcode, _, lifetime, packed = _HEADER.unpack_from(data)
    client, rest = address_of(packed), data[_HEADER.size :]
    if opcode == PcpOpcode.ANNOUNCE:
        _require_known(rest)
        return PcpRequest(PcpOpcode.ANNOUNCE, lifetime, client, None)
    if opcode == PcpOpcode.PEER:
        return PcpRequest(PcpOpcode.PEER, lifetime, client, None, _peering(rest))
    if opcode != PcpOpcode.MAP:
        raise Refusal(PcpResult.UNSUPP_OPCODE)
    if len(rest) < _MAP.size:
        raise Refusal(PcpResult.MALFORMED_REQUEST)
    nonce, protocol, internal, external, suggested = _MAP.unpack_from(rest)
    options = _options(rest[_MAP.size :], is_deletion=lifetime == 0)
    if protocol == 0 and internal != 0:
        raise Refusal(PcpResult.MALFORMED_REQUEST)  # section 11.1: "all protocols" has no port
    mapping = Mapping(
        nonce,
        protocol,
        internal,
        external,
        address_of(suggested),
        options.third_party,
        options.prefers_failure,
        options.filters,
        options.port_set,
    )
    return PcpRequest(PcpOpcode.MAP, lifetime, client, mapping)


def _peering(data: bytes) -> Peering:
    """Read what follows the header of PEER; raises Refusal."""
    if len(data) < _PEER.size:
        raise Refusal(PcpResult.MALFORMED_REQUEST)
    nonce, protocol, internal, external, wished, port, packed = _PEER.unpack_from(data)
    options = _options(data[_PEER.size :], is_deletion=False)
    if options.prefers_failure:
        raise Refusal(PcpResult.MALFORMED_REQUEST)  # section 12.1: PEER means it without saying so
    if options.filters is not None:
        raise Refusal(PcpResult.UNSUPP_OPTION)  # section 13.3: for MAP alone
    if not (protocol and internal and port):
        raise Refusal(PcpResult.MALFORMED_REQUEST)  # section 12.1: one flow, of one protocol
    remote = Endpoint(address_of(packed), port)
    expected = address_of(wished)
    return Peering(nonce, protocol, internal, external, expected, remote, options.third_party)


def map_request(
    client: IpAddress,
    nonce: bytes,
    protocol: int,
    port: int,
    *,
    lifetime: int,
    external_port: int = 0,
    filters: tuple[PeerFilter, ...] = (),
) -> bytes:
    """Write the request of a client for one port; `lifetime` 0 deletes (section 11.1)."""
    head = _HEADER.pack(VERSION, PcpOpcode.MAP, 0, lifetime, pack(client))
    unknown = IPv4Address(0) if client.version == 4 else IPv6Address(0)
    body = _MAP.pack(nonce, protocol, port, external_port, pack(unknown))
    return head + body + b"".join(_filter(one) for one in filters)


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """What a gateway answers to a MAP request: `external` and `port` mean nothing in a refusal."""

    result: PcpResult
    lifetime: int
    nonce: bytes
    external: IpAddress
    port: int


def parse_answer(data: bytes) -> MapAnswer | None:
    """Read the answer to a MAP request; None for any other datagram."""
    if len(data) < _RESPONSE.size + _MAP.size or data[0] != VERSION:
        return None
    _, opcode, result, lifetime, _ = _RESPONSE.unpack_from(data)
    if opcode != PcpOpcode.MAP | _RESPONSE_BIT or result > max(PcpResult):
        return None
    nonce, _, _, port, external = _MAP.unpack_from(data, _RESPONSE.size)
    return MapAnswer(PcpResult(result), lifetime, nonce, address_of(external), port)


def refuse(request: bytes, result: PcpResult, *, lifetime: int, epoch: int) -> bytes:
    """Write the answer to a request that failed: a copy of it with another head (section 8.3).

    `lifetime` says for how many seconds the client should not ask again.
    """
    body = request[_RESPONSE.size : MAX_BYTES]
    body += bytes(-len(body) % 4)
    opcode = request[1] & ~_RESPONSE_BIT
    return _RESPONSE.pack(VERSION, opcode | _RESPONSE_BIT, result, lifetime, epoch) + body


def announce(epoch: int) -> bytes:
    """Write the answer to ANNOUNCE, which is also what is sent unasked (section 14.1)."""
    return _RESPONSE.pack(VERSION, PcpOpcode.ANNOUNCE | _RESPONSE_BIT, PcpResult.SUCCESS, 0, epoch)


def grant(
    mapping: Mapping,
    *,
    external: IpAddress,
    port: int,
    lifetime: int,
    epoch: int,
    set_size: int | None = None,
) -> bytes:
    """Write the answer to MAP (section 11.1); options that were understood are repeated.

    `set_size`: how many ports there are, where a PORT_SET was asked for (RFC 7753 section 5.2).
    """
    head = _RESPONSE.pack(
        VERSION, PcpOpcode.MAP | _RESPONSE_BIT, PcpResult.SUCCESS, lifetime, epoch
    )
    body = _MAP.pack(mapping.nonce, mapping.protocol, mapping.internal_port, port, pack(external))
    if mapping.third_party is not None:
        body += _option(Option.THIRD_PARTY, pack(mapping.third_party))
    if mapping.prefers_failure:
        body += _option(Option.PREFER_FAILURE, b"")
    body += b"".join(_filter(one) for one in mapping.filters or ())
    if mapping.port_set is not None and set_size is not None:
        first = mapping.port_set.first_internal_port
        # RFC 7753 section 4.1: the bit of an answer says that parity is kept, not that it was
        # asked for. A set begins at a multiple of its size, so one at an odd port may lose it.
        is_kept = mapping.port_set.keeps_parity and port % 2 == first % 2
        body += _option(Option.PORT_SET, _PORT_SET.pack(set_size, first, is_kept))
    return head + body


def describe(peering: Peering, *, external: Endpoint, lifetime: int, epoch: int) -> bytes:
    """Write the answer to PEER (section 12.1): from where the remote peer sees the flow."""
    head = _RESPONSE.pack(
        VERSION, PcpOpcode.PEER | _RESPONSE_BIT, PcpResult.SUCCESS, lifetime, epoch
    )
    body = _PEER.pack(
        peering.nonce,
        peering.protocol,
        peering.internal_port,
        external.port,
        pack(external.address),
        peering.remote.port,
        pack(peering.remote.address),
    )
    if peering.third_party is not None:
        body += _option(Option.THIRD_PARTY, pack(peering.third_party))
    return head + body


def pack(address: IpAddress) -> bytes:
    """Write an address in 128 bits; IPv4 as ::ffff:a.b.c.d (section 5)."""
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def address_of(packed: bytes) -> IpAddress:
    """Read an address of 128 bits; all zeros of the IPv4 form are 0.0.0.0."""
    address = IPv6Address(packed)
    return address if address.ipv4_mapped is None else address.ipv4_mapped


def _option(code: Option, data: bytes) -> bytes:
    return _OPTION.pack(code, len(data)) + data + bytes(-len(data) % 4)


def _filter(one: PeerFilter) -> bytes:
    prefix = one.prefix
    bits = prefix.prefixlen + (_MAPPED_BITS if prefix.version == 4 else 0)
    return _option(Option.FILTER, _FILTER.pack(bits, one.port, pack(prefix.network_address)))


def _walk(data: bytes) -> list[tuple[int, bytes]]:
    """Cut options apart; raises Refusal when one is longer than what is left (attack C07)."""
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(data):
        code, length = _OPTION.unpack_from(data, offset)
        offset += _OPTION.size
        if offset + length > len(data):
            raise Refusal(PcpResult.MALFORMED_OPTION)
        found.append((code, data[offset : offset + length]))
        offset += length + -length % 4
    return found


def _require_known(data: bytes) -> None:
    if any(code < _FIRST_OPTIONAL for code, _ in _walk(data)):
        raise Refusal(PcpResult.UNSUPP_OPTION)


def _options(data: bytes, *, is_deletion: bool) -> _Options:
    third_party: IpAddress | None = None
    prefers_failure = False
    filters: list[PeerFilter] | None = None
    port_set: PortSet | None = None
    seen: set[int] = set()
    for code, value in _walk(data):
        if code in seen and code != Option.FILTER:
            raise Refusal(
                PcpResult.MALFORMED_OPTION
            )  # section 7.3: once only, unless it says other
        seen.add(code)
        if code == Option.THIRD_PARTY:
            third_party = address_of(_sized(value, 16))
        elif code == Option.PREFER_FAILURE:
            _sized(value, 0)
            if is_deletion:
                raise Refusal(PcpResult.MALFORMED_REQUEST)  # section 13.2
            prefers_failure = True
        elif code == Option.FILTER:
            filters = _with_filter(filters or [], _sized(value, _FILTER.size))
        elif code == Option.PORT_SET:
            size, first, flags = _PORT_SET.unpack(_sized(value, _PORT_SET.size))
            if size == 0:
                raise Refusal(PcpResult.MALFORMED_OPTION)
            port_set = PortSet(size, first, bool(flags & 1))
        elif code < _FIRST_OPTIONAL:
            raise Refusal(PcpResult.UNSUPP_OPTION)
    return _Options(
        third_party, prefers_failure, None if filters is None else tuple(filters), port_set
    )


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise Refusal(PcpResult.MALFORMED_OPTION)
    return value


def _with_filter(before: list[PeerFilter], value: bytes) -> list[PeerFilter]:
    """Add one FILTER; a prefix of no bits clears those before it (section 13.3)."""
    bits, port, packed = _FILTER.unpack(value)
    if bits == 0:
        return []
    return [*before, PeerFilter(_prefix(bits, packed), port)]


def _prefix(bits: int, packed: bytes) -> IpNetwork:
    """Read a prefix, counted in 128 bits.

    One client in the field, libpcp, counts the 32 bits of IPv4 instead. Read literally 32 would be
    ::/32, which is everybody: what the client means is the narrower reading, and safe.
    """
    address = address_of(packed)
    if isinstance(address, IPv4Address):
        if bits <= 32:
            return ip_network((address, bits), strict=False)
        if _MAPPED_BITS < bits <= 128:
            return ip_network((address, bits - _MAPPED_BITS), strict=False)
        raise Refusal(PcpResult.MALFORMED_OPTION)
    if bits > 128:
        raise Refusal(PcpResult.MALFORMED_OPTION)
    return IPv6Network((address, bits), strict=False)
