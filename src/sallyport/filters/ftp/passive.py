"""Replies that name an address: what a 227 or 229 offers, and how to say it with another one.

Which of the two codes comes does not depend on the command: servers answer EPSV with 227 and PASV
with 229, and clients cope.
"""

from collections.abc import Container
from dataclasses import dataclass
from ipaddress import IPv4Address

from sallyport.api import AddressNotAllowed, Endpoint
from sallyport.filters.ftp.settings import FtpSettings
from sallyport.wire.ftp import formats
from sallyport.wire.ftp.replies import ReplyLine

# In a 227 on an IPv6 connection there is no room for the address: it means "where you are
# connected to", as servers write it themselves.
_THE_SERVER_ITSELF = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class PassiveReply:
    """A reply that says where the server listens."""

    server: Endpoint
    """Where the server listens, by its own address, or another host in its place."""
    _raw: bytes
    _span: formats.Span
    _named: Endpoint | None
    """What the reply names; None where it names a port alone."""

    def naming(self, told: Endpoint) -> bytes:
        """Return the line with `told` in it; where that is said already, the line as it came."""
        if self._named is None:
            return formats.splice(self._raw, self._span, b"%d" % told.port)
        if told.version != 4:
            told = Endpoint(_THE_SERVER_ITSELF, told.port)
        if told == self._named:
            return self._raw
        return formats.splice(self._raw, self._span, formats.format_port_argument(told))


def read_passive(
    line: ReplyLine, server: Endpoint, own: Container[object], settings: FtpSettings
) -> PassiveReply | None:
    """Read the final line of a 227 or 229; None when it names nothing ("227 Logout.", attack V04).

    `server`: the server as we know it; `own`: addresses of ours that stand for it to its clients;
    `settings` say what another address means. All zeros and loopback are the server itself in any
    case: they cannot be a third host. Raises ProtocolError for what cannot be read strictly,
    AddressNotAllowed for another host (attack V01).
    """
    if line.code == 229:
        extended = formats.read_epsv_reply(line.text)
        where = Endpoint(server.address, extended.port)
        return PassiveReply(where, line.raw, extended.span, None)
    found = formats.read_pasv_reply(line.text)
    if found is None:
        return None
    named = found.endpoint
    host = named.address
    is_its_own = host == server.address or host in own
    is_replaced = settings.trust_pasv_address == "replace"
    if is_its_own or host.is_unspecified or host.is_loopback or is_replaced:
        host = server.address
    elif not settings.any_peer:
        raise AddressNotAllowed("passive-address-is-not-the-servers")
    return PassiveReply(Endpoint(host, named.port), line.raw, found.span, named)


def masked(raw: bytes, inside: Endpoint, outside: Endpoint) -> bytes:
    """Return a line with the address of `outside` wherever it names the one of `inside`.

    For replies that open nothing and must not tell where a published server is.
    """
    if inside.version == 4 and outside.version == 4:
        octets, seen_as = (
            b",".join(b"%d" % octet for octet in end.address.packed) for end in (inside, outside)
        )
        raw = formats.replace_octets(raw, octets, seen_as)
    return raw.replace(str(inside.address).encode(), str(outside.address).encode())
