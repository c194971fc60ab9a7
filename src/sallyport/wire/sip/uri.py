"""SIP URIs and the headers that carry one: Contact, Route, From and their like (RFC 3261 19.1, 20).

Only host and port are ever written anew. User, parameters, display name and brackets stay.
"""

import re
from dataclasses import dataclass
from typing import Self

from sallyport.addresses import MAX_PORT, Endpoint, IpAddress, parse_address
from sallyport.errors import ProtocolError
from sallyport.wire.parameters import Parameters, split

# RFC 3261 section 25.1: the user part may hold `;`, `?`, `/`; none of the parts holds `@` but as
# the one that ends the user. A host is a name, an IPv4 address, or an IPv6 address in brackets.
_URI = re.compile(
    rb"(sips?|tel):(?:([^@\s<>]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)?(?::([0-9]{1,5}))?"
    rb"((?:;[^\s;?<>]*)*)(\?[^\s<>]*)?",
    re.IGNORECASE,
)
_TRANSPORT = re.compile(rb";[ \t]*transport[ \t]*=[ \t]*([^;?\s]*)", re.IGNORECASE)
_NAME_ADDRESS = re.compile(
    rb'([ \t]*(?:"(?:[^"\\]|\\.)*"|[^"<>,;]*)[ \t]*<)([^<>]*)(>.*)', re.DOTALL
)

DEFAULT_PORT = 5060
"""Where SIP is spoken when nothing is said, over UDP and TCP (RFC 3261 section 19.1.2)."""


@dataclass(frozen=True, slots=True)
class SipUri:
    """A `sip:` or `sips:` URI; `bytes()` of it is what was read, but for host and port."""

    raw: bytes
    host: bytes
    """As it is written; an IPv6 address in brackets."""
    port: int | None
    _host_at: int
    _end_at: int

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read a URI; raises ProtocolError `bad-sip-uri`, for other schemes too."""
        found = _URI.fullmatch(text)
        if found is None or found[3] is None or found[1].lower() == b"tel":
            raise ProtocolError("bad-sip-uri", text)
        port = None if found[4] is None else int(found[4])
        if port is not None and not 1 <= port <= MAX_PORT:
            raise ProtocolError("bad-sip-uri", text)
        end = found.end(3) if port is None else found.end(4)
        return cls(text, found[3], port, found.start(3), end)

    def __bytes__(self) -> bytes:
        return self.raw

    @property
    def address(self) -> IpAddress | None:
        """The host as an address; None when it is a name."""
        return read_host(self.host)

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it leads; None when its host is a name."""
        address = self.address
        return None if address is None else Endpoint(address, self.port or DEFAULT_PORT)

    @property
    def transport(self) -> bytes:
        """What it is spoken over, in small letters; empty when it does not say."""
        found = _TRANSPORT.search(self.raw, self._end_at)
        said = b"" if found is None else found[1].lower()
        return b"tls" if self.raw[:5].lower() == b"sips:" else said

    def at(self, endpoint: Endpoint) -> Self:
        """Return it with another host and port."""
        said = str(endpoint).encode()
        return type(self).read(self.raw[: self._host_at] + said + self.raw[self._end_at :])


@dataclass(frozen=True, slots=True)
class NameAddress:
    """One element of a Contact, Route, From or To header; `bytes()` of it is what was read."""

    before: bytes
    """Display name and bracket; empty where the URI stands alone."""
    target: bytes
    """The URI as it is written, or `*`."""
    after: bytes
    """Bracket and parameters of the header."""

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read one element; raises ProtocolError `bad-name-address`.

        Without brackets what follows the URI are parameters of the header (RFC 3261 section 20.10).
        """
        if found := _NAME_ADDRESS.fullmatch(text):
            return cls(found[1], found[2], found[3])
        if b"<" in text or b">" in text or b'"' in text:
            raise ProtocolError("bad-name-address", text)
        target, semicolon, rest = text.partition(b";")
        blanks = len(target) - len(target.lstrip(b" \t"))
        inner = target.strip(b" \t")
        after = target[blanks + len(inner) :] + semicolon + rest
        return cls(target[:blanks], inner, after)

    def __bytes__(self) -> bytes:
        return self.before + self.target + self.after

    def get(self, name: bytes) -> bytes | None:
        """Return a parameter of the header, as `Parameters.get`; raises what it raises."""
        return Parameters.read(self.after.removeprefix(b">")).get(name)

    def uri(self) -> SipUri | None:
        """Return its URI; None for `*` and for what is no SIP URI."""
        try:
            return SipUri.read(self.target)
        except ProtocolError:
            return None

    def at(self, endpoint: Endpoint) -> Self:
        """Return it with another host and port in its URI; raises ProtocolError `bad-sip-uri`."""
        return type(self)(self.before, bytes(SipUri.read(self.target).at(endpoint)), self.after)


def read_name_addresses(value: bytes) -> list[NameAddress]:
    """Read a list of such elements; raises ProtocolError `open-quote`, `bad-name-address`."""
    return [NameAddress.read(one) for one in split(value, b",")]


def write_name_addresses(elements: list[NameAddress]) -> bytes:
    """Write the list; what was read comes out as it was."""
    return b",".join(map(bytes, elements))


def read_host(text: bytes) -> IpAddress | None:
    """Return a host as an address; None when it is a name."""
    try:
        return parse_address(text.strip(b"[]").decode("ascii"))
    except ValueError:
        return None
