"""A filtered stream, on loopback with real sockets."""

import asyncio
import contextlib
import fcntl
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest
from tests.io.test_pump import pair
from tests.relay.loopback import descriptors, run
from tests.taps import WritingTap

from sallyport import limits
from sallyport.io.fair_poller import FairPoller
from sallyport.io.filtered_stream import Ending, FilteredStream
from sallyport.io.sockets import RESET_ON_CLOSE, prepare_leg

SIOCATMARK = 0x8905


class Bench:
    """A stream, its tap, and who is at its two ends."""

    def __init__(
        self, undo: ExitStack, *, is_accepted: bool, is_dialled: bool, is_dialogue: bool
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.tap = WritingTap()
        self.endings: list[Ending] = []
        self._over = asyncio.Event()
        self.served_by = FairPoller(self.loop)
        undo.callback(self.served_by.close)
        self.client, accepted = (undo.enter_context(end) for end in pair())
        self.server, dialled = (undo.enter_context(end) for end in pair())
        for leg in (accepted, dialled):
            prepare_leg(leg)
        self.stream = FilteredStream(
            self.loop,
            self.served_by,
            accepted if is_accepted else None,
            dialled if is_dialled else None,
            client="client",
            over=self._ended,
            is_dialogue=is_dialogue,
        )
        undo.callback(self.stream.abort)

    def start(self) -> None:
        self.tap.begin(self.stream, self.stream.accepted, self.stream.dialled)
        self.stream.start(self.tap)

    def _ended(self, ending: Ending) -> None:
        self.endings.append(ending)
        self._over.set()

    async def over(self) -> list[Ending]:
        """Wait for the end, and some turns more: nothing may come after it."""
        await self._over.wait()
        await self.turns()
        return self.endings

    async def turns(self) -> None:
        """Let the loop look at its descriptors as often as the longest way through it takes."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def read(self, end: socket.socket) -> bytes:
        return await self.loop.sock_recv(end, 1 << 20)

    async def read_all(self, end: socket.socket) -> bytes:
        read = bytearray()
        while more := await self.read(end):
            read += more
        return bytes(read)

    async def read_exactly(self, end: socket.socket, size: int) -> bytes:
        read = bytearray()
        while len(read) < size and (more := await self.read(end)):
            read += more
        return bytes(read)

    async def is_reset(self, end: socket.socket) -> bool:
        try:
            await self.read_all(end)
        except ConnectionResetError:
            return True
        return False

    async def fill(self, end: socket.socket) -> int:
        """Send until nothing more is taken, however long the loop turns; give the bytes."""
        sent, turns_in_vain = 0, 0
        while turns_in_vain < 50:
            try:
                sent += end.send(bytes(1 << 16))
                turns_in_vain = 0
            except BlockingIOError:
                turns_in_vain += 1
            await asyncio.sleep(0.001)
        return sent


@asynccontextmanager
async def bench(
    *, is_accepted: bool = True, is_dialled: bool = True, is_dialogue: bool = False
) -> AsyncIterator[Bench]:
    with ExitStack() as undo:
        made = Bench(undo, is_accepted=is_accepted, is_dialled=is_dialled, is_dialogue=is_dialogue)
        made.start()
        yield made


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.close()


def await_mark(end: socket.socket) -> None:
    """Return when `end` has an urgent byte that was not read yet."""
    poll = select.poll()
    poll.register(end, select.POLLPRI)
    assert poll.poll(5000)


Choice = Callable[[Bench], tuple[socket.socket, socket.socket]]
TWO_WAYS = pytest.mark.parametrize(
    "choose", [lambda b: (b.client, b.server), lambda b: (b.server, b.client)], ids=["in", "out"]
)


@TWO_WAYS
def test_bytes_pass_by_way_of_the_tap(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)
            one.send(b"hello")

            assert await b.read(other) == b"hello"
            who = "accepted" if one is b.client else "dialled"
            assert b.tap.told == ["begin", f"{who}: hello"]

    run(scenario())


@TWO_WAYS
@pytest.mark.parametrize("is_dialogue", [False, True])
def test_the_urgent_mark_passes_with_its_byte(choose: Choice, is_dialogue: bool) -> None:
    # RFC 959 section 4.1.3, ABOR: a server may look for a mark, and for nothing else.
    async def scenario() -> None:
        async with bench(is_dialogue=is_dialogue) as b:
            one, other = choose(b)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            one.send(b"before")
            assert await b.read(other) == b"before"
            one.send(b"abc")
            one.send(b"!", socket.MSG_OOB)
            one.send(b"def")

            heard = await b.read_exactly(other, 3)
            assert heard == b"abc"
            await b.loop.run_in_executor(None, await_mark, other)
            assert fcntl.ioctl(other, SIOCATMARK, bytes(4))[0]
            assert await b.read_exactly(other, 4) == b"!def"

    run(scenario())


def test_the_mark_of_what_a_filter_holds_back_goes_with_what_it_sends_first() -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            b.server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            held: list[bytes] = []

            def take(data: bytes) -> None:
                held.append(data)
                if b"\n" in data:
                    assert b.stream.dialled is not None
                    b.stream.dialled.send(b"one+")
                    b.stream.dialled.send(b"two")

            b.tap.on_accepted = take
            b.client.send(b"!", socket.MSG_OOB)
            await b.turns()
            b.client.send(b"\n")

            assert await b.read_exactly(b.server, 3) == b"one"
            assert fcntl.ioctl(b.server, SIOCATMARK, bytes(4))[0]
            assert await b.read_exactly(b.server, 4) == b"+two"

    run(scenario())


@TWO_WAYS
def test_the_end_of_one_direction_is_passed_on_and_the_other_goes_on(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)
            one.send(b"question")
            one.shutdown(socket.SHUT_WR)
            assert await b.read_all(other) == b"question"

            other.send(b"answer")
            other.shutdown(socket.SHUT_WR)

            assert await b.read_all(one) == b"answer"
            assert await b.over() == [Ending.COMPLETE]

    run(scenario())


def test_a_filter_that_ends_both_directions_in_its_own_time_ends_the_stream() -> None:
    async def scenario() -> None:
        async with bench() as b:
            ours = (b.tap.accepted, b.tap.dialled)
            b.tap.accepted = b.tap.dialled = None
            for end in (b.client, b.server):
                end.shutdown(socket.SHUT_WR)
            while len(b.tap.told) < 3:  # noqa: ASYNC110 - a tap has no events
                await asyncio.sleep(0)
            await b.turns()
            assert b.endings == []

            for leg in ours:
                assert leg is not None
                leg.shutdown()

            assert await b.over() == [Ending.COMPLETE]

    run(scenario())


@TWO_WAYS
def test_a_reset_is_passed_on_as_a_reset_after_what_came_before_it(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)
            is_client = one is b.client
            one.send(b"last words")
            reset(one)

            assert await b.loop.sock_recv(other, 10) == b"last words"
            assert await b.is_reset(other)
            assert await b.over() == [Ending.ACCEPTED_RESET if is_client else Ending.DIALLED_RESET]

    run(scenario())


@TWO_WAYS
def test_a_reset_is_noticed_while_nobody_reads(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)
            b.tap.is_busy = True
            one.send(b"makes it look")
            await b.turns()
            reset(one)

            assert await b.is_reset(other)
            assert len(await b.over()) == 1

    run(scenario())


def test_nothing_is_read_while_the_tap_is_busy_and_then_it_goes_on() -> None:
    async def scenario() -> None:
        async with bench() as b:

            def take(data: bytes) -> None:
                b.tap.is_busy = True
                b.tap.to_dialled(data)

            b.tap.on_accepted = take
            b.client.send(b"one")
            assert await b.read(b.server) == b"one"
            b.client.send(b"two")
            b.server.send(b"three")
            await b.turns()
            assert b.tap.told == ["begin", "accepted: one"]

            b.tap.resume()

            assert await b.read(b.server) == b"two"
            b.tap.resume()
            assert await b.read(b.client) == b"three"

    run(scenario())


@TWO_WAYS
def test_a_side_that_is_held_back_waits_and_the_other_one_is_read(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)

            def hold(*, is_held: bool) -> None:
                b.tap.holds_accepted, b.tap.holds_dialled = (
                    is_held and one is b.client,
                    (is_held and one is b.server),
                )
                b.tap.on_idle()

            hold(is_held=True)
            sent = await b.fill(one)
            other.send(b"goes on")
            assert await b.read(one) == b"goes on"
            assert len(b.tap.told) == 2

            hold(is_held=False)
            one.shutdown(socket.SHUT_WR)
            assert len(await b.read_all(other)) == sent

    run(scenario())


@TWO_WAYS
def test_a_reset_is_noticed_while_its_side_is_held_back(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)
            b.tap.holds_accepted = b.tap.holds_dialled = True
            b.tap.on_idle()
            reset(one)

            assert await b.is_reset(other)
            assert len(await b.over()) == 1

    run(scenario())


@TWO_WAYS
@pytest.mark.parametrize("is_dialogue", [False, True])
def test_a_slow_reader_makes_the_sender_wait_and_loses_nothing(
    choose: Choice, *, is_dialogue: bool
) -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=is_dialogue) as b:
            one, other = choose(b)
            sent = await b.fill(one)
            queued = max(len(end._queue) for end in b.stream._ends)
            one.shutdown(socket.SHUT_WR)

            # What we hold is what was read at once.
            assert 0 < queued <= (16 if is_dialogue else 512) * 1024
            assert len(await b.read_all(other)) == sent

    run(scenario())


@TWO_WAYS
def test_who_does_not_hear_the_answers_is_not_read_and_loses_nothing(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            one, other = choose(b)
            b.tap.on_accepted = lambda data: b.tap.to_accepted(data * 2)
            b.tap.on_dialled = lambda data: b.tap.to_dialled(data * 2)
            sent = await b.fill(one)
            one.shutdown(socket.SHUT_WR)

            assert "flooded" not in b.tap.told
            assert len(await b.read_exactly(one, 2 * sent)) == 2 * sent
            assert await b.read(other) == b""

    run(scenario())


def test_of_a_dialogue_little_is_read_at_once() -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            sizes: list[int] = []
            b.tap.on_accepted = lambda data: sizes.append(len(data))
            b.client.send(bytes(1 << 18))
            while sum(sizes) < 1 << 18:
                await b.turns()

            assert max(sizes) == 16 * 1024

    run(scenario())


def test_what_a_filter_makes_of_one_read_of_a_dialogue_leaves_together() -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            end = b.stream.accepted
            assert end is not None
            gone: list[int] = []

            def answer(_data: bytes) -> None:
                for reply in (b"150 a\r\n", b"226 b\r\n"):
                    end.send(reply)
                    gone.append(end.sent)

            b.tap.on_dialled = answer
            b.server.send(b"both")

            assert await b.read(b.client) == b"150 a\r\n226 b\r\n"
            assert (gone, end.sent) == ([0, 0], 14)

    run(scenario())


def test_what_a_dialogue_gathers_is_bounded() -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            end = b.stream.accepted
            assert end is not None
            gone: list[int] = []

            def answer(_data: bytes) -> None:
                for _ in range(3):
                    end.send(bytes(8 * 1024))
                    gone.append(end.sent)

            b.tap.on_dialled = answer
            b.server.send(b"all")

            assert len(await b.read_exactly(b.client, 24 * 1024)) == 24 * 1024
            assert gone == [0, 16 * 1024, 16 * 1024]

    run(scenario())


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_what_was_gathered_leaves_before_the_end(how: str) -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            end = b.stream.accepted
            assert end is not None

            def answer(_data: bytes) -> None:
                end.send(b"221 Goodbye.\r\n")
                b.stream.close() if how == "close" else end.shutdown()
                end.send(b"too late")

            b.tap.on_dialled = answer
            b.server.send(b"last")

            assert await b.read_all(b.client) == b"221 Goodbye.\r\n"

    run(scenario())


def test_what_was_gathered_is_sent_before_an_abort() -> None:
    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            end = b.stream.accepted
            assert end is not None

            def answer(_data: bytes) -> None:
                end.send(b"421 Go away.\r\n")
                b.stream.abort()

            b.tap.on_dialled = answer
            b.server.send(b"last")

            assert await b.over() == [Ending.ABORTED]
            assert end.sent == 14
            assert await b.is_reset(b.client)

    run(scenario())


def test_who_writes_two_replies_with_nagles_algorithm_waits_for_no_acknowledgement() -> None:
    """The sooner of two replies is held back by nobody, the later until the first has arrived."""

    async def scenario() -> None:
        async with bench(is_dialogue=True) as b:
            b.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            took: list[float] = []
            for _ in range(20):
                b.client.send(b"RETR file\r\n")
                await b.read(b.server)
                begun = b.loop.time()
                b.server.send(b"150 Here it comes.\r\n")
                b.server.send(b"226 Transfer complete.\r\n")
                await b.read_exactly(b.client, 44)
                took.append(b.loop.time() - begun)

            # Linux delays an acknowledgement for 40 ms at least. One round may have had bad luck.
            assert sorted(took)[10] < 0.02

    run(scenario())


def test_a_filter_that_floods_a_reader_that_has_stopped_ends_the_stream() -> None:
    async def scenario() -> None:
        async with bench() as b:
            end = b.stream.dialled
            assert end is not None
            sent = 0
            while not b.stream.is_over:
                end.send(bytes(1 << 16))
                sent += 1 << 16
            end.send(b"dropped")
            assert b.endings == []  # a filter is not ended in the middle of its step

            assert b.tap.told[-1:] == ["flooded"]
            assert await b.over() == [Ending.ABORTED]
            assert sent <= end.sent + limits.MAX_QUEUED_BYTES + (1 << 16)
            assert await b.is_reset(b.client)
            assert await b.is_reset(b.server)

    run(scenario())


@pytest.mark.parametrize("times", [1, 2])
def test_an_abort_resets_both_ends_and_is_told_once(times: int) -> None:
    async def scenario() -> None:
        async with bench() as b:
            for _ in range(times):
                b.stream.abort()

            assert b.endings == [Ending.ABORTED]
            assert b.served_by._seats == {}
            assert await b.is_reset(b.client)
            assert await b.is_reset(b.server)

    run(scenario())


def test_a_close_comes_after_everything_that_was_queued() -> None:
    async def scenario() -> None:
        async with bench() as b:
            end = b.stream.dialled
            assert end is not None
            sent = 0
            while not end.has_queued:
                end.send(bytes(1 << 16))
                sent += 1 << 16
            b.stream.close()
            b.stream.close()
            end.send(b"too late")
            b.client.send(b"too late as well")

            assert len(await b.read_all(b.server)) == sent
            assert await b.over() == [Ending.COMPLETE]
            assert b.tap.told == ["begin"]

    run(scenario())


@pytest.mark.parametrize("is_early", [True, False])
def test_a_close_loses_nothing_though_the_other_side_goes_on_talking(is_early: bool) -> None:
    async def scenario() -> None:
        async with bench() as b:
            end = b.stream.accepted
            assert end is not None
            b.tap.is_busy = True
            if is_early:
                b.client.send(bytes(1 << 18))
            end.send(bytes(3 << 20))
            b.stream.close()
            await b.turns()
            if not is_early:
                b.client.send(b"too late")
            await b.turns()

            assert len(await b.read_all(b.client)) == 3 << 20
            assert await b.over() == [Ending.COMPLETE]
            assert b.tap.told == ["begin"]

    run(scenario())


def test_a_close_gives_a_reader_that_has_stopped_little_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CLOSE_FLUSH_SECONDS", 0.01)

    async def scenario() -> None:
        async with bench() as b:
            await b.fill(b.client)
            b.stream.close()

            assert await b.over() == [Ending.ABORTED]
            assert await b.is_reset(b.server)

    run(scenario())


def test_a_stream_that_has_ended_takes_nothing_and_is_not_started() -> None:
    async def scenario() -> None:
        async with bench() as b:
            end = b.stream.dialled
            assert end is not None
            b.stream.abort()
            end.send(b"late")
            end.shutdown()
            b.stream.close()
            b.stream.start(b.tap)
            b.tap.resume()

            assert await b.over() == [Ending.ABORTED]

    run(scenario())


def test_what_a_filter_sends_to_an_end_that_is_gone_is_dropped() -> None:
    async def scenario() -> None:
        async with bench() as b:
            reset(b.server)
            with contextlib.suppress(ConnectionError):
                b.client.send(b"one")
            assert await b.over() == [Ending.DIALLED_RESET]
            b.tap.to_dialled(b"two")

            assert await b.is_reset(b.client)

    run(scenario())


def test_without_anybody_accepted_the_tap_speaks_with_who_was_dialled() -> None:
    async def scenario() -> None:
        async with bench(is_accepted=False) as b:
            assert b.tap.accepted is None
            b.tap.to_dialled(b"220 ready")
            assert await b.read(b.server) == b"220 ready"
            b.server.send(b"QUIT")
            b.server.shutdown(socket.SHUT_WR)
            assert b.stream.dialled is not None
            b.stream.dialled.shutdown()

            assert await b.read_all(b.server) == b""
            assert await b.over() == [Ending.COMPLETE]
            assert b.tap.told == ["begin", "dialled: QUIT", "dialled closed"]

    run(scenario())


def test_without_anybody_dialled_the_tap_speaks_with_who_was_accepted() -> None:
    async def scenario() -> None:
        async with bench(is_dialled=False) as b:
            b.tap.on_accepted = b.tap.to_accepted
            b.client.send(b"echo")
            assert await b.read(b.client) == b"echo"
            reset(b.client)

            assert await b.over() == [Ending.ACCEPTED_RESET]

    run(scenario())


def test_a_thousand_streams_leave_no_descriptor_behind() -> None:
    async def one(number: int) -> None:
        async with bench() as b:
            b.client.send(b"x")
            assert await b.read(b.server) == b"x"
            (reset if number % 2 else socket.socket.close)(b.client)
            if number % 3:
                b.stream.close()
            b.server.close()
            await b.over()

    async def scenario() -> None:
        before = descriptors()
        for number in range(1000):
            await one(number)
        assert descriptors() == before

    run(scenario())
