"""The Telnet layer under an FTP control connection (RFC 959 section 3.1, RFC 854, RFC 855).

Commands are taken out before any line is read, so that a verb cannot hide behind or be cut by one
(attack F15). What is left is what we parse *and* what we forward: no other reader of the stream
can see a command that we did not.
"""

from enum import Enum, auto

from sallyport import limits
from sallyport.errors import ProtocolError

IAC = 0xFF
"""Interpret As Command."""

_SE, _SB = 0xF0, 0xFA
_NEGOTIATIONS = range(0xFB, 0xFF)  # WILL, WONT, DO, DONT: one option byte follows
_LOWEST_COMMAND = _SE


def unescape(line: bytes) -> bytes:
    """Give `line` with each doubled IAC as the one 0xFF it stands for, for parsing."""
    return line.replace(b"\xff\xff", b"\xff")


class _State(Enum):
    TEXT = auto()
    AFTER_IAC = auto()
    OPTION = auto()
    SUBNEGOTIATION = auto()
    SUBNEGOTIATION_IAC = auto()


class TelnetDecoder:
    """Takes Telnet commands out of one direction of a stream, wherever segments cut them.

    Promises: bytes without commands come out identical; a doubled IAC stays doubled, so the
    receiver still reads one 0xFF; IAC before a byte below 240 is no command and stays, because
    old clients send Latin-1 file names unescaped. Decoding what was decoded changes nothing.
    """

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._subnegotiated = 0

    def feed(self, data: bytes) -> bytes:
        """Give `data` without commands; an IAC at its very end waits for the byte after it.

        Raises ProtocolError, now and at every later call, for a subnegotiation without end.
        """
        if self._state is _State.TEXT and IAC not in data:
            return data
        kept = bytearray()
        for byte in data:
            self._state = self._step(byte, kept)
        return bytes(kept)

    def _step(self, byte: int, kept: bytearray) -> _State:
        match self._state:
            case _State.TEXT:
                if byte == IAC:
                    return _State.AFTER_IAC
                kept.append(byte)
                return _State.TEXT
            case _State.AFTER_IAC:
                return self._command(byte, kept)
            case _State.OPTION:
                return _State.TEXT
            case _State.SUBNEGOTIATION:
                self._count_subnegotiated()
                return _State.SUBNEGOTIATION_IAC if byte == IAC else _State.SUBNEGOTIATION
            case _:
                # IAC inside it. RFC 855: SE ends it, IAC is data; anything else is data to us too.
                self._count_subnegotiated()
                return _State.TEXT if byte == _SE else _State.SUBNEGOTIATION

    def _command(self, byte: int, kept: bytearray) -> _State:
        if byte == _SB:
            self._subnegotiated = 0
            return _State.SUBNEGOTIATION
        if byte in _NEGOTIATIONS:
            return _State.OPTION
        if byte == IAC or byte < _LOWEST_COMMAND:
            kept += bytes((IAC, byte))
        return _State.TEXT

    def _count_subnegotiated(self) -> None:
        self._subnegotiated += 1
        if self._subnegotiated > limits.MAX_TELNET_SUBNEGOTIATION:
            raise ProtocolError("telnet-subnegotiation-too-long")
