"""Where events are written: stderr, as text for people or as JSON lines for programs.

An event is one line: when, level, name, fields. Losing lines is allowed and counted; stopping the
gateway because a disk is full, or stderr was closed or is not read by anybody, is not.
"""

import json
import logging
import os
import select
from enum import StrEnum
from typing import Final

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from sallyport.core.journal import Level

STDERR = 2

_HEAD = ("time", "level", "event")

_SEVERITIES: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


# What JSON has by itself. Most fields are text: found by its exact type, which enums do not have.
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_NUMBERS: Final = (int, float)


class Format(StrEnum):
    """How events are written; AUTO is TEXT on a terminal and JSON elsewhere."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class EventJournal:
    """The core's `Journal`, written to a descriptor.

    `record` never raises. A record below the level costs a dictionary look-up: its fields are not
    turned into text.
    """

    def __init__(
        self, level: Level = "info", form: Format = Format.AUTO, descriptor: int = STDERR
    ) -> None:
        if form is Format.AUTO:
            form = Format.TEXT if _is_terminal(descriptor) else Format.JSON
        self._threshold = _SEVERITIES[level]
        self._lost = 0
        self._logger: FilteringBoundLogger = structlog.wrap_logger(
            _LineWriter(descriptor),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                _render_text if form is Format.TEXT else _render_json,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._threshold),
            cache_logger_on_first_use=True,
        )

    @property
    def lost(self) -> int:
        """How many records could not be written."""
        return self._lost

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Write one event, unless its level is below the journal's."""
        severity = _SEVERITIES[level]
        if severity < self._threshold:
            return
        try:
            self._logger.log(severity, event, **fields)
        except Exception:  # noqa: BLE001 - a full disk, a closed stderr, a field without text
            self._lost += 1


class StandardLogging(logging.Handler):
    """Brings what libraries say through `logging` (asyncio does) into the same lines."""

    def __init__(self, journal: EventJournal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record of the `logging` module as an event."""
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        self._journal.record(
            "library.complained",
            level=level,
            library=record.name,
            message=record.getMessage(),
            **({"error": repr(error)} if error else {}),
        )


def set_up(level: Level, form: Format) -> EventJournal:
    """Give the process's journal on stderr and lead `logging` into it; call it once."""
    journal = EventJournal(level, form)
    logging.basicConfig(handlers=[StandardLogging(journal)], force=True)
    return journal


class _LineWriter:
    """What structlog writes to: one write a line, so that lines never mix or linger."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Asked each time, because O_NONBLOCK would be everybody's who has the same terminal.
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def msg(self, line: bytes) -> None:
        # A pipe with room takes PIPE_BUF bytes whole and at once (POSIX); more could wait for a
        # reader that has stopped, as in `sallyport run 2>&1 | less`.
        if len(line) > select.PIPE_BUF or not self._room.poll(0):
            raise BlockingIOError("nobody reads the log")
        os.write(self._descriptor, line)

    debug = info = warning = error = msg


def _plain(value: object) -> object:
    """Give `value` as JSON has it: addresses and enums by their text, bytes with escapes."""
    if type(value) in _PLAIN or isinstance(value, _NUMBERS):
        return value
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _render_json(_logger: WrappedLogger, _name: str, fields: EventDict) -> bytes:
    line = {key: fields.pop(key) for key in _HEAD}
    line.update((key, _plain(value)) for key, value in fields.items())
    return msgspec.json.encode(line) + b"\n"


def _render_text(_logger: WrappedLogger, _name: str, fields: EventDict) -> bytes:
    head = " ".join(fields.pop(key) for key in _HEAD)
    tail = "".join(f" {key}={_word(_plain(value))}" for key, value in fields.items())
    return f"{head}{tail}\n".encode()


def _word(value: object) -> str:
    """Give `value` as one word, or quoted: peers write no lines and no escapes of their own."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if text.isascii() and text.isprintable() and text and not set(text) & set(' "=\\'):
        return text
    return json.dumps(text)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
