"""Lines told by a regular expression: which addresses and ports stand where, and what to put there.

The pure part of declarative filters (`sallyport.filters.declarative`). The group `address` holds an
address; `port`, `port2`, `port3` and so on hold ports. Everything outside these groups stays as it
came.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address

from sallyport import limits
from sallyport.addresses import MAX_PORT, IpAddress, parse_address
from sallyport.errors import ProtocolError

ADDRESS = "address"
PORTS = ("port", *(f"port{n}" for n in range(2, limits.MAX_ADDRESSES_PER_CALL + 1)))
"""The groups a pattern may have, besides `ADDRESS`."""

# A repeated group is where a regular expression begins to take exponential time: (a+)+, (a|a)*.
# Escapes and sets are stepped over; flags are found because the verbose one would hide it.
_CAREFULLY = re.compile(
    r"\\. | \[\^?\]? (?: \\. | [^]\\] )* \] | (?P<repeated> \)[*+{] )"
    r" | (?P<flag> \(\?(?!i\))[aiLmsux-]+ )",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(rb"[0-9]{1,5}")
_LONG_NUMBER = re.compile(rb"[0-9]{1,10}")


class AddressFormat(StrEnum):
    """How a protocol writes an address."""

    TEXT = "text"
    """As people do: 10.0.0.8 or fd00:a::8."""
    DECIMAL = "decimal"
    """An IPv4 address as one decimal number."""

    def read(self, text: bytes) -> IpAddress:
        """Read an address; raises ProtocolError `bad-address`."""
        try:
            if self is AddressFormat.TEXT:
                return parse_address(text.decode("ascii"))
            if _LONG_NUMBER.fullmatch(text):
                return IPv4Address(int(text))
        except (ValueError, AddressValueError):
            pass
        raise ProtocolError("bad-address", text)

    def write(self, address: IpAddress) -> bytes:
        """Write an address so that `read` reads it."""
        return (b"%d" % int(address)) if self is AddressFormat.DECIMAL else str(address).encode()


def compile_pattern(text: str) -> re.Pattern[bytes]:
    """Compile a pattern whose time is bounded by a power of the line's length.

    Raises ValueError with a sentence about what to write instead.
    """
    if not text.isascii():
        raise ValueError(r"write bytes outside ASCII as \xHH")
    for found in _CAREFULLY.finditer(text):
        if found["repeated"]:
            raise ValueError(
                f"the group before {found[0][1:]!r} is repeated, which may take for ever;"
                " repeat a single character or a set, or make the group optional with ?"
            )
        if found["flag"]:
            raise ValueError(f"the flag {found[0]!r} is not known here; only (?i) is")
    try:
        compiled = re.compile(text.encode("ascii"))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"it is not a regular expression: {error}") from None
    names = tuple(compiled.groupindex)
    unknown = [name for name in names if name not in (ADDRESS, *PORTS)]
    if unknown:
        raise ValueError(f"unknown group {unknown[0]!r}; groups are address, port, port2, ...")
    ports = [name for name in PORTS if name in names]
    if ports != list(PORTS[: len(ports)]):
        raise ValueError(f"group {ports[-1]!r} has no forerunner; count from port, port2, ...")
    return compiled


def ports_of(match: re.Match[bytes]) -> dict[str, int]:
    """Read the port groups that took part in a match, in the order of their names.

    Raises ProtocolError `bad-port`.
    """
    found = match.groupdict()
    return {name: _port(found[name]) for name in PORTS if found.get(name) is not None}


def aligned_run(named: Mapping[str, int], count: int) -> list[int]:
    """Return the `count` consecutive ports that `named` is the beginning of.

    The first is a multiple of `count`, as the gateway's own are, so that what one port tells of
    another's number stays true of both (RTP and RTCP: RFC 3550 section 11). Raises ProtocolError
    `not-an-aligned-run`.
    """
    ports = list(named.values())
    run = [ports[0] + i for i in range(count)]
    if run[0] % count or run[-1] > MAX_PORT or run[: len(ports)] != ports:
        raise ProtocolError("not-an-aligned-run", repr(ports).encode())
    return run


def splice(match: re.Match[bytes], values: Mapping[str, bytes]) -> bytes:
    """Return the text that was matched in, with the groups of `values` replaced.

    Groups that took no part in the match stay out of it.
    """
    text, pieces, at = match.string, [], 0
    for name in sorted(values.keys() & match.groupdict().keys(), key=match.start):
        if match[name] is not None:
            pieces += [text[at : match.start(name)], values[name]]
            at = match.end(name)
    return b"".join((*pieces, text[at:]))


def _port(text: bytes) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_PORT:
        raise ProtocolError("bad-port", text)
    return int(text)
