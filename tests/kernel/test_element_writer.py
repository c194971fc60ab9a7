"""Elements put up and taken down, and what is retired: swept along, swept in time, in nobody's way.

The double of the table says what it is asked for, and refuses what it is told to refuse.
"""

import errno
from collections.abc import Callable
from typing import cast

import pytest
from msgspec.structs import replace

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.errors import KernelError
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel.element_writer import RETRY_SECONDS, SWEEP_SECONDS, ElementWriter
from sallyport.kernel.installed_pinhole import InstalledPinhole, additions, removals, wanted
from sallyport.kernel.table import OwnedTable
from sallyport.wire import nftset

PINHOLE = Pinhole(
    1,
    Transport.TCP,
    Endpoint.parse("203.0.113.1:40000"),
    Endpoint.parse("10.0.0.8:1553"),
    IpFilter.of("203.0.113.9"),
)


class Table:
    """The pins table: asked, and a set of elements by what names them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusals: list[int] = []
        self.present: set[bytes] = set()

    def change(self, removed: nftset.Changes, added: nftset.Changes) -> None:
        gone, new = (
            [element for _, elements in part for element in elements] for part in (removed, added)
        )
        self.asked.append(f"-{len(gone)} +{len(new)}")
        if self.refusals and (number := self.refusals.pop(0)):
            raise KernelError("change", number)
        self.present.difference_update(gone)
        self.present.update(new)

    def close(self) -> None:
        self.asked.append("closed")


class Bench:
    """A pinboard, its table, and the timers it has set."""

    def __init__(self) -> None:
        self.table = Table()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.writer = ElementWriter(
            cast("OwnedTable", self.table),
            lambda seconds, action: self.timers.append((seconds, action)),
        )
        self.numbers = 0

    def put(self, count: int = 1) -> list[InstalledPinhole]:
        entered = []
        for _ in range(count):
            self.numbers += 1
            listen = PINHOLE.listen.with_port(40000 + self.numbers)
            entered.append(
                InstalledPinhole(replace(PINHOLE, id=self.numbers, listen=listen), self.numbers)
            )
        self.writer.put(entered)
        return entered

    def retire(self) -> InstalledPinhole:
        (installed,) = self.put()
        self.writer.retire(installed)
        return installed

    def fire(self) -> None:
        timers, self.timers = self.timers, []
        for _, action in timers:
            action()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_retired_goes_with_the_next_that_is_put_up(bench: Bench) -> None:
    bench.retire()
    bench.retire()
    bench.put()

    assert bench.table.asked == ["-0 +3", "-3 +3", "-3 +3"]
    bench.fire()
    assert bench.table.asked[3:] == []


def test_what_is_retired_goes_when_its_time_is_up_and_all_in_one(bench: Bench) -> None:
    first, second = bench.put(2)
    bench.writer.retire(first)
    bench.writer.retire(second)

    assert [seconds for seconds, _ in bench.timers] == [SWEEP_SECONDS]
    bench.fire()
    assert bench.table.asked == ["-0 +6", "-6 +0"]
    bench.retire()
    assert len(bench.timers) == 1


def test_what_is_retired_goes_with_what_is_taken_down(bench: Bench) -> None:
    unused, used = bench.put(2)
    bench.writer.retire(used)
    bench.writer.take_down([unused])

    assert bench.table.asked == ["-0 +6", "-6 +0"]


def test_a_burst_is_swept_before_it_outgrows_a_batch(bench: Bench) -> None:
    for installed in bench.put(257):
        bench.writer.retire(installed)

    assert bench.table.asked == ["-0 +771", "-768 +0"]
    bench.fire()
    assert bench.table.asked[2:] == ["-3 +0"]


def test_an_element_that_is_gone_already_stops_nobody_from_opening(bench: Bench) -> None:
    bench.retire()
    bench.table.refusals = [errno.ENOENT, errno.ENOENT]
    bench.put()

    assert bench.table.asked == ["-0 +3", "-3 +3", "-3 +0", "-0 +3"]
    bench.fire()
    assert len(bench.table.asked) == 4


def test_an_opening_that_is_refused_keeps_nothing_retired_in_the_kernel(bench: Bench) -> None:
    used = bench.retire()
    bench.table.refusals = [errno.EEXIST, 0, errno.EEXIST]
    with pytest.raises(KernelError):
        bench.put()

    assert bench.table.asked == ["-0 +3", "-3 +3", "-3 +0", "-0 +3"]
    assert not any(named in bench.table.present for _, [named] in removals([wanted(used)]))


def test_a_sweep_without_memory_is_tried_again(bench: Bench) -> None:
    bench.retire()
    bench.table.refusals = [errno.ENOMEM]
    bench.fire()

    assert [seconds for seconds, _ in bench.timers] == [RETRY_SECONDS]
    bench.fire()
    assert bench.table.asked == ["-0 +3", "-3 +0", "-3 +0"]


@pytest.mark.parametrize("is_retired", [False, True])
def test_no_port_is_given_back_as_long_as_its_elements_could_not_be_deleted(
    bench: Bench, *, is_retired: bool
) -> None:
    (installed,) = bench.put()
    bench.table.refusals = [errno.ENOMEM]
    if is_retired:
        bench.writer.retire(installed)
    else:
        bench.writer.take_down([installed])
    done: list[str] = []
    bench.writer.when_swept(lambda: done.append(bench.table.asked[-1]))
    if is_retired:
        bench.fire()
    assert (done, len(bench.timers)) == ([], 1)
    bench.fire()

    assert done == ["-3 +0"]
    assert bench.table.asked == ["-0 +3", "-3 +0", "-3 +0"]
    assert bench.timers == []


def test_one_that_cannot_be_deleted_yet_is_tried_with_the_next_that_is_put_up(
    bench: Bench,
) -> None:
    (installed,) = bench.put()
    bench.table.refusals = [errno.ENOMEM]
    bench.writer.take_down([installed])
    bench.put()

    assert bench.table.asked == ["-0 +3", "-3 +0", "-3 +3"]


@pytest.mark.parametrize("sweep", [Bench.put, Bench.fire, lambda bench: bench.writer.sweep()])
def test_what_waits_for_a_sweep_comes_behind_it(
    bench: Bench, sweep: Callable[[Bench], object]
) -> None:
    done: list[str] = []
    bench.writer.when_swept(lambda: done.append("nothing to wait for"))
    bench.retire()
    bench.writer.when_swept(lambda: done.append(bench.table.asked[-1]))
    assert len(done) == 1
    sweep(bench)

    assert done[1:] == [bench.table.asked[-1]]
    assert bench.table.asked[-1].startswith("-3")


def test_a_sweep_says_whether_there_was_anything_to_sweep(bench: Bench) -> None:
    assert not bench.writer.sweep()
    bench.retire()
    assert bench.writer.sweep()
    assert not bench.writer.sweep()


def test_after_its_end_nothing_is_asked_of_the_table(bench: Bench) -> None:
    bench.retire()
    bench.writer.close()
    bench.fire()

    assert bench.table.asked == ["-0 +3", "closed"]


def test_what_is_put_up_is_what_is_wanted(bench: Bench) -> None:
    (installed,) = bench.put()

    asked = {element for _, elements in additions([wanted(installed)]) for element in elements}
    assert bench.table.present == asked
