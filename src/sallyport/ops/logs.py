"""Where events are written: stderr, as text for people or as JSON lines for programs, or systemd's
journal.

An event is one line: when, level, name, fields. Losing lines is allowed and counted. The gateway
must not stop because a disk is full, or because stderr is closed or has no reader.
"""

import json
import logging
import os
import select
import stat
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Final, Protocol, get_args

import msgspec

from sallyport.core.runtime.environment import Level
from sallyport.ops import journald
from sallyport.ops.journald import JournalSocket
from sallyport.ops.repetitions import Repetitions
from sallyport.ops.tally import COUNTED, Tally
from sallyport.reasons import REASONS

STDERR = 2

_LEVELS: Final[tuple[Level, ...]] = get_args(Level)

# What is normal explains itself; of these levels a record says what to do.
_TROUBLE: Final = frozenset({"warning", "error"})

# What JSON has by itself. Most fields are text: found by its exact type, which enums do not have.
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_LISTS: Final = (list, tuple, set, frozenset)
# What is told otherwise than by its text: numbers of all kinds stay numbers.
_NO_TEXT: Final = (int, float, bytes, *_LISTS)

_encode: Final = msgspec.json.Encoder().encode


class Format(StrEnum):
    """How events are written.

    AUTO is TEXT on a terminal, JOURNAL where stderr leads to systemd's journal, and JSON elsewhere.
    """

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"


class Onlooking(Protocol):
    """Wants some of the records while they are made; must not record anything itself."""

    def interested(self, level: Level, fields: Mapping[str, object]) -> list[int]:
        """Return the numbers of those who want a record with these fields."""

    def take(self, numbers: list[int], line: bytes) -> None:
        """Send a record, one line of JSON, to those who want it."""


class EventJournal:
    """The core's `Journal`, written to a descriptor; it counts refusals by their reason.

    `record` never raises. A record below the level costs a look at its name: its fields are not
    turned into text. A warning about a client that says what others of this minute said of it is
    counted and not written.
    """

    def __init__(
        self,
        level: Level = "info",
        form: Format = Format.AUTO,
        descriptor: int = STDERR,
        worker: int | None = None,
    ) -> None:
        """Write at `level` and above; `worker` is the number that every record carries, if any."""
        if form is Format.AUTO:
            form = _usual_form(descriptor)
        self.level = level
        self.form = form
        self._always: Mapping[str, object] = {} if worker is None else {"worker": worker}
        self.tally = Tally()
        self.refusals: Counter[str] = Counter()
        """How often what was refused, written or not."""
        self.listener: Onlooking | None = None
        """Is given the records that it wants, of any level, written or not."""
        self._levels = frozenset(_LEVELS[_LEVELS.index(level) :])
        self._render = _RENDER[form]
        self._clock = _Clock()
        self._repetitions = Repetitions()
        is_native = form is Format.JOURNAL
        self._writer = JournalSocket(journald.SOCKET) if is_native else _Writer(descriptor)
        self._unwritable = 0
        self._soon: Callable[[Callable[[], None]], object] | None = None

    @property
    def lost(self) -> int:
        """How many records could not be written."""
        return self._unwritable + self._writer.lost

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Write one event, unless its level is below the journal's."""
        try:
            if level != "debug" and event.endswith(".refused"):
                self.refusals[str(fields.get("reason"))] += 1
            if event in COUNTED:
                self.tally.count(event, fields)
            listener = self.listener
            if level not in self._levels and listener is None:
                return
            # Of what a client can bring about as often as it likes; an error is the gateway's own.
            is_repeated = level == "warning" and self._repetitions.is_one_more(event, fields)
            if is_repeated and listener is None:
                return
            why = fields.get("unused") or fields.get("reason")
            if level in _TROUBLE and (known := REASONS.get(str(why))):
                # In the words of `sallyport reasons`: there is no second text.
                fields.update(meaning=known.happened, remedy=known.remedy)
            fields = {**self._always, **fields}
            when = self._clock.text()
            if listener is not None and (numbers := listener.interested(level, fields)):
                listener.take(numbers, _render_json(when, level, event, fields))
            if level not in self._levels or is_repeated:
                return
            line = self._render(when, level, event, fields)
        except Exception:  # noqa: BLE001 - a field without text
            self._unwritable += 1
            return
        is_first = self._writer.add(line)
        if self._soon is None or level == "error":
            self._writer.flush()
        elif is_first:
            self._soon(self._writer.flush)

    def minute_is_over(self) -> None:
        """Write how often what was not written, because enough like it was; called each minute."""
        for repeated, times in self._repetitions.minute_is_over():
            self.record(
                "log.repeated",
                record=repeated.event,
                client=repeated.client,
                reason=repeated.reason,
                times=times,
            )

    @contextmanager
    def gathered(self, soon: Callable[[Callable[[], None]], object]) -> Iterator[None]:
        """Write the lines of one turn of an event loop together, errors at once.

        `soon` is `Turns.soon`, or a loop's `call_soon`. A crash loses the lines of one turn.
        """
        self._soon = soon
        try:
            yield
        finally:
            self._soon = None
            self._writer.flush()


class StandardLogging(logging.Handler):
    """Brings what libraries say through `logging` (asyncio does) into the same lines."""

    def __init__(self, journal: EventJournal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record of the `logging` module as an event."""
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, CancelledError):
            # uvicorn so reports a request whose answer we do not wait for when the gateway ends.
            return
        self._journal.record(
            "library.complained",
            level=level,
            library=record.name,
            message=record.getMessage(),
            **({"error": repr(error)} if error else {}),
        )


def set_up(level: Level, form: Format, worker: int | None = None) -> EventJournal:
    """Return the process's journal on stderr and lead `logging` into it; call it once.

    `worker` is the number of the worker that this process is.
    """
    descriptor = STDERR if worker is None else _own_description(STDERR)
    journal = EventJournal(level, form, descriptor, worker)
    logging.basicConfig(handlers=[StandardLogging(journal)], force=True)
    return journal


class _Clock:
    """Writes the time as text (RFC 3339, UTC); most of it is the same for a whole second."""

    def __init__(self) -> None:
        self._second = ""
        self._text = ""

    def text(self) -> str:
        """Return the time, to the microsecond."""
        digits = str(time.time_ns())
        second = digits[:-9]
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(second)))
        return f"{self._text}.{digits[-9:-3]}Z"


class _Writer:
    """Holds lines until they are written; what is held at most is one write."""

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        """How many lines could not be written."""
        self._descriptor = descriptor
        # Asked each time, because O_NONBLOCK would be everybody's who has the same terminal.
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._held = bytearray()

    def add(self, line: bytes) -> bool:
        """Hold a line; tell whether it is the first one held."""
        if len(self._held) + len(line) > select.PIPE_BUF:
            self.flush()
        self._held += line
        return len(self._held) == len(line)

    def flush(self) -> None:
        """Write what is held, or lose and count it; never raises."""
        lines, self._held = self._held, bytearray()
        self.lost += lines.count(b"\n", self._write(lines))

    def _write(self, lines: bytes | bytearray) -> int:
        # A pipe with room takes PIPE_BUF bytes whole and at once (POSIX); more could wait for a
        # reader that has stopped, as in `sallyport run 2>&1 | less`.
        if not 0 < len(lines) <= select.PIPE_BUF or not self._room.poll(0):
            return 0
        try:
            written = os.write(self._descriptor, lines)
        except OSError:
            return 0
        if torn := written - lines.rfind(b"\n", 0, written) - 1:
            self._take_back(torn)
        return written

    def _take_back(self, count: int) -> None:
        """Remove the beginning of a line that a full disk has no room for.

        The next record, of whatever process, would go on in it: both would be lost.
        """
        with suppress(OSError):  # it is no file
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - count)
            # A file that was not opened to append would have a hole there.
            os.lseek(self._descriptor, -count, os.SEEK_CUR)


def _plain(value: object) -> object:
    """Return `value` as JSON has it: addresses and enums by their text, bytes with escapes."""
    if type(value) in _PLAIN:
        return value
    # Asked of the type: a value that is none of many would be asked for its class each time.
    if not issubclass(type(value), _NO_TEXT):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    return [_plain(item) for item in value] if isinstance(value, _LISTS) else value


def _render_json(when: str, level: Level, event: str, fields: Mapping[str, object]) -> bytes:
    line = {"time": when, "level": level, "event": event, **fields}
    for key, value in fields.items():
        if type(value) not in _PLAIN:
            line[key] = _plain(value)
    return _encode(line) + b"\n"


def _render_text(when: str, level: Level, event: str, fields: Mapping[str, object]) -> bytes:
    return f"{when} {level} {_told(event, fields)}\n".encode()


def _render_native(_when: str, level: Level, event: str, fields: Mapping[str, object]) -> bytes:
    plain = {key: _text_of(value) for key, value in fields.items()}
    return journald.entry(level, event, _told(event, fields), plain)


_RENDER: Final = {
    Format.TEXT: _render_text,
    Format.JSON: _render_json,
    Format.JOURNAL: _render_native,
}


def _told(event: str, fields: Mapping[str, object]) -> str:
    """Return a record as a line for people, without time and level."""
    return event + "".join(f" {key}={_word(value)}" for key, value in fields.items())


def _text_of(value: object) -> str:
    plain = _plain(value)
    return ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)


def _word(value: object) -> str:
    """Return `value` as one word, or quoted: a peer's text adds no lines and no escapes."""
    text = _text_of(value)
    if text.isascii() and text.isprintable() and text and not set(text) & set(' "=\\'):
        return text
    return json.dumps(text)


def _own_description(descriptor: int) -> int:
    """Return a descriptor of the same pipe that does not block; what is no pipe stays as it is.

    Several processes write to it. Another could fill the room that we saw, and a reader that has
    stopped must not stop a worker. A file has one offset for all, and cannot be opened again.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return descriptor
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return descriptor


def _usual_form(descriptor: int) -> Format:
    if _is_terminal(descriptor):
        return Format.TEXT
    return Format.JOURNAL if journald.is_journal(os.environ, descriptor) else Format.JSON


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
