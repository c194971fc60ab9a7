"""Records as systemd's journal has them: each field by its name, with the priority of its level.

Native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry.
`journalctl -p warning SALLYPORT_CLIENT=10.0.0.8` then finds what a grep in text would guess.
"""

import os
import socket
import struct
from collections.abc import Mapping
from typing import Final

from sallyport.core.runtime.environment import Level

SOCKET = "/run/systemd/journal/socket"

# syslog(3): LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG.
_PRIORITIES: Final[Mapping[Level, int]] = {"error": 3, "warning": 4, "info": 6, "debug": 7}


def is_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Return whether a descriptor is the stream that systemd has connected to its journal.

    JOURNAL_STREAM names that stream; a child may have another stderr (systemd.exec(5)).
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def entry(level: Level, event: str, message: str, fields: Mapping[str, object]) -> bytes:
    """Return a record as one datagram; `message` is its line for people."""
    known = {
        "MESSAGE": message,
        "PRIORITY": _PRIORITIES[level],
        "SYSLOG_IDENTIFIER": "sallyport",
        "SALLYPORT_EVENT": event,
    }
    named = {f"SALLYPORT_{name.upper()}": value for name, value in fields.items()}
    return b"".join(_field(name, str(value)) for name, value in (known | named).items())


def _field(name: str, value: str) -> bytes:
    text = value.encode("utf-8", "backslashreplace")
    if b"\n" in text:  # What has lines is told by its length: a peer's text adds no field.
        return name.encode() + b"\n" + struct.pack("<Q", len(text)) + text + b"\n"
    return name.encode() + b"=" + text + b"\n"


class JournalSocket:
    """Sends entries; what the journal does not take at once is lost and counted."""

    def __init__(self, path: str = SOCKET) -> None:
        """Open it; a journal that is not there takes nothing."""
        self.lost = 0
        """How many entries could not be sent."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def __del__(self) -> None:
        """Close it with the record writer that has it: a process has one, for its whole life."""
        self._socket.close()

    def add(self, line: bytes) -> bool:
        """Send an entry; return False, as nothing is held until `flush`. Never raises."""
        try:
            self._socket.sendto(line, self._path)
        except OSError:
            self.lost += 1
        return False

    def flush(self) -> None:
        """Do nothing: nothing is held."""
