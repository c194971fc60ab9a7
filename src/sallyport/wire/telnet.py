"""The Telnet layer under an FTP control connection (RFC 959 section 3.1, RFC 854, RFC 855).

What passes keeps its Telnet commands; what we parse is a copy without them, so that no verb can
hide behind one or be cut by one (attack F15). A command has two bytes; a negotiation has three, and
a subnegotiation goes on to its end. Readers of a stream do not agree about the last two: BSD's ftpd
takes a subnegotiation for a command of two bytes. That is why only plain commands, which all read
alike, are left in front of a verb.
"""

import re
from typing import Final

IAC: Final = 0xFF
"""Interpret As Command."""

# Subnegotiation (IAC SB ... IAC SE), negotiation (WILL, WONT, DO, DONT and an option), the rest.
# A doubled IAC stands for a byte of data, and IAC before a byte below 240 is none of ours: clients
# send names in Latin-1 and Windows-1251 unescaped.
_COMMAND = rb"\xff(?:\xfa.*?(?:\xff\xf0|\Z)|[\xfb-\xfe](?:.|\Z)|[\xf0-\xf9])"
_DATA_OR_COMMAND = re.compile(rb"(\xff\xff)|" + _COMMAND, re.DOTALL)
_PLAIN_COMMANDS = re.compile(rb"(?:\xff[\xf1-\xf9])+")
# Everything up to the blank behind the verb, or up to the end of the line.
_HEAD = re.compile(rb"(?:[^ \xff]|\xff\xff|" + _COMMAND + rb"|\xff)*", re.DOTALL)


def unescape(line: bytes) -> bytes:
    """Return `line` with each doubled IAC as the one 0xFF it stands for, for parsing."""
    return line.replace(b"\xff\xff", b"\xff")


def without_commands(line: bytes) -> bytes:
    """Return `line` without Telnet commands; a doubled IAC stays doubled."""
    return _DATA_OR_COMMAND.sub(_data, line)


def plain_prefix(data: bytes) -> int:
    """Return how many bytes at the beginning are whole commands of two bytes, such as IAC IP."""
    found = _PLAIN_COMMANDS.match(data)
    return 0 if found is None else found.end()


def with_plain_head(line: bytes) -> bytes:
    """Return `line` without the commands before or within its verb; its argument stays as it is.

    Commands of two bytes at the very beginning stay as well: RFC 959 section 4.1.3 asks a client to
    send them before ABOR.
    """
    start, end = plain_prefix(line), _HEAD.match(line)
    assert end is not None  # noqa: S101 - it matches nothing, too
    return line[:start] + without_commands(line[start : end.end()]) + line[end.end() :]


def _data(found: "re.Match[bytes]") -> bytes:
    return found[1] or b""
