"""The data path with doubles for its sockets: what it does when the kernel says no."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from msgspec.structs import replace

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Arrival, DataPathKind, FlowCounters, Pinhole
from sallyport.errors import AddressInUse, InvalidArgument, KernelError, OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests, EventSocket
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.first_datagrams import FirstDatagrams
from sallyport.kernel.forged_acks import ForgedAcks
from sallyport.kernel.knocks import Knocks
from sallyport.kernel.placeholders import Placeholders
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
        self.counted: tuple[int, int] | None = None
        self.time_left: int | None = None

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.refusals:
            number = self.refusals.pop(0)
            if number:
                raise KernelError(what, number)

    def change(self, removed: nftset.Changes, added: nftset.Changes) -> None:
        counts = [sum(len(elements) for _, elements in part) for part in (removed, added)]
        named = [f"{verb} {n}" for verb, n in zip(("delete", "add"), counts, strict=True) if n]
        self._answer(" ".join(named))

    def receive(self) -> FlowReport | None:
        if not self.events:
            raise BlockingIOError
        event = self.events.pop(0)
        if isinstance(event, OSError):
            raise event
        return event

    def dump(self, _bits: int, mask: int) -> Iterator[FlowReport]:
        self.asked.append(f"dump {mask:#x}")
        yield from self.live

    def counters(self, _original: bytes) -> tuple[int, int] | None:
        if self.refusals:
            raise KernelError("get", self.refusals.pop(0))
        return self.counted

    def seconds_left(self, _original: bytes) -> int | None:
        if self.refusals:
            raise KernelError("get", self.refusals.pop(0))
        return self.time_left

    def set_bits(self, _original: bytes, bits: int) -> bool:
        self.asked.append(f"set {bits:#x}")
        return True

    def delete(self, original: bytes) -> bool:
        self.asked.append(f"forget {conntrack.read_tuple(original).source}")
        return True

    def take(self, source: Endpoint, destination: Endpoint) -> bytes:
        return f"{source} to {destination}".encode()

    def send(self, original: FlowTuple, reply: FlowTuple) -> None:
        self.asked.append(f"forged acks {original.source} {reply.source}")

    def close(self) -> None:
        self.asked.append("closed")

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        raise AssertionError("the kernel lets peers in by itself")

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(f"{pinhole_id} established {peer}")

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(f"{pinhole_id} refused {peer}")

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        raise AssertionError("the kernel turns nobody away")

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
        cast("ForgedAcks", kernel),
        Placeholders(limit=0),
        knocks=cast("Knocks", kernel),
        first_datagrams=cast("FirstDatagrams", kernel),
        last=0,
        idle_seconds=60,
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
    return FlowReport(False, marks.PIN | bits | generation, original, reply)


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

    assert path.live_pinholes == 0
    path.close([1, 2])
    assert kernel.asked == ["add 6"]


def test_an_idle_time_that_is_not_offered_reaches_the_kernel_never(
    path: KernelDataPath, kernel: Kernel
) -> None:
    odd = replace(pinhole(2, transport=Transport.UDP), idle_seconds=61)
    with pytest.raises(InvalidArgument, match="idle-time-not-offered"):
        open_all(path, pinhole(1), odd)

    assert (kernel.asked, path.live_pinholes) == ([], 0)
    open_all(path, replace(odd, idle_seconds=60))
    assert path.live_pinholes == 1


def test_ranges_that_overlap_are_an_address_in_use(path: KernelDataPath, kernel: Kernel) -> None:
    kernel.refusals = [errno.ENOTEMPTY]

    with pytest.raises(AddressInUse):
        open_all(path, pinhole(1))


def test_a_late_target_opens_what_waited_for_it(path: KernelDataPath, kernel: Kernel) -> None:
    open_all(path, replace(pinhole(1), target=None))
    kernel.refusals = [errno.ENOMEM]
    with pytest.raises(OutOfResources):
        asyncio.run(path.retarget(1, TARGET))
    asyncio.run(path.retarget(1, TARGET))
    path.close([1])

    # The first line is the opening: the double hears of it, the kernel would not.
    assert kernel.asked == ["", "add 3", "add 3", "delete 3"]
    with pytest.raises(InvalidArgument, match="target-is-known"):
        asyncio.run(path.retarget(1, TARGET))


def test_refused_sources_leave_everything_as_it_was(path: KernelDataPath, kernel: Kernel) -> None:
    open_all(path, pinhole(1))
    kernel.refusals = [errno.EPERM]
    with pytest.raises(KernelError):
        asyncio.run(path.set_peers([1], None, None))
    asyncio.run(path.set_peers([1], IpFilter.of(PEER.address), None))
    asyncio.run(path.set_peers([1], None, None))

    assert [asked for asked in kernel.asked if asked.startswith(("add", "delete"))] == [
        "add 3",
        "delete 1 add 1",
        "delete 1 add 1",
    ]


def test_half_open_flows_of_sources_no_longer_allowed_are_forgotten(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, pinhole(1))
    kernel.live = [report(1, 0)]
    asyncio.run(path.set_peers([1], IpFilter.of("203.0.113.0/28"), None))
    assert kernel.asked[-1] == "dump 0xc0ffffff"
    asyncio.run(path.set_peers([1], IpFilter(), None))

    assert kernel.asked[-1] == "forget 203.0.113.9:20"


def test_what_has_been_closed_stays_closed_whatever_is_changed(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, replace(pinhole(1), target=None), pinhole(2))
    path.close([1, 2])
    kernel.asked.clear()
    asyncio.run(path.retarget(1, TARGET))
    asyncio.run(path.set_peers([2], None, None))
    asyncio.run(path.set_peers([3], None, None))

    assert kernel.asked == []


def test_a_flow_that_won_just_before_close_is_told_of_before_close_returns(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, pinhole(1), pinhole(2))
    kernel.events = [report(2, marks.WON), report(1, marks.WON)]
    path.close([1])
    assert kernel.told == ["1 established 203.0.113.9:20"]
    path.drain()

    assert kernel.told[1:] == ["2 established 203.0.113.9:20"]


def test_a_close_after_an_overrun_hears_what_was_lost(path: KernelDataPath, kernel: Kernel) -> None:
    open_all(path, pinhole(1))
    kernel.events = [OSError(errno.ENOBUFS, "overrun")]
    kernel.live = [report(1, marks.WON)]
    path.close([1])

    assert kernel.told == ["1 established 203.0.113.9:20"]


def test_a_first_datagram_narrows_the_pinhole_until_the_kernel_agrees(
    path: KernelDataPath, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_all(path, pinhole(1, transport=Transport.UDP))
    retries: list[Callable[[], None]] = []
    monkeypatch.setattr(path, "_later", lambda _seconds, action: retries.append(action))
    kernel.refusals = [errno.ENOMEM]
    kernel.events = [report(1, marks.WON)]
    path.drain()
    retries.pop()()
    path.close([1])
    path.renew(path._flows.of([1])[0])

    # Lookup, target and place go; a narrower lookup and the target of its mark come.
    assert kernel.asked == ["add 3", "delete 3 add 2", "delete 3 add 2", "delete 2"]
    assert retries == []


def test_killed_datagrams_have_their_entry_forgotten_at_once(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, pinhole(1, transport=Transport.UDP))
    original = conntrack.write_tuple(FlowTuple(17, PEER, LISTEN))
    kernel.events = [replace(report(1, marks.WON), original=original)]
    path.kill([1])

    assert kernel.asked == ["add 3", "delete 3", "forget 203.0.113.9:20"]


def test_a_timed_flow_is_asked_after_when_its_time_is_up(
    path: KernelDataPath, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_all(path, replace(pinhole(1, transport=Transport.UDP), idle_seconds=60))
    timers: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(path, "_later", lambda *timer: timers.append(timer))
    kernel.events = [report(1, marks.WON)]
    path.drain()
    kernel.time_left = 42
    timers[0][1]()
    kernel.refusals = [errno.EIO]
    timers[1][1]()
    kernel.time_left = None
    timers[2][1]()

    assert [seconds for seconds, _ in timers] == [60, 43, 60]


class Held:
    """Ports that are held, and nothing else of Placeholders."""

    def __init__(self) -> None:
        self.places: set[Endpoint] = set()

    def reserve(self, _transport: Transport, address: Endpoint, *, is_shared: bool) -> None:
        if address in self.places:
            raise AddressInUse("port-already-reserved")
        self.places.add(address)

    def release(self, _transport: Transport, address: Endpoint) -> None:
        self.places.discard(address)


def test_a_port_is_given_back_behind_what_was_opened_there(
    path: KernelDataPath, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(path, "_placeholders", held)
    path.reserve(Transport.TCP, LISTEN)
    open_all(path, pinhole(1))
    kernel.events = [report(1, marks.WON)]
    path.drain()
    path.release(Transport.TCP, LISTEN)

    assert (kernel.asked, held.places) == (["add 3"], {LISTEN})
    open_all(path, pinhole(2))
    assert (kernel.asked[1:], held.places) == (["delete 3 add 3"], set())


def test_a_port_that_waits_to_be_given_back_is_to_be_had(
    path: KernelDataPath, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "_placeholders", Held())
    path.reserve(Transport.TCP, LISTEN)
    with pytest.raises(AddressInUse):
        path.reserve(Transport.TCP, LISTEN)
    open_all(path, pinhole(1))
    kernel.events = [report(1, marks.WON)]
    path.drain()
    path.release(Transport.TCP, LISTEN)
    path.reserve(Transport.TCP, LISTEN)

    assert kernel.asked == ["add 3", "delete 3"]


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
    monkeypatch.setattr(path._elements, "_later", lambda _seconds, action: retries.append(action))
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

    path.close([])
    assert kernel.asked == ["add 3", "dump 0x80f00000", "delete 3"]
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
        "forged acks 203.0.113.9:20 10.0.0.8:1553",
    ]


def test_counters_of_a_flow_that_cannot_be_read_are_left_out(
    path: KernelDataPath, kernel: Kernel
) -> None:
    open_all(path, pinhole(1))
    kernel.events = [report(1, marks.WON)]
    path.drain()
    kernel.counted = 1, 2
    assert path.counters(1) == [FlowCounters(PEER, 1, 2)]
    kernel.refusals = [errno.EIO]

    assert path.counters(1) == []
    assert path.counters(2) == []
