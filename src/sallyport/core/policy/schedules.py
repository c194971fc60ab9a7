"""Schedules: the minutes of a week in which a rule holds; pure, the minute is an argument."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_DAY = 24 * 60
MINUTES_OF_WEEK = 7 * MINUTES_OF_DAY

_SPAN = re.compile(
    r"(?P<days>[a-z,-]+) (?P<h1>\d\d):(?P<m1>\d\d)-(?P<h2>\d\d):(?P<m2>\d\d)", re.ASCII
)
_EXAMPLE = 'write one like "mon-fri 08:00-18:00"'


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times of the week, in the gateway's own time zone.

    `spans`: first minute and the one after the last, counted from Monday 00:00.
    """

    name: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, name: str, texts: Iterable[str]) -> Self:
        """Read texts such as `mon-fri 08:00-18:00` or `sat,sun 22:00-06:00`.

        A span whose end is not after its beginning ends on the next day. Raises ValueError with
        what is wrong and what to write.
        """
        return cls(name, tuple(span for text in texts for span in _spans(text)))

    def holds(self, minute: int) -> bool:
        """Return whether the schedule has this minute of the week, 0 to 10079."""
        return any(first <= minute < end for first, end in self.spans)


def minute_of_week(weekday: int, hour: int, minute: int) -> int:
    """Return the minute of the week; `weekday` is 0 for Monday, as `time.struct_time` has it."""
    return weekday * MINUTES_OF_DAY + hour * 60 + minute


def read_minute(text: str) -> int:
    """Read a moment such as `tue 14:30`; raises ValueError with what to write."""
    day, _, clock = text.partition(" ")
    found = re.fullmatch(r"(\d\d):(\d\d)", clock, re.ASCII)
    if day not in DAYS or not found:
        raise ValueError(f'{text!r} is no moment of a week; write one like "tue 14:30"')
    minute = DAYS.index(day) * MINUTES_OF_DAY + _minutes(found[1], found[2], text)
    return minute % MINUTES_OF_WEEK  # 24:00 is the next day's 00:00


def _spans(text: str) -> Iterable[tuple[int, int]]:
    found = _SPAN.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no time of a week; {_EXAMPLE}")
    first, end = (_minutes(found[f"h{i}"], found[f"m{i}"], text) for i in (1, 2))
    length = end - first if end > first else end - first + MINUTES_OF_DAY
    for day in _days(found["days"], text):
        begin = day * MINUTES_OF_DAY + first
        yield begin, min(begin + length, MINUTES_OF_WEEK)
        if begin + length > MINUTES_OF_WEEK:
            yield 0, begin + length - MINUTES_OF_WEEK


def _minutes(hours: str, minutes: str, text: str) -> int:
    found = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or found > MINUTES_OF_DAY:
        raise ValueError(f"{text!r} has no time of day; write times from 00:00 to 24:00")
    return found


def _days(text: str, whole: str) -> Iterable[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{whole!r} has no days; write days from mon to sun")
        begin = DAYS.index(first)
        end = DAYS.index(last) if dash else begin
        for i in range((end - begin) % 7 + 1):
            yield (begin + i) % 7
