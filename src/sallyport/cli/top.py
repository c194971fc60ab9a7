"""The command `top`: what runs now, looked at again and again."""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import count, islice
from pathlib import Path
from typing import Protocol

import click
import msgspec

from sallyport.cli.options import with_output
from sallyport.cli.render import Output, align, duration, or_dash, size
from sallyport.errors import OperatorError
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Look, Status, TransferRow, Transfers

# Refusals stay in sight for this many looks, about as long as an eye is elsewhere.
_REMEMBERED = 10


class _Screen(Protocol):
    def show(self, look: Look, refused: Mapping[str, int]) -> None:
        """Show one look, and what was refused lately."""


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--count", "looks", type=click.IntRange(1), help="End after so many looks.")
@with_output
def top(output: Output, interval: float, looks: int | None) -> None:
    """Watch what runs now: the fastest transfers first, and what was refused lately.

    Ctrl-C ends it. With --json each look is one line. On a terminal it needs the package rich
    (`pip install 'sallyport[top]'`); elsewhere it prints plain tables.
    """
    lately: deque[Mapping[str, int]] = deque(maxlen=_REMEMBERED)
    before: Status | None = None
    is_live = not output.as_json and _is_terminal()
    screen: AbstractContextManager[_Screen] = _live() if is_live else nullcontext(_Plain(output))
    with screen as shown:
        for look in islice(_looks(output.control_socket, interval), looks):
            lately.append(_more(look.status, before))
            before = look.status
            if output.as_json:
                output.json(look)
            else:
                shown.show(look, _sum(lately))


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _looks(path: Path, interval: float) -> Iterator[Look]:
    """Yield what there is, at once and after each interval, with the speeds since the last."""
    speeds = Speeds()
    for number in count():
        if number:
            time.sleep(interval)
        status = request(path, "status", expect=Status)
        rows = request(path, "transfers.list", expect=Transfers).transfers
        yield Look(status=status, transfers=speeds.of(rows, time.monotonic()))


class Speeds:
    """Finds how fast transfers are now, by their bytes at the last look."""

    def __init__(self) -> None:
        self._before: Mapping[str, tuple[int, float]] = {}

    def of(self, rows: Iterable[TransferRow], now: float) -> list[TransferRow]:
        """Return the rows, the fastest first; of one that is new the speed is its average."""
        found = [self._timed(row, now) for row in rows]
        self._before = {row.id: (_bytes(row), now) for row in found}
        return sorted(found, key=lambda row: -row.bytes_per_second)

    def _timed(self, row: TransferRow, now: float) -> TransferRow:
        bytes_then, then = self._before.get(row.id, (0, now))
        if now <= then:
            return row
        speed = round((_bytes(row) - bytes_then) / (now - then))
        return msgspec.structs.replace(row, bytes_per_second=max(0, speed))


def _bytes(row: TransferRow) -> int:
    return row.from_client_bytes + row.to_client_bytes


def _more(status: Status, before: Status | None) -> Mapping[str, int]:
    """Return what was refused since the look before; nothing at the first one."""
    if before is None:
        return {}
    return {
        reason: times - before.refusals.get(reason, 0)
        for reason, times in status.refusals.items()
        if times > before.refusals.get(reason, 0)
    }


def _sum(lately: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for one in lately:
        for reason, times in one.items():
            found[reason] = found.get(reason, 0) + times
    return found


_HEAD = ("CLIENT", "", "PEER", "FILTER", "PATH", "AGE", "BYTES", "SPEED")


def _cells(row: TransferRow) -> tuple[str, ...]:
    return (
        row.client,
        "<" if row.direction == "inbound" else ">",
        or_dash(row.peer),
        or_dash(row.filter),
        row.data_path,
        duration(row.age_seconds),
        size(_bytes(row)),
        f"{size(row.bytes_per_second)}/s",
    )


def _summary(look: Look, refused: Mapping[str, int]) -> list[str]:
    status = look.status
    speed = size(sum(row.bytes_per_second for row in look.transfers))
    lines = [
        f"sessions {status.sessions}, controls {status.controls}, bindings {status.bindings},"
        f" transfers {len(look.transfers)} at {speed}/s, running for"
        f" {duration(status.uptime_seconds)}"
    ]
    if status.degraded:
        lines.append(f"degraded: {status.degraded}")
    if refused:
        words = ", ".join(f"{reason} {times}" for reason, times in sorted(refused.items()))
        lines.append(f"refused lately: {words}")
    return lines


class _Plain:
    """Each look below the one before, for what is no terminal."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, look: Look, refused: Mapping[str, int]) -> None:
        for line in _summary(look, refused):
            self._output.line(line)
        if look.transfers:
            for line in align([_HEAD, *map(_cells, look.transfers)]):
                self._output.line(line)


def _live() -> "_Live":
    try:
        return _Live()
    except ModuleNotFoundError:
        raise OperatorError(
            "top needs the package rich on a terminal; pip install 'sallyport[top]', or give --json"
        ) from None


class _Live:
    """The screen of a terminal, written anew with each look."""

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - an extra, and only this command uses it

        self._live = Live(screen=True, auto_refresh=False)

    def __enter__(self) -> "_Live":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, look: Look, refused: Mapping[str, int]) -> None:
        from rich.console import Group  # noqa: PLC0415 - as above
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in _HEAD:
            table.add_column(name, justify="right" if name in {"BYTES", "SPEED"} else "left")
        room = max(1, self._live.console.height - 6)
        for row in look.transfers[:room]:
            table.add_row(*map(Text, _cells(row)))
        styles = {"degraded": "bold red", "refused lately": "yellow"}
        head = [
            Text(line, style=styles.get(line.partition(":")[0], ""))
            for line in _summary(look, refused)
        ]
        hidden = len(look.transfers) - room
        tail = [Text(f"{hidden} more", style="dim")] if hidden > 0 else []
        self._live.update(Group(*head, Text(), table, *tail), refresh=True)
