"""FTP commands, and the addresses in commands and replies (RFC 959; EPRT and EPSV: RFC 2428).

Commands are read strictly, because what they ask for opens the firewall: what is one number for one
reader must be that for all. Blanks around the numbers of PORT, and numbers with leading zeros, are
read as real servers read them, and written anew without. Replies are read as RFC 1123 section 4.1.2
asks, but their numbers as strictly. Rewriting replaces a span of the original bytes and nothing
else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

import msgspec

from sallyport.addresses import MAX_PORT, Endpoint, parse_address
from sallyport.errors import ProtocolError

Span = tuple[int, int]
"""Start and end of a part of a line, as in a slice."""

SUPPORTED_FAMILIES = (1, 2)
"""The address families of EPRT and EPSV we read: IPv4 and IPv6 (RFC 2428 section 2)."""

# RFC 959 has three and four letters; servers add digits (XSHA256) and longer words.
_MAX_VERB = 16
_COMMAND = re.compile(rb"([A-Za-z][A-Za-z0-9]{0,%d})(?: ([^\r\0\n]*))?\r*\n" % (_MAX_VERB - 1))

# What looks like the argument of PORT or EPRT: numbers and commas, or fields between delimiters.
_ADDRESS_ARGUMENT = re.compile(
    rb"\s*[(\[]?[0-9]+(?:\s*,\s*[0-9]+){5,}.*|\s*([!-/:-~])[0-9]\1[0-9A-Fa-f.:%]+\1[0-9]+\1.*",
    re.DOTALL,
)

# Every octet as it is written, in up to three digits; by no program in octal.
_OCTETS = {form % octet: octet for form in (b"%03d", b"%02d", b"%d") for octet in range(256)}
_SIX_OCTETS = Struct("!IH")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
# RFC 2428 section 2: any of 33-126. A digit would make |1|...| ambiguous (attack F09).
_DELIMITER = rb"[!-/:-~]"

# The first digit after the code counts, brackets or not (RFC 1123 section 4.1.2.6). It begins only
# where a number begins: a reply of nothing but digits must not cost its length squared. Possessive
# quantifiers would say so too, but lose matches before Python 3.11.5 (CPython gh-106052).
_NUMBERS = re.compile(rb"(?<![0-9])[0-9]+(?:[ \t]*,[ \t]*[0-9]+){5,}")
_COMMA = re.compile(rb"[ \t]*,[ \t]*")
# Other brackets may stand around it, but none of this form: what a client takes of two is open.
_FIELD = rb"(?:(?!(?P=d))[^()])*"
_EXTENDED = re.compile(
    rb"\((?P<d>%b)(?P<named>%b(?P=d)%b)(?P=d)(?P<port>[0-9]+)(?P=d)\)"
    % (_DELIMITER, _FIELD, _FIELD)
)

_CODE_LENGTH = 3


class UnsupportedFamily(ProtocolError):
    """EPRT or EPSV asked for a family other than `SUPPORTED_FAMILIES`, or than its address has.

    It is answered with 522 and the list (RFC 2428 section 2).
    """


class EpsvRequest(Enum):
    """What an EPSV command asks for; the values are its arguments."""

    DEFAULT = None
    """The family of the control connection."""
    IPV4 = b"1"
    IPV6 = b"2"
    ALL = b"ALL"
    """No port, but a promise: neither PORT, EPRT nor PASV will follow (RFC 2428 section 4)."""


class Command(msgspec.Struct, frozen=True, gc=False):
    """One command: the verb in upper case, and its argument; None when no blank follows it."""

    verb: bytes
    argument: bytes | None = None


@dataclass(frozen=True, slots=True)
class PasvReply:
    """The endpoint in a 227, and where its six numbers are."""

    endpoint: Endpoint
    span: Span


@dataclass(frozen=True, slots=True)
class EpsvReply:
    """The port in a 229, 1-65535, and where its digits are."""

    port: int
    span: Span


def splice(raw: bytes, span: Span, replacement: bytes) -> bytes:
    """Return `raw` with the bytes of `span` replaced and every other byte as it was."""
    start, end = span
    return raw[:start] + replacement + raw[end:]


def parse_command(line: bytes) -> Command:
    """Read one line: a verb, then at most one blank and the rest, then LF, where it ends.

    Before that may stand CR, or several, as programs write that end lines twice.

    Raises ProtocolError, `bad-command`. The verb is the first word and nothing else (attack F18).
    """
    found = _COMMAND.fullmatch(line)
    if found is None:
        # Of a line we cannot read, only so much is shown: the rest may be a password.
        raise ProtocolError("bad-command", line[:4])
    verb, argument = found.groups()
    return Command(verb.upper(), argument)


def looks_like_address(argument: bytes) -> bool:
    """Whether an argument has the form of one of PORT or EPRT, well formed or not."""
    return _ADDRESS_ARGUMENT.fullmatch(argument) is not None


def parse_port_argument(argument: bytes) -> Endpoint:
    """Read `h1,h2,h3,h4,p1,p2`; raises ProtocolError, `bad-port-argument` or `bad-port`."""
    numbers = [number.strip(b" ") for number in argument.split(b",")]
    return _six_numbers(numbers, "bad-port-argument", argument)


def format_port_argument(endpoint: Endpoint) -> bytes:
    """Write `h1,h2,h3,h4,p1,p2`, for PORT and for 227; raises ValueError for IPv6."""
    if endpoint.version != 4:
        raise ValueError(f"{endpoint} does not fit into six numbers")
    octets = _SIX_OCTETS.pack(int(endpoint.address), endpoint.port)
    return b"%d,%d,%d,%d,%d,%d" % tuple(octets)


def parse_eprt_argument(argument: bytes) -> Endpoint:
    """Read `|family|address|port|` with any legal delimiter.

    Raises UnsupportedFamily, also when the address is one of the other family (attack F08), and
    ProtocolError, `bad-eprt-argument` or `bad-port`. Zones and IPv4-mapped addresses are refused:
    both are a second spelling under which an address could pass as another (attack F10).
    """
    delimiter = argument[:1]
    fields = argument.split(delimiter) if re.fullmatch(_DELIMITER, delimiter) else []
    if len(fields) != 5 or fields[4] or not fields[1].isdigit():
        raise ProtocolError("bad-eprt-argument", argument)
    _, family, host, port, _ = fields
    if family not in {b"1", b"2"}:
        raise UnsupportedFamily("unsupported-family", argument)
    try:
        address = parse_address(host.decode("ascii"))
    except ValueError:
        raise ProtocolError("bad-eprt-argument", argument) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ProtocolError("bad-eprt-argument", argument)
    if _family(address) != family:
        raise UnsupportedFamily("unsupported-family", argument)
    return Endpoint(address, _port(port, argument))


def format_eprt_argument(endpoint: Endpoint) -> bytes:
    """Write `|family|address|port|`, always with the delimiter that RFC 2428 recommends."""
    family = _family(endpoint.address)
    return b"|%b|%b|%d|" % (family, str(endpoint.address).encode("ascii"), endpoint.port)


def parse_epsv_argument(argument: bytes | None) -> EpsvRequest:
    """Read the argument of EPSV, of which a blank without a word behind it is none.

    Raises UnsupportedFamily or ProtocolError, `bad-epsv-argument`.
    """
    try:
        return EpsvRequest(argument.upper() if argument else None)
    except ValueError:
        if argument is not None and argument.isdigit():
            raise UnsupportedFamily("unsupported-family", argument) from None
        raise ProtocolError("bad-epsv-argument", argument or b"") from None


def read_pasv_reply(text: bytes) -> PasvReply | None:
    """Find the endpoint in the final line of a 227; None when it has no six numbers (attack V04).

    Raises ProtocolError, `bad-227` or `bad-port`, when the numbers are not six octets, or when
    there are two endpoints: which of them a client would take is anyone's guess.
    """
    runs = list(_NUMBERS.finditer(text, _CODE_LENGTH))
    if not runs:
        return None
    if len(runs) > 1:
        raise ProtocolError("bad-227", text)
    return PasvReply(_six_numbers(_COMMA.split(runs[0][0]), "bad-227", text), runs[0].span())


def read_epsv_reply(text: bytes) -> EpsvReply:
    """Find the one port in the final line of a 229; family and address are empty (attack V06).

    Raises ProtocolError, `bad-229` or `bad-port`.
    """
    all_found = list(_EXTENDED.finditer(text))
    if len(all_found) != 1 or all_found[0]["named"] != all_found[0]["d"]:
        raise ProtocolError("bad-229", text)
    found = all_found[0]
    return EpsvReply(_port(found["port"], text), found.span("port"))


def replace_octets(text: bytes, octets: bytes, replacement: bytes) -> bytes:
    """Return `text` with every run of numbers that begins with `octets` (`h,h,h,h`) changed."""
    spaced = rb"[ \t]*,[ \t]*".join(rb"0{0,2}" + octet for octet in octets.split(b","))
    return re.sub(rb"(?<![0-9])" + spaced + rb"(?![0-9])", replacement, text)


def _family(address: IPv4Address | IPv6Address) -> bytes:
    return b"1" if address.version == 4 else b"2"


def _port(digits: bytes, offending: bytes) -> int:
    if _PORT.fullmatch(digits) is None or int(digits) > MAX_PORT:
        raise ProtocolError("bad-port", offending)
    return int(digits)


def _six_numbers(numbers: Sequence[bytes], reason: str, offending: bytes) -> Endpoint:
    try:
        octets = bytes(map(_OCTETS.__getitem__, numbers))
    except KeyError:
        raise ProtocolError(reason, offending) from None
    if len(octets) != 6:
        raise ProtocolError(reason, offending)
    address, port = _SIX_OCTETS.unpack(octets)
    if port == 0:
        raise ProtocolError("bad-port", offending)
    return Endpoint(IPv4Address(address), port)
