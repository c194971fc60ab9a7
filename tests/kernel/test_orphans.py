"""Which flows nobody watches, by their marks; conntrack itself is shown in tests/netns."""

from collections.abc import Iterator
from typing import cast

import pytest
from tests.kernel.test_flows import LISTEN, PEER, TARGET, Bench, pinhole

from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.orphans import Orphans
from sallyport.kernel.pins_table import pins_table
from sallyport.kernel.ruleset import Ruleset
from sallyport.wire import conntrack
from sallyport.wire.conntrack import FlowReport, FlowTuple

ADMITTED = marks.PIN | marks.WON
OWN, LIVING, DEAD = 0x0020_0000, 0x0030_0000, 0x0040_0000


class Entries:
    """Conntrack, as far as orphans ask it."""

    def __init__(self, *numbers: int) -> None:
        self.marks = [ADMITTED | number for number in numbers]
        self.renumbered: list[int] = []
        self.is_there = True

    def dump(self, bits: int, mask: int) -> Iterator[FlowReport]:
        original = conntrack.write_tuple(FlowTuple(6, PEER, LISTEN))
        answer = conntrack.write_tuple(FlowTuple(6, TARGET, PEER))
        for mark in self.marks:
            if mark & mask == bits:
                yield FlowReport(False, mark, original, answer)

    def set_bits(self, _original: bytes, bits: int, mask: int) -> bool:
        assert mask == marks.GENERATION
        self.renumbered.append(bits)
        return self.is_there


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two workers live: this one and another."""
    living = {pins_table(2), pins_table(3)}
    monkeypatch.setattr(Ruleset, "owner_of", lambda _ruleset, name: 7 if name in living else None)


def orphans(bench: Bench, entries: Entries) -> Orphans:
    return Orphans(bench.flows, cast("ConntrackRequests", entries), 2, 60)


@pytest.mark.parametrize(
    ("number", "is_left_to_us"), [(DEAD | 5, False), (OWN | 5, True)], ids=["dead", "own"]
)
def test_flows_of_the_dead_and_of_our_number_before_us_are_found(
    number: int, is_left_to_us: bool
) -> None:
    (found,) = orphans(Bench(), Entries(number)).find()

    assert (found.source, found.listen, found.target) == (PEER, LISTEN, TARGET)
    assert (found.is_left_to_us, found.is_over) == (is_left_to_us, False)


@pytest.mark.parametrize(
    "number",
    [LIVING | 5, 0, DEAD | 5 | marks.KILL, DEAD | 5 | marks.ENDS | marks.TOLD],
    ids=["of a living worker", "a control connection", "being killed", "recorded"],
)
def test_what_somebody_watches_or_has_told_is_not_found(number: int) -> None:
    assert not orphans(Bench(), Entries(number)).find()


def test_a_flow_of_a_pinhole_that_stands_is_not_found() -> None:
    bench = Bench()
    assert not orphans(bench, Entries(bench.enter().generation)).find()


def test_one_that_both_sides_have_closed_is_found_while_nobody_has_told() -> None:
    (found,) = orphans(Bench(), Entries(DEAD | 5 | marks.ENDS)).find()

    assert found.is_over


def test_an_adopted_flow_gets_a_number_of_ours() -> None:
    bench, entries = Bench(), Entries(DEAD | 5)
    finder = orphans(bench, entries)

    assert finder.adopt(pinhole(), finder.find()[0])

    assert bench.flows.knows(entries.renumbered[0])
    assert bench.said == ["1 established 203.0.113.9:20"]


def test_one_that_is_gone_is_forgotten() -> None:
    bench, entries = Bench(), Entries(DEAD | 5)
    finder, entries.is_there = orphans(bench, entries), False

    assert not finder.adopt(pinhole(), finder.find()[0])
    assert not len(bench.flows)
