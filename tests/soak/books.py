"""The books of a soak: what clients saw beside what the log says, and what excuses a failure.

The oracle. A visit may fail only where a fault was there meanwhile that may cost what it lost. Of a
transfer that came to its end there is exactly one record; of one that did not one at most. Bytes
that nobody sent are excused by nothing, and neither is a transfer through the kernel that is cut
short and looks whole.

A record is of a visit when it names both ends of its transfer. The end outside alone would not do:
a server has the same port again after a while, and of some flows no client knows, since it lost its
control connection a moment too early, or asked twice by TFTP and was answered twice.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

from tests.soak.visits import CutShort, OtherBytes, Phase, Transfer, Visit, Way

# Which field of a record names the outside end of a transfer.
_OUTSIDE = {
    "binding.closed": "peer",
    "transfer.closed": "peer",
    "connect.secondary_closed": "to",
}
# A fault of the program, whatever was done to it.
_FAULTS = {
    "daemon.fault",
    "filter.failed",
    "frontend.failed",
    "library.complained",
    "request.failed",
}
# What a gateway says that cannot start; whether it may is the fault's to know.
_LAST_WORDS = "sallyport: "
# A record is written in the turn after the one that heard of the end, and clients hear of it first.
_UNWRITTEN_SECONDS = 0.3
# Datagrams are over when there are none: for nine seconds where TFTP knows that all have come, for
# a minute after an adoption. When no process watches then, the kernel forgets them unrecorded.
_SILENCE_SECONDS = 75.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a fault may cost."""

    phases: frozenset[Phase] = frozenset()
    """In which phases visits may fail; none: no client notices."""
    user_moves: bool = False
    """Whether transfers that pass through a worker may be reset."""
    begins_of_mappings: bool = False
    """Whether a connection may be reset that begins at a mapping while that changes hands."""
    first_datagrams: bool = False
    """Whether the datagram may be lost with which a film or a call begins; it is not repeated."""
    cuts_short: bool = False
    """Whether a transfer may end in order before its end: its server was killed."""
    seconds: float = 2.0
    """How long after it is over a failure may still be due to it."""


NOTHING = Costs()


@dataclass(slots=True)
class Happening:
    """A fault that is or was there."""

    name: str
    costs: Costs
    workers: frozenset[int] | None = None
    """Whose clients it concerns; None: everybody's."""
    unwritten: tuple[float, float] | None = None
    """When ends may have gone unrecorded, if they may."""
    began: float = field(default_factory=monotonic)
    ended: float = float("inf")

    def loses_records_now(self) -> None:
        """Note that a process dies at this moment, with the records of a turn."""
        now = monotonic()
        first, last = self.unwritten or (now, now)
        first, last = min(first, now), max(last, now)
        self.unwritten = first - _UNWRITTEN_SECONDS, last + _UNWRITTEN_SECONDS

    def excuses(self, visit: Visit) -> bool:
        """Whether a visit may have failed because of this."""
        is_meanwhile = visit.began < self.ended + self.costs.seconds and visit.ended > self.began
        is_concerned = self.workers is None or visit.worker in self.workers
        return is_meanwhile and is_concerned and self._may_cost(visit)

    def _may_cost(self, visit: Visit) -> bool:
        match visit.failure:
            case OtherBytes():
                return False
            case CutShort():
                return self.costs.cuts_short
        is_begin = visit.phase is Phase.OPEN
        if self.costs.begins_of_mappings and is_begin and visit.kind == "mapping":
            return True
        if self.costs.first_datagrams and is_begin and visit.kind in {"film", "call"}:
            return True
        is_user_move = visit.phase is Phase.MOVE and visit.way is Way.USER
        return visit.phase in self.costs.phases or (self.costs.user_moves and is_user_move)

    def hides(self, transfer: Transfer, known_at: float) -> bool:
        """Whether the end of a transfer may have gone unrecorded; see `Visit.known_at`.

        The gateway has heard of it at any time from the beginning on: on a busy machine it may have
        recorded an end long before the client has read it.
        """
        if self.unwritten is None:
            return False
        first, last = self.unwritten
        if transfer.lingers:
            first -= _SILENCE_SECONDS
        return first < known_at and transfer.began < last


class Log:
    """What the gateways have written, read while it grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self.ends: defaultdict[str, list[str]] = defaultdict(list)
        """What each recorded end of a transfer calls its client, by the end outside."""
        self.events: Counter[str] = Counter()
        self.faults: list[str] = []
        """Records of faults of the program, and what is no record at all."""

    def read(self) -> None:
        """Take in the whole lines that have come."""
        with self._file.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            self._take(line.decode(errors="replace"))

    def _take(self, line: str) -> None:
        if line.startswith(_LAST_WORDS):
            return
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError:
            self.faults.append(line)
            return
        event = record["event"]
        self.events[event] += 1
        if event in _FAULTS:
            self.faults.append(line)
        if event in _OUTSIDE and record.get("flows", 1):
            self.ends[str(record[_OUTSIDE[event]])].append(_name_of_client(record))


class Books:
    """Sums of a whole soak, and what nothing excuses."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.visits = 0
        self.transfers = 0
        self.bytes = 0
        self.excused: Counter[str] = Counter()
        """How many visits failed, by the fault that may be blamed."""
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []
        """What must not be."""
        self.happenings: list[Happening] = []
        self.unnoticed = 0
        """How many ends were recorded of flows that no client knows of."""
        self._made: defaultdict[str, list[Visit]] = defaultdict(list)

    def enter(self, visits: list[Visit]) -> None:
        """Enter visits that are over."""
        for visit in visits:
            self.visits += 1
            self.kinds[visit.kind] += 1
            if visit.failure is not None:
                self._blame(visit)
            for outside in {str(transfer.outside) for transfer in visit.transfers}:
                self._made[outside].append(visit)
            for transfer in visit.transfers:
                self.transfers += transfer.is_complete
                self.bytes += transfer.size if transfer.is_complete else 0

    def _blame(self, visit: Visit) -> None:
        blamed = next((one for one in self.happenings if one.excuses(visit)), None)
        if blamed is None:
            meanwhile = [one.name for one in self.happenings if one.ended > visit.began - 5]
            self.wrong.append(f"{visit}; meanwhile: {meanwhile}")
        else:
            self.excused[blamed.name] += 1

    def close(self) -> None:
        """Compare transfers and records, at a moment when nothing runs; then begin new pages."""
        self.log.read()
        for outside in {*self.log.ends, *self._made}:
            names = self.log.ends[outside]
            groups = together(self._made[outside])
            self.unnoticed += len(names) - sum(
                self._compare(outside, group, names) for group in groups
            )
        self._made.clear()
        self.log.ends.clear()
        self.wrong += self.log.faults
        self.log.faults.clear()
        self.happenings = [one for one in self.happenings if one.ended == float("inf")]

    def _compare(self, outside: str, visits: list[Visit], names: list[str]) -> int:
        """Compare what visits did with one end outside and its records; return how many of these
        are theirs."""
        pairs = [(visit, transfer) for visit in visits for transfer in visit.transfers]
        made = [(visit, one) for visit, one in pairs if str(one.outside) == outside]
        complete = [(visit, one) for visit, one in made if one.is_complete]
        recorded = sum(any(name in visit.names for visit in visits) for name in names)
        hidden = sum(
            any(fault.hides(one, visit.known_at(one)) for fault in self.happenings)
            for visit, one in complete
        )
        told = "; ".join(map(str, visits))
        if recorded > len(made):
            self.wrong.append(f"{outside}: {len(made)} transfers, {recorded} records; {told}")
        if recorded < len(complete) - hidden:
            ends = ", ".join(f"{one.ended:.1f}" for _, one in complete)
            self.wrong.append(
                f"{outside}: {len(complete)} transfers ({ends}), {recorded} records; {told}"
            )
        return recorded


def together(visits: Iterable[Visit]) -> list[list[Visit]]:
    """Return the visits in groups: those of one share a name, and records cannot tell them apart.

    The same client may have the same port again, as its server has.
    """
    groups: list[list[Visit]] = []
    for visit in visits:
        same = [
            group
            for group in groups
            if any(not visit.names.isdisjoint(other.names) for other in group)
        ]
        groups = [group for group in groups if group not in same]
        groups.append([*chain.from_iterable(same), visit])
    return groups


def _name_of_client(record: Mapping[str, Any]) -> str:
    """Return the end of its control connection or of the transfer; of a mapping the port."""
    is_mapping = record["event"] == "binding.closed" and "connection" not in record
    return str(record["proxy" if is_mapping else "client"])
