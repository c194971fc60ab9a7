"""The fair poller, on loopback with real sockets."""

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from tests.io.test_pump import pair
from tests.relay.loopback import run

from sallyport import limits
from sallyport.io.fair_poller import FairPoller


class Flood:
    """Sockets with something to read, which nobody does read; and who was served, in order."""

    def __init__(self, poller: FairPoller, undo: ExitStack) -> None:
        self.poller = poller
        self.served: list[str] = []
        self._undo = undo

    def add(self, name: str, client: str | None) -> socket.socket:
        ours, theirs = (self._undo.enter_context(end) for end in pair())
        theirs.send(b"something")
        select.select([ours], [], [])
        self.poller.watch(
            ours, lambda _events: self.served.append(name), client=client, events=select.EPOLLIN
        )
        return ours

    def turn(self) -> list[str]:
        """Serve one turn, and tell who had it."""
        return sorted(self.turn_in_order())

    def turn_in_order(self) -> list[str]:
        self.served.clear()
        self.poller.serve()
        return list(self.served)


@pytest.fixture
def flood() -> Iterator[Flood]:
    with contextlib.closing(FairPoller()) as poller, ExitStack() as undo:
        yield Flood(poller, undo)


def test_a_client_that_floods_on_many_connections_has_one_call_a_turn_like_any_other(
    flood: Flood,
) -> None:
    names = [f"flooder {i}" for i in range(8)]
    for name in names:
        flood.add(name, "flooder")
    flood.add("neighbour", "other")

    turns = [flood.turn_in_order() for _ in range(16)]

    assert all(turn[0] == "neighbour" for turn in turns)
    # Among themselves they take turns too.
    assert sorted(name for turn in turns for name in turn[1:]) == sorted(names * 2)


def test_a_client_that_is_alone_waits_for_nobody(flood: Flood) -> None:
    flood.add("one", "client")
    flood.add("two", "client")
    gone = flood.add("three", "other")
    assert flood.turn() != ["one", "two"]

    flood.poller.forget(gone)

    assert flood.turn() == ["one", "two"]


def test_others_are_clients_with_a_socket_besides_those_that_are_named(flood: Flood) -> None:
    flood.add("ours", "client")
    flood.add("nobody's", None)
    assert not flood.poller.has_others({"client"})

    theirs = flood.add("theirs", "other")
    assert flood.poller.has_others({"client"})
    assert not flood.poller.has_others({"client", "other"})

    flood.poller.forget(theirs)
    assert not flood.poller.has_others({"client"})


def delayed(scenario: Callable[[Flood], Coroutine[None, None, None]]) -> None:
    """Run a scenario in which the client "flooder" has to wait, for longer than is forgiven."""

    async def whole() -> None:
        poller = FairPoller(asyncio.get_running_loop())
        with contextlib.closing(poller), ExitStack() as undo:
            flood = Flood(poller, undo)
            flood.add("one", "flooder")
            flood.add("two", "flooder")
            for _ in range(3):
                poller.delay("flooder", limits.DELAY_FORGIVEN / 2)
            await scenario(flood)

    run(whole())


def test_a_client_that_is_delayed_waits_while_there_are_others_and_then_goes_on() -> None:
    async def scenario(flood: Flood) -> None:
        flood.add("neighbour", "other")
        ours, served = flood.add("three", "flooder"), asyncio.Event()
        flood.poller.watch(ours, lambda _events: served.set(), events=select.EPOLLIN)
        assert [flood.turn() for _ in range(3)] == [["neighbour"]] * 3
        assert not served.is_set()

        await served.wait()

    delayed(scenario)


def test_a_client_that_is_alone_is_not_delayed() -> None:
    async def scenario(flood: Flood) -> None:
        assert flood.turn() == ["one", "two"]

    delayed(scenario)


def test_a_short_delay_is_forgiven_and_many_of_them_are_not(flood: Flood) -> None:
    flood.add("one", "client")
    flood.add("neighbour", "other")
    flood.poller.delay("client", limits.DELAY_FORGIVEN * 0.9)
    assert flood.turn() == ["neighbour", "one"]

    async def once_more() -> None:
        flood.poller.delay("client", 60.0)
        assert flood.turn() == ["neighbour"]

    run(once_more())


def test_a_client_waits_no_longer_than_a_limit_whatever_it_did_while_it_was_alone() -> None:
    async def scenario(flood: Flood) -> None:
        for _ in range(1000):
            flood.poller.delay("flooder", 60.0)
        assert flood.turn() == ["one", "two"]

        flood.add("neighbour", "other")
        ours, served = flood.add("three", "flooder"), asyncio.Event()
        flood.poller.watch(ours, lambda _events: served.set(), events=select.EPOLLIN)
        assert flood.turn() == ["neighbour"]
        async with asyncio.timeout(limits.LONGEST_DELAY * 4):
            await served.wait()

    delayed(scenario)


def test_a_client_that_is_told_to_wait_again_and_again_has_its_turn_all_the_same() -> None:
    async def scenario(flood: Flood) -> None:
        flood.add("neighbour", "other")
        ours, served = flood.add("three", "flooder"), asyncio.Event()
        flood.poller.watch(ours, lambda _events: served.set(), events=select.EPOLLIN)
        loop = asyncio.get_running_loop()

        def again() -> None:
            flood.poller.delay("flooder", 60.0)
            loop.call_later(limits.DELAY_FORGIVEN, again)

        again()
        async with asyncio.timeout(limits.LONGEST_DELAY * 4):
            await served.wait()

    delayed(scenario)


def test_a_delayed_client_is_told_of_a_reset_at_once() -> None:
    async def scenario(flood: Flood) -> None:
        ours, theirs = pair()
        with ours, theirs:
            flood.add("neighbour", "other")
            flood.poller.watch(
                ours,
                lambda _events: flood.served.append("reset"),
                client="flooder",
                events=select.EPOLLIN,
            )
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()

            assert flood.turn() == ["neighbour", "reset"]
            flood.poller.forget(ours)

    delayed(scenario)


def test_nothing_is_kept_of_a_delayed_client_that_has_gone() -> None:
    async def scenario(flood: Flood) -> None:
        flood.add("neighbour", "other")
        again = flood.add("three", "late")
        flood.poller.delay("late", 60.0)
        flood.poller.forget(again)
        flood.poller.delay("late", 60.0)

        flood.add("four", "late")
        assert flood.turn() == ["four", "neighbour"]

    delayed(scenario)


def test_a_turn_has_an_end_however_many_have_news(flood: Flood) -> None:
    names = [f"one of {i}" for i in range(100)]
    for name in names:
        flood.add(name, "client")

    first, second = flood.turn(), flood.turn()

    assert len(first) < len(names)
    assert {*first, *second} == {*names}


def test_who_is_nobodys_has_a_call_every_turn(flood: Flood) -> None:
    flood.add("one", "client")
    flood.add("two", "other")
    flood.add("the kernel", None)
    flood.add("asyncio", None)

    assert [flood.turn() for _ in range(2)] == [["asyncio", "one", "the kernel", "two"]] * 2


def test_who_spoke_last_comes_after_who_has_waited(flood: Flood) -> None:
    busy = flood.add("busy", "client")
    flood.add("neighbour", "other")
    flood.turn()
    flood.add("newcomer", "client")

    assert flood.turn() == ["neighbour", "newcomer"]
    assert flood.turn() == ["busy", "neighbour"]

    flood.poller.forget(busy)
    flood.poller.forget(busy)
    assert flood.turn() == ["neighbour", "newcomer"]


def test_what_is_watched_may_change(flood: Flood) -> None:
    ours = flood.add("one", "client")
    flood.poller.watch(ours, lambda events: flood.served.append(f"now {events}"), events=0)
    assert flood.turn() == []

    flood.poller.watch(
        ours, lambda events: flood.served.append(f"now {events}"), events=select.EPOLLOUT
    )
    assert flood.turn() == [f"now {select.EPOLLOUT}"]


def drive(
    scenario: Callable[[FairPoller], Coroutine[None, None, None]], *, is_by_itself: bool
) -> None:
    """Run a scenario in the loop that turns make, or have an ordinary loop serve them."""

    async def ordinary() -> None:
        with contextlib.closing(FairPoller(asyncio.get_running_loop())) as poller:
            await scenario(poller)

    if is_by_itself:
        asyncio.run(ordinary())
        return
    poller = FairPoller()
    with contextlib.closing(poller), asyncio.Runner(loop_factory=poller.new_loop) as runner:
        runner.run(scenario(poller))


EITHER_LOOP = pytest.mark.parametrize("is_by_itself", [False, True])


@EITHER_LOOP
def test_a_loop_that_serves_has_its_own_descriptors_timers_and_threads(
    is_by_itself: bool,
) -> None:
    async def scenario(poller: FairPoller) -> None:
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[bytes] = asyncio.Queue()
        with ExitStack() as undo:
            ours, to_ours = (undo.enter_context(end) for end in pair())
            theirs, to_theirs = (undo.enter_context(end) for end in pair())
            poller.watch(ours, lambda _events: news.put_nowait(ours.recv(9)), events=select.EPOLLIN)
            for _ in range(2):
                to_ours.send(b"turn")
                to_theirs.send(b"loop")
                assert await news.get() == b"turn"
                assert await loop.sock_recv(theirs, 9) == b"loop"
            loop.call_later(0.001, to_ours.send, b"timer")
            assert await news.get() == b"timer"
            await asyncio.to_thread(to_ours.send, b"thread")
            assert await news.get() == b"thread"
            poller.forget(ours)

    drive(scenario, is_by_itself=is_by_itself)


@EITHER_LOOP
def test_what_is_to_come_soon_comes_after_all_whose_turn_it_is(is_by_itself: bool) -> None:
    async def scenario(poller: FairPoller) -> None:
        order: list[str] = []

        def served(name: str, _events: int) -> None:
            order.append(name)
            poller.soon(lambda: order.append(f"after {name}"))

        with ExitStack() as undo:
            flood = Flood(poller, undo)
            for name in ("one", "two"):
                ours = flood.add(name, "client")
                poller.watch(ours, partial(served, name), events=select.EPOLLIN)
            poller.serve()
            assert [order[:2], order[2:]] == [sorted(order)[2:], [f"after {n}" for n in order[:2]]]

        poller.soon(lambda: order.append("outside of a turn"))
        assert len(order) == 4
        await asyncio.sleep(0)
        assert order[-1] == "outside of a turn"

    drive(scenario, is_by_itself=is_by_itself)


@EITHER_LOOP
def test_a_thread_may_have_something_done_soon(is_by_itself: bool) -> None:
    async def scenario(poller: FairPoller) -> None:
        done = asyncio.Event()
        await asyncio.to_thread(poller.soon, done.set)
        await done.wait()

    drive(scenario, is_by_itself=is_by_itself)


def fail(_events: int) -> None:
    raise ValueError("no")


@EITHER_LOOP
def test_a_cancellation_that_nobody_caught_ends_neither_the_turn_nor_the_loop(
    is_by_itself: bool,
) -> None:
    async def scenario(poller: FairPoller) -> None:
        faults: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: faults.append(repr(context["exception"])))
        done = asyncio.Event()

        def cancelled() -> None:
            raise asyncio.CancelledError

        with ExitStack() as undo:
            flood = Flood(poller, undo)
            bad = flood.add("bad", "a")

            def both(_events: int) -> None:
                poller.forget(bad)
                poller.soon(cancelled)
                poller.soon(done.set)
                cancelled()

            poller.watch(bad, both, events=select.EPOLLIN)
            await done.wait()
        assert faults == ["CancelledError()"] * 2

    drive(scenario, is_by_itself=is_by_itself)


@EITHER_LOOP
def test_what_goes_wrong_in_one_call_is_told_and_the_others_are_served(
    is_by_itself: bool,
) -> None:
    async def scenario(poller: FairPoller) -> None:
        faults: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: faults.append(repr(context["exception"]))
        )
        with ExitStack() as undo:
            flood = Flood(poller, undo)
            bad = flood.add("bad", "a")
            flood.add("good", "b")
            poller.watch(bad, fail, events=select.EPOLLIN)

            assert flood.turn() == ["good"]
        assert faults == ["ValueError('no')"]

    drive(scenario, is_by_itself=is_by_itself)


def test_a_reset_is_told_though_nobody_reads() -> None:
    async def scenario() -> None:
        poller = FairPoller(asyncio.get_running_loop())
        told = asyncio.Event()
        ours, theirs = pair()
        with ours, theirs:
            poller.watch(ours, lambda _events: told.set())
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()

            await told.wait()
            poller.forget(ours)
        poller.close()

    run(scenario())


def test_a_reset_that_came_before_the_watch_is_told_too() -> None:
    async def scenario() -> None:
        poller = FairPoller(asyncio.get_running_loop())
        told = asyncio.Event()
        ours, theirs = pair()
        with ours, theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            poller.watch(ours, lambda _events: told.set())

            await told.wait()
            poller.forget(ours)
        poller.close()

    run(scenario())


def test_a_reset_is_told_though_another_socket_of_the_same_client_has_the_turn(
    flood: Flood,
) -> None:
    def hung_up(name: str, _events: int) -> None:
        flood.served.append(name)

    flood.add("neighbour", "other")
    for name in ("first", "second"):
        flood.add(name, "client")
    with ExitStack() as undo:
        for name in ("a", "b"):
            ours, theirs = (undo.enter_context(end) for end in pair())
            flood.poller.watch(ours, partial(hung_up, name), client="client")
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()

        told = [name for _ in range(4) for name in flood.turn()]

    assert [told.count(name) for name in ("a", "b")] == [1, 1]
    assert [told.count(name) for name in ("first", "second")] == [2, 2]


def told_when(act: Callable[[socket.socket, socket.socket], object]) -> int:
    """Ask for nothing of a socket, act on it and its peer, and count what is told in ten turns."""
    told: list[int] = []
    ours, theirs = pair()
    with contextlib.closing(FairPoller()) as poller, ours, theirs:
        poller.watch(ours, told.append)
        act(ours, theirs)
        for _ in range(10):
            poller.serve()
        poller.forget(ours)
    return len(told)


def test_bytes_and_the_end_of_one_direction_are_not_told() -> None:
    def end(_ours: socket.socket, theirs: socket.socket) -> None:
        theirs.send(b"bytes")
        theirs.shutdown(socket.SHUT_WR)

    assert told_when(end) == 0


def test_a_socket_that_was_shut_both_ways_is_told_of_once() -> None:
    def end(ours: socket.socket, theirs: socket.socket) -> None:
        theirs.shutdown(socket.SHUT_WR)
        ours.shutdown(socket.SHUT_WR)

    assert told_when(end) == 1


def test_a_forgotten_socket_is_not_told_of_even_in_the_same_turn() -> None:
    async def scenario() -> None:
        poller = FairPoller(asyncio.get_running_loop())
        told: list[str] = []
        news = asyncio.Event()
        pairs = {"a": pair(), "b": pair()}

        def hung_up(name: str) -> None:
            told.append(name)
            for ours, _ in pairs.values():
                poller.forget(ours)
            news.set()

        for name, (ours, theirs) in pairs.items():
            poller.watch(ours, lambda _events, name=name: hung_up(name))  # type: ignore[misc]
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
        await news.wait()
        await asyncio.sleep(0)
        for ours, _ in pairs.values():
            poller.forget(ours)
            ours.close()
        poller.close()

        assert len(told) == 1

    run(scenario())
