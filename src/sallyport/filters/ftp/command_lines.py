"""Lines of a client: what a line with Telnet commands says, and what may pass unread."""

from sallyport import api
from sallyport.filters.ftp.verbs import DATA_VERBS, KNOWN_VERBS, RESTARTS, TRANSFERS
from sallyport.wire.ftp import formats
from sallyport.wire.ftp.formats import Command
from sallyport.wire.telnet import IAC, plain_prefix, unescape, with_plain_head, without_commands

# The verbs that ask for an opening: how they are read, and written for the server.
PORT_FORMATS = {
    b"PORT": (formats.parse_port_argument, formats.format_port_argument),
    b"EPRT": (formats.parse_eprt_argument, formats.format_eprt_argument),
}


def read_with_telnet(line: bytes) -> tuple[Command, bytes]:
    """Read a line with Telnet commands, and return it as it passes; raises ProtocolError."""
    cleaned = without_commands(line)
    if cleaned[:4].upper() in DATA_VERBS and not cleaned[4:5].isalnum():
        # Their argument is no name: nothing that looks like a command belongs to it.
        return formats.parse_command(cleaned), cleaned
    passed = with_plain_head(line)
    return formats.parse_command(unescape(passed[plain_prefix(passed) :])), passed


def ends_at_lf(line: bytes) -> bool:
    """Return whether a line ends in LF alone, which not every server takes for an end."""
    return line.endswith(b"\n") and not line.endswith(b"\r\n")


def is_empty(line: bytes) -> bool:
    """Return whether a line, as it passes, has nothing but its end and what may stand before ABOR.

    Of one whose end belongs to a Telnet command nothing passes that a server could answer.
    """
    return line[plain_prefix(line) :].lstrip(b"\r") == b"\n"


def verb_of(line: bytes) -> bytes:
    """Return the first four letters of a command: of those that matter here all there are."""
    if IAC in line:
        line = with_plain_head(line)
        line = line[plain_prefix(line) :]
    return line[:4].upper()


def harmless(unfinished: bytes) -> bytes:
    """Return a last line without its end, or nothing when it could carry an address or a secret."""
    try:
        command = formats.parse_command(without_commands(unfinished) + b"\r\n")
    except api.ProtocolError:
        return b""
    is_plain = command.verb in KNOWN_VERBS - DATA_VERBS - RESTARTS - TRANSFERS - {b"AUTH"}
    return unfinished if is_plain else b""
