"""IRC messages that offer a connection, and where a server says that a nickname is reached.

DCC SEND and CHAT stand in an ordinary message (RFC 2812).

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
_MESSAGE = rb"(?:@[^ ]+ +)?(?::[^ ]+ +)?(?:PRIVMSG|NOTICE) +(?P<target>[^ :][^ ]*) +:\x01DCC +"
_REQUEST = re.compile(_MESSAGE + rb"(?:[ST]?SEND|S?CHAT)(?= |\x01|$)", re.IGNORECASE)
# A name with blanks is quoted (attack I07). What follows the port, a size or a token, is theirs.
_NAME = rb' +(?:"[^"\x01]*"|[^ "\x01]+)'
_OFFER = re.compile(
    _REQUEST.pattern + _NAME + rb" +(?P<address>[0-9a-f.:]+) +(?P<port>[0-9]{1,5})"
    rb"(?: [^\x01]*)?\x01?",
    re.IGNORECASE,
)
# mIRC: go on with a transfer that was cut off. It names the port of the offer, without an address.
_RESUME = re.compile(
    _MESSAGE + rb"(?:RESUME|ACCEPT)" + _NAME + rb" +(?P<port>[0-9]{1,5})(?: [^\x01]*)?\x01?",
    re.IGNORECASE,
)

# Where a server says which host a nickname is at: the prefix of what it passes on, and its answers
# to USERHOST (302), WHOIS (311) and WHO (352), RFC 2812 section 5.1.
_SEEN = re.compile(
    rb"(?:@[^ ]+ +)?:(?:"
    rb"(?P<nick>[^ !@]+)![^ @]+@(?P<host>[^ ]+) .*"
    rb"|[^ ]+ 311 [^ ]+ (?P<nick311>[^ ]+) [^ ]+ (?P<host311>[^ ]+) .*"
    rb"|[^ ]+ 352 [^ ]+ [^ ]+ [^ ]+ (?P<host352>[^ ]+) [^ ]+ (?P<nick352>[^ ]+) .*"
    rb"|[^ ]+ 302 [^ ]+ :(?P<nick302>[^ *=]+)\*?=[+-][^ @]*@(?P<host302>[^ ]+) *"
    rb")"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a DCC offer says, and how to say it with another address."""

    address: IpAddress
    port: int
    """0: the other side is asked to listen (reverse DCC)."""
    _found: "re.Match[bytes]" = field(repr=False, compare=False)

    @property
    def taker(self) -> bytes:
        """The nickname that it is made to, in small letters."""
        return self._found["target"].lower()

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


@dataclass(frozen=True, slots=True)
class Resume:
    """What a RESUME or an ACCEPT says: the port by which both sides know an offer."""

    port: int
    _found: "re.Match[bytes]" = field(repr=False, compare=False)

    def naming(self, port: int) -> bytes:
        """Return the line with another port in it."""
        return splice(self._found, {"port": b"%d" % port})


def parse_resume(text: bytes) -> Resume | None:
    """Read one line without its end; None when it is neither RESUME nor ACCEPT."""
    found = _RESUME.fullmatch(text)
    return None if found is None else Resume(int(found["port"]), found)


def parse_seen(text: bytes) -> tuple[bytes, IpAddress | None] | None:
    """Return the nickname, in small letters, whose host a server's line says, and its address.

    The address is None where the host is a name or is hidden. None: the line says no host.
    """
    found = _SEEN.fullmatch(text)
    if found is None:
        return None
    said = {name.rstrip("0123456789"): one for name, one in found.groupdict().items() if one}
    try:
        # ngircd puts brackets around an IPv6 address, others do not.
        address = parse_address(said["host"].strip(b"[]").decode("ascii"))
    except ValueError:
        address = None
    return said["nick"].lower(), address
