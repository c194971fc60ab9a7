"""IRC messages that offer a connection: DCC SEND and CHAT (RFC 2812 for the message around them).

The offer is a CTCP request, https://modern.ircdocs.horse/dcc: type, argument, address, port, and
whatever the type adds. IPv4 addresses are one decimal number, or dotted; IPv6 ones are text.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from sallyport.addresses import MAX_PORT, Endpoint, IpAddress, parse_address
from sallyport.errors import ProtocolError
from sallyport.wire.patterns import splice

# RFC 2812 section 2.3: 512 bytes with CR LF; the message tags of IRCv3 add 4096 of a client's.
MAX_LINE = 512 + 4096

# Tags and prefix, one of two commands, one target; then a text that is one CTCP request and has
# nothing before it (attack I04). mIRC's TSEND, and SSEND and SCHAT over TLS, differ in name only.
_REQUEST = re.compile(
    rb"(?:@[^ ]+ +)?(?::[^ ]+ +)?(?:PRIVMSG|NOTICE) +[^ :][^ ]* +"
    rb":\x01DCC +(?:[ST]?SEND|S?CHAT)(?= |\x01|$)",
    re.IGNORECASE,
)
# A name with blanks is quoted (attack I07). What follows the port, a size or a token, is theirs.
_OFFER = re.compile(
    _REQUEST.pattern + rb' +(?:"[^"\x01]*"|[^ "\x01]+)'
    rb" +(?P<address>[0-9a-f.:]+) +(?P<port>[0-9]{1,5})(?: [^\x01]*)?\x01?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a DCC offer says, and how to say it with another address."""

    address: IpAddress
    port: int
    """0: the other side is asked to listen (reverse DCC)."""
    _found: "re.Match[bytes]" = field(repr=False, compare=False)

    def naming(self, proxy: Endpoint) -> bytes:
        """Return the line with `proxy` in it, written as the client writes addresses."""
        is_number = self._found["address"].isdigit()
        told = b"%d" % int(proxy.address) if is_number else str(proxy.address).encode()
        return splice(self._found, {"address": told, "port": b"%d" % proxy.port})


def parse_offer(text: bytes) -> Offer | None:
    """Read one line without its end; None when it offers no DCC connection.

    Raises ProtocolError for an offer that says no address and port: `bad-dcc-grammar`,
    `bad-dcc-address`, `bad-dcc-port`.
    """
    if not _REQUEST.match(text):
        return None
    found = _OFFER.fullmatch(text)
    if found is None:
        raise ProtocolError("bad-dcc-grammar", text)
    address, port = found["address"].decode("ascii"), int(found["port"])
    try:
        said = IPv4Address(int(address)) if address.isdigit() else parse_address(address)
    except ValueError:
        raise ProtocolError("bad-dcc-address", text) from None
    if port > MAX_PORT:
        raise ProtocolError("bad-dcc-port", text)
    return Offer(said, port, found)
