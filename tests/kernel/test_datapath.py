"""The data path with doubles for its sockets: what it does when the kernel says no."""

import asyncio
import errno
from collections.abc import Iterator
from typing import cast

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.datapath import DataPathKind, FlowCounters, Pinhole
from sallyport.errors import AddressInUse, InvalidArgument, KernelError, OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests, EventSocket
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.pokes import Pokes
from sallyport.kernel.table import OwnedTable
from sallyport.wire import conntrack, nftset
from sallyport.wire.conntrack import FlowReport, FlowTuple

LISTEN = Endpoint.parse("203.0.113.1:40000")
TARGET = Endpoint.parse("10.0.0.8:1553")
PEER = Endpoint.parse("203.0.113.9:20")


class Kernel:
    """Every socket of the data path in one double, and the sink too."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusals: list[int] = []
        self.events: list[FlowReport | OSError] = []
        self.live: list[FlowReport] = []
        self.told: list[str] = []
        self.report: FlowReport | None = None

    def _answer(self, what: str, changes: nftset.Changes) -> None:
        self.asked.append(f"{what} {sum(len(elements) for _, elements in changes)}")
        if self.refusals:
            number = self.refusals.pop(0)
            if number:
                raise KernelError(what, number)

    def add(self, changes: nftset.Changes) -> None:
        self._answer("add", changes)

    def delete(self, changes: nftset.Changes) -> None:
        self._answer("delete", changes)

    def receive(self) -> FlowReport | None:
        if not self.events:
            raise BlockingIOError
        event = self.events.pop(0)
        if isinstance(event, OSError):
            raise event
        return event

    def dump(self, _bits: int) -> Iterator[FlowReport]:
        self.asked.append("dump")
        yield from self.live

    def get(self, _original: bytes) -> FlowReport | None:
        if self.refusals:
            raise KernelError("get", self.refusals.pop(0))
        return self.report

    def set_bits(self, _original: bytes, bits: int) -> bool:
        self.asked.append(f"set {bits:#x}")
        return True

    def poke(self, original: FlowTuple, reply: FlowTuple) -> None:
        self.asked.append(f"poke {original.source} {reply.source}")

    def close(self) -> None:
        self.asked.append("closed")

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(f"{pinhole_id} established {peer}")

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(f"{pinhole_id} refused {peer}")

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        self.told.append(f"{pinhole_id} ended {counters.peer}")


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def path(kernel: Kernel) -> KernelDataPath:
    made = KernelDataPath(
        cast("OwnedTable", kernel),
        cast("EventSocket", kernel),
        cast("ConntrackRequests", kernel),
        cast("Pokes", kernel),
        last=0,
    )
    made.attach(kernel)
    kernel.asked.clear()
    return made


def pinhole(number: int = 1, *, transport: Transport = Transport.TCP) -> Pinhole:
    listen = LISTEN.with_port(LISTEN.port + number)
    return Pinhole(number, transport, listen, TARGET, IpFilter.of(PEER.address))


def report(generation: int, bits: int) -> FlowReport:
    original = conntrack.write_tuple(FlowTuple(6, PEER, LISTEN))
    reply = conntrack.write_tuple(FlowTuple(6, TARGET, PEER))
    return FlowReport(False, marks.PIN | bits | generation, original, reply, 1, 2)


def open_all(path: KernelDataPath, *pinholes: Pinhole) -> None:
    asyncio.run(path.open(pinholes))


def test_it_is_the_kernel_path(path: KernelDataPath) -> None:
    assert path.kind is DataPathKind.KERNEL


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EEXIST, AddressInUse),
        (errno.ENFILE, OutOfResources),
        (errno.ENOSPC, OutOfResources),
        (errno.ENOMEM, OutOfResources),
        (errno.EPERM, KernelError),
    ],
)
def test_a_refused_batch_opens_nothing_and_says_why(
    path: KernelDataPath, kernel: Kernel, number: int, expected: type[Exception]
) -> None:
    kernel.refusals = [number]

    with pytest.raises(expected):
        open_all(path, pinhole(1), pinhole(2))

    assert path.live_openings == 0
    path.close([1, 2])
    assert kernel.asked == ["add 6"]


def test_udp_reaches_the_kernel_never(path: KernelDataPath, kernel: Kernel) -> None:
    with pytest.raises(InvalidArgument, match="udp-not-built"):
        open_all(path, pinhole(1), pinhole(2, transport=Transport.UDP))

    assert (kernel.asked, path.live_openings) == ([], 0)


def test_closing_is_one_batch_and_idempotent(path: KernelDataPath, kernel: Kernel) -> None:
    open_all(path, pinhole(1), pinhole(2))
    path.close([1, 2, 3])
    path.close([1, 2, 3])

    assert kernel.asked == ["add 6", "delete 6"]


def test_when_one_of_several_is_gone_the_others_are_closed_all_the_same(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, pinhole(1), pinhole(2))
    kernel.refusals = [errno.ENOENT, errno.ENOENT]
    path.close([1, 2])

    assert kernel.asked == ["add 6", "delete 6", "delete 3", "delete 3"]


def test_a_close_that_the_kernel_has_no_memory_for_is_tried_again(
    path: KernelDataPath, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_all(path, pinhole(1))
    kernel.refusals = [errno.ENOMEM]
    retries = []
    monkeypatch.setattr(path, "_later", lambda _seconds, action: retries.append(action))
    path.close([1])
    retries.pop()()

    assert kernel.asked == ["add 3", "delete 3", "delete 3"]
    assert retries == []


def test_lost_events_are_made_up_for_by_one_dump(path: KernelDataPath, kernel: Kernel) -> None:
    open_all(path, pinhole(1))
    overrun = OSError(errno.ENOBUFS, "overrun")
    kernel.events = [overrun, overrun]
    kernel.live = [report(1, marks.WON)]
    path.drain()

    assert kernel.asked == ["add 3", "dump", "delete 3"]
    assert kernel.told == ["1 established 203.0.113.9:20"]
    kernel.live.clear()
    path.drain()
    assert kernel.told == ["1 established 203.0.113.9:20"]


def test_a_drain_reads_no_more_than_its_budget(path: KernelDataPath, kernel: Kernel) -> None:
    kernel.events = [report(1, marks.WON)] * 5
    path.drain(budget=3)

    assert len(kernel.events) == 2


def test_other_socket_errors_are_not_swallowed(path: KernelDataPath, kernel: Kernel) -> None:
    kernel.events = [OSError(errno.EBADF, "closed")]

    with pytest.raises(OSError, match="closed"):
        path.drain()


def test_kill_closes_marks_and_pokes_each_flow_once(path: KernelDataPath, kernel: Kernel) -> None:
    open_all(path, pinhole(1))
    kernel.events = [report(1, marks.WON)]
    path.drain()
    path.kill([1])
    path.kill([1])

    assert kernel.asked == [
        "add 3",
        "delete 3",
        "set 0x20000000",
        "poke 203.0.113.9:20 10.0.0.8:1553",
    ]


def test_counters_of_a_flow_that_cannot_be_read_are_left_out(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, pinhole(1))
    kernel.events = [report(1, marks.WON)]
    path.drain()
    kernel.report = report(1, marks.WON)
    assert path.counters(1) == [FlowCounters(PEER, 1, 2)]
    kernel.refusals = [errno.EIO]

    assert path.counters(1) == []
    assert path.counters(2) == []
