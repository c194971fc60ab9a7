"""The oracle of a soak finds what it is there to find, and excuses what a fault may cost."""

import json
import threading
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from tests.soak.books import Books, Costs, Happening, Log
from tests.soak.visits import CutShort, OtherBytes, Phase, Transfer, Visit, Way

from sallyport.addresses import Endpoint
from sallyport.lab.network import Lab

OUTSIDE = Endpoint.parse("203.0.113.9:5000")
CONTROLS = frozenset({Phase.DIAL, Phase.TALK, Phase.OPEN})
# The clients of the first are worker 1's, by the hash of their addresses; those of IPv6 worker 0's.
CLIENTS = Lab("books", clients=2).clients


class Written:
    """The books of a soak whose log a test writes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()
        self.books = Books(Log(file))
        self._ports = count(40_000)

    def records(self, visit: Visit, event: str = "binding.closed", **fields: object) -> None:
        """Let the gateway write the end of a transfer of this visit."""
        outside = {"peer": str(OUTSIDE), "to": str(OUTSIDE)}
        known = {"client": min(visit.names), "connection": "c1", "proxy": "192.0.2.1:1"}
        record = {"event": event, **known, "flows": 1, **outside, **fields}
        self.writes(record)

    def writes(self, record: Mapping[str, object]) -> None:
        """Let the gateway write a record."""
        with self._file.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def visit(
        self,
        failure: Exception | None = None,
        *,
        phase: Phase = Phase.TALK,
        way: Way = Way.KERNEL,
        family: int = 4,
        kind: str = "ftp",
        is_complete: bool = True,
    ) -> Visit:
        """Let a client make one transfer."""
        visit = Visit(kind, CLIENTS[0], family, way, Random(), threading.Event())
        visit.phase, visit.failure, visit.ended = phase, failure, monotonic()
        visit.is_named(("10.0.0.8", next(self._ports)))
        visit.transfers.append(Transfer(OUTSIDE, 7, is_complete, monotonic()))
        self.books.enter([visit])
        return visit

    def happens(self, costs: Costs, *workers: int) -> Happening:
        """Let a fault begin."""
        fault = Happening("a fault", costs, frozenset(workers) if workers else None)
        self.books.happenings.append(fault)
        return fault

    def wrong(self) -> list[str]:
        """Close the books; return what must not be."""
        self.books.close()
        return self.books.wrong


def is_earlier(visit: Visit) -> None:
    """Let the transfer of a visit be that of five seconds ago."""
    visit.transfers[0].began -= 5
    visit.transfers[0].ended -= 5


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "log")


@pytest.mark.parametrize("event", ["binding.closed", "connect.secondary_closed", "transfer.closed"])
def test_a_transfer_with_one_record_is_in_order(written: Written, event: str) -> None:
    written.records(written.visit(), event)

    assert written.wrong() == []


def test_a_transfer_without_a_record_is_found(written: Written) -> None:
    written.records(written.visit(), flows=0)

    assert "1 transfers" in written.wrong()[0]


def test_a_second_record_is_found(written: Written) -> None:
    visit = written.visit()
    written.records(visit)
    written.records(visit, "transfer.closed")

    assert "1 transfers, 2 records" in written.wrong()[0]


def test_each_of_two_transfers_with_the_same_end_outside_has_a_record_of_its_own(
    written: Written,
) -> None:
    first, second = written.visit(), written.visit()
    written.records(first)
    written.records(second)
    assert written.wrong() == []

    twice, never = written.visit(), written.visit()
    written.records(twice)
    written.records(twice)
    found = written.wrong()
    assert len(found) == 2
    assert "2 records" in found[0]
    assert "0 records" in found[1]
    assert never.names.isdisjoint(twice.names)


def test_visits_that_records_cannot_tell_apart_are_counted_together(written: Written) -> None:
    first, second = written.visit(), written.visit()
    second.names |= first.names
    written.records(first)
    written.records(second)
    assert written.wrong() == []

    first, second = written.visit(), written.visit()
    second.names |= first.names
    for _ in range(3):
        written.records(first)
    assert "2 transfers, 3 records" in written.wrong()[0]


def test_a_mapping_is_known_by_its_port_at_the_gateway(written: Written) -> None:
    visit = written.visit()
    event, port = "binding.closed", "203.0.113.1:41000"
    visit.names = {port}
    record = {"event": event, "client": "10.0.0.8", "proxy": port, "peer": str(OUTSIDE)}
    written.writes(record)

    assert written.wrong() == []


def test_a_flow_that_no_client_knows_of_is_no_second_record_of_another_one(
    written: Written,
) -> None:
    written.records(written.visit())
    written.records(written.visit(), client="10.0.0.9:50000")
    written.records(written.visit(), "transfer.closed", peer="203.0.113.9:6000")
    found = written.wrong()

    assert len(found) == 2
    assert all("1 transfers" in line and "0 records" in line for line in found)
    assert written.books.unnoticed == 2


@pytest.mark.parametrize("times", [0, 1])
def test_a_transfer_that_broke_has_a_record_or_none(written: Written, times: int) -> None:
    written.happens(Costs(frozenset(Phase)))
    visit = written.visit(ConnectionResetError(), phase=Phase.MOVE, is_complete=False)
    for _ in range(times):
        written.records(visit)

    assert written.wrong() == []


def test_the_records_that_a_process_takes_with_it_are_those_of_the_moment_of_its_death(
    written: Written,
) -> None:
    before = written.visit()
    is_earlier(before)
    written.happens(Costs()).loses_records_now()
    written.visit()

    (found,) = written.wrong()
    assert f"({before.transfers[0].ended:.1f}), 0 records" in found


def test_an_end_may_have_been_recorded_any_time_before_its_client_read_it(
    written: Written,
) -> None:
    written.happens(Costs()).loses_records_now()
    slow = written.visit()
    slow.transfers[0].ended += 5
    assert written.wrong() == []


def test_an_end_of_which_its_client_was_not_told_may_have_been_unknown_to_the_gateway(
    written: Written,
) -> None:
    death = written.happens(Costs(CONTROLS))
    for visit in (written.visit(), written.visit(ConnectionResetError())):
        is_earlier(visit)
    death.loses_records_now()

    (found,) = written.wrong()
    assert "ConnectionResetError" not in found


def test_a_failure_without_a_fault_is_found(written: Written) -> None:
    fault = written.happens(Costs(CONTROLS))
    fault.ended = monotonic() - 10
    written.visit(ConnectionResetError(), is_complete=False)

    assert "ConnectionResetError" in written.wrong()[0]


@pytest.mark.parametrize(
    ("failure", "phase", "way", "family", "is_excused"),
    [
        (ConnectionResetError(), Phase.TALK, Way.KERNEL, 4, True),
        (ConnectionResetError(), Phase.MOVE, Way.KERNEL, 4, False),
        (ConnectionResetError(), Phase.MOVE, Way.USER, 4, True),
        # The other worker has this client.
        (ConnectionResetError(), Phase.TALK, Way.KERNEL, 6, False),
        (CutShort(), Phase.MOVE, Way.USER, 4, False),
        (OtherBytes(), Phase.TALK, Way.USER, 4, False),
    ],
)
def test_a_fault_excuses_what_it_may_cost_and_no_more(  # noqa: PLR0917 - columns of the table
    failure: Exception, phase: Phase, way: Way, family: int, is_excused: int, written: Written
) -> None:
    written.happens(Costs(CONTROLS, user_moves=True), 1)
    written.visit(failure, phase=phase, way=way, family=family, is_complete=False)

    assert len(written.wrong()) == 1 - is_excused
    assert written.books.excused.total() == is_excused


@pytest.mark.parametrize(
    ("kind", "phase", "is_excused"),
    [
        ("call", Phase.OPEN, True),
        ("film", Phase.OPEN, True),
        ("call", Phase.MOVE, False),
        ("film", Phase.TALK, False),
        ("mapping", Phase.OPEN, False),
        ("ftp", Phase.OPEN, False),
    ],
)
def test_a_cable_that_is_away_costs_the_datagram_with_which_a_film_or_a_call_begins_alone(
    written: Written, kind: str, phase: Phase, is_excused: bool
) -> None:
    written.happens(Costs(first_datagrams=True))
    written.visit(AssertionError("not a word"), kind=kind, phase=phase, is_complete=False)

    assert len(written.wrong()) == 1 - is_excused


def test_bytes_of_another_file_are_excused_by_nothing(written: Written) -> None:
    written.happens(Costs(frozenset(Phase), user_moves=True, cuts_short=True))
    written.visit(OtherBytes("x"), phase=Phase.MOVE, is_complete=False)

    assert "OtherBytes" in written.wrong()[0]


def test_faults_of_the_program_and_torn_records_are_found(written: Written, tmp_path: Path) -> None:
    written.records(written.visit(is_complete=False), "daemon.fault")
    with (tmp_path / "log").open("a") as log:
        log.write('{"event":"binding{"event"}\n')

    assert len(written.wrong()) == 2
