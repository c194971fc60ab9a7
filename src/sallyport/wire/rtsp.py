"""The Transport header of RTSP: who sends media where (RFC 2326 section 12.39, RFC 7826 18.54).

A list of specifications in the order of preference. Version 1.0 names ports, as
`client_port=5000-5001`, and an address apart; 2.0 names whole addresses, as
`dest_addr=":5000"/":5001"`. One reader serves both.
"""

import re
from dataclasses import dataclass
from typing import Self

from sallyport.addresses import MAX_PORT, Endpoint, IpAddress, parse_address
from sallyport.errors import ProtocolError
from sallyport.wire.parameters import Parameters, split

_PORTS = re.compile(rb"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_HOST_PORT = re.compile(rb'"(?:\[([0-9A-Fa-f:.]+)\]|([^"\[\]:/\s]*))(?::([0-9]{1,5}))?"')
_CSEQ = re.compile(rb"[0-9]{1,10}")
_TIMEOUT = re.compile(rb"[0-9]{1,9}")

# RTP over UDP, plain (RFC 3551), encrypted (RFC 3711) or with feedback (RFC 4585), and MPEG-TS as
# IPTV sends it: all of them name the ports in the same words.
_UDP = re.compile(rb"(?:RTP/S?AVPF?|MP2T/H2221|RAW/RAW)(?:/UDP)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HostPort:
    """One address of version 2.0; each part may be missing."""

    host: IpAddress | None
    port: int | None


@dataclass(frozen=True, slots=True)
class TransportSpec:
    """One specification of a Transport header; `bytes()` of it is what was read."""

    parameters: Parameters

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read one specification; raises ProtocolError `open-quote`."""
        return cls(Parameters.read(text))

    def __bytes__(self) -> bytes:
        return bytes(self.parameters)

    @property
    def is_udp(self) -> bool:
        """Whether media comes in datagrams of its own."""
        return _UDP.fullmatch(self.parameters.head) is not None and not self.is_interleaved

    @property
    def is_interleaved(self) -> bool:
        """Whether media comes within the RTSP connection."""
        head = self.parameters.head.lower()
        return b"interleaved" in self.parameters.names() or head.endswith(b"/tcp")

    @property
    def is_multicast(self) -> bool:
        """Whether media goes to a group: where a unicast is not asked for, it does in 1.0."""
        return b"multicast" in self.parameters.names()

    @property
    def is_ice(self) -> bool:
        """Whether both ends find out themselves how to reach each other (RFC 7825)."""
        return self.parameters.head.upper().startswith(b"D-ICE") or b"candidates" in (
            self.parameters.names()
        )

    def ports(self, name: bytes) -> tuple[int, ...]:
        """Return the one or two ports of a parameter of version 1.0; empty without it.

        Raises ProtocolError `bad-rtsp-ports`, `parameter-twice`.
        """
        said = self.parameters.get(name)
        if said is None:
            return ()
        found = _PORTS.fullmatch(said)
        if found is None:
            raise ProtocolError("bad-rtsp-ports", said)
        ports = tuple(int(port) for port in found.groups() if port is not None)
        if not all(1 <= port <= MAX_PORT for port in ports):
            raise ProtocolError("bad-rtsp-ports", said)
        return ports

    def address(self, name: bytes) -> IpAddress | None:
        """Return the address of a parameter such as `source`; None without it, or when it is empty.

        Raises ProtocolError `bad-rtsp-address` for a name or anything else, `parameter-twice`.
        """
        said = (self.parameters.get(name) or b"").strip(b'"')
        return _address(said) if said else None

    def addresses(self, name: bytes) -> tuple[HostPort, ...]:
        """Return what `dest_addr` or `src_addr` of version 2.0 lists; empty without it.

        Raises ProtocolError `bad-rtsp-address`, `parameter-twice`.
        """
        said = self.parameters.get(name)
        return () if said is None else tuple(_host_port(one) for one in split(said, b"/"))

    def saying(self, name: bytes, value: bytes) -> Self:
        """Return it with another value for a parameter that it has."""
        return type(self)(self.parameters.saying(name, value))

    def without(self, name: bytes) -> Self:
        """Return it without a parameter."""
        return type(self)(self.parameters.without(name))


def read_transports(value: bytes) -> list[TransportSpec]:
    """Read a Transport header; raises ProtocolError `open-quote`."""
    return [TransportSpec.read(one) for one in split(value, b",")]


def write_transports(specs: list[TransportSpec]) -> bytes:
    """Write a Transport header; what was read comes out as it was."""
    return b",".join(map(bytes, specs))


def write_ports(ports: tuple[int, ...]) -> bytes:
    """Write one or two ports as version 1.0 does."""
    return b"-".join(b"%d" % port for port in ports)


def write_addresses(endpoints: tuple[Endpoint, ...]) -> bytes:
    """Write addresses as version 2.0 does."""
    return b"/".join(b'"%s"' % str(endpoint).encode() for endpoint in endpoints)


def read_cseq(value: bytes | None) -> int | None:
    """Return the number by which an answer names its request; None when it is none."""
    return int(value) if value is not None and _CSEQ.fullmatch(value) else None


def read_session(value: bytes | None) -> tuple[bytes, int | None]:
    """Return the identifier in a Session header, and its timeout in seconds if it says one.

    Without a header the identifier is empty. Raises ProtocolError `open-quote`, `parameter-twice`.
    """
    if value is None:
        return b"", None
    said = Parameters.read(value)
    timeout = said.get(b"timeout") or b""
    return said.head, int(timeout) if _TIMEOUT.fullmatch(timeout) else None


def _host_port(text: bytes) -> HostPort:
    found = _HOST_PORT.fullmatch(text.strip())
    if found is None:
        raise ProtocolError("bad-rtsp-address", text)
    host, port = found[1] or found[2], int(found[3] or 0)
    if port > MAX_PORT:
        raise ProtocolError("bad-rtsp-ports", text)
    return HostPort(_address(host) if host else None, port or None)


def _address(text: bytes) -> IpAddress:
    try:
        return parse_address(text.decode("ascii"))
    except ValueError:
        raise ProtocolError("bad-rtsp-address", text) from None
