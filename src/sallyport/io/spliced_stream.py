"""A spliced stream: two TCP sockets whose bytes pass from one to the other, unseen."""

import asyncio
import select
import socket
from collections.abc import Callable
from functools import partial

from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.io.pump import Pump, Wait
from sallyport.io.sockets import has_failed, let_end


class SplicedStream:
    """Two pumps, until both directions are complete or something breaks.

    The sockets are legs (`sockets.prepare_leg`) and belong to the stream from now on. `over` is
    called once, when they are closed, however that came: with the leg that has failed, None for
    the end of both directions or a call of `abort`.
    """

    __slots__ = ("_asked", "_legs", "_open_directions", "_over", "_poller", "_pumps")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipes: Pipes,
        poller: FairPoller,
        legs: tuple[socket.socket, socket.socket],
        over: Callable[[socket.socket | None], None],
    ) -> None:
        self._legs = legs
        self._poller = poller
        self._over = over
        self._open_directions = 2
        self._asked = [-1, -1]
        """The events that are asked for of each leg; -1: nothing yet."""
        first, second = legs
        self._pumps = tuple(
            Pump(
                loop,
                pipes,
                source,
                sink,
                waiting=self._ask,
                ended=self._ended,
                broken=partial(self._end, source),
            )
            for source, sink in ((first, second), (second, first))
        )

    def start(self) -> None:
        """Move bytes, unless it is over already."""
        if self._open_directions:
            self._ask()

    def abort(self) -> None:
        """Reset both ends now (`datapath.Link`); idempotent, never raises."""
        self._end(None)

    def close(self) -> None:
        """Reset both ends (`datapath.Link`): what is under way must not look complete."""
        self._end(None)

    @property
    def moved(self) -> tuple[int, int]:
        """How many bytes of the first leg, and of the second, were passed on."""
        first, second = self._pumps
        return first.moved, second.moved

    def _ask(self) -> None:
        """Ask for the events of both legs that the pumps wait for now."""
        for number, leg in enumerate(self._legs):
            inward, outward = self._pumps[number], self._pumps[1 - number]
            wanted = select.EPOLLIN if inward.wait is Wait.SOURCE else 0
            if outward.wait is Wait.SINK:
                wanted |= select.EPOLLOUT
            if wanted != self._asked[number]:
                self._asked[number] = wanted
                self._poller.watch(leg, partial(self._notice, number), events=wanted)

    def _notice(self, number: int, events: int) -> None:
        inward, outward = self._pumps[number], self._pumps[1 - number]
        is_expected = False
        # An error or a hang-up is for the pump that waits: it finds out what it is, and one that
        # reads gets at what came before.
        if inward.wait is Wait.SOURCE and events & ~select.EPOLLOUT:
            is_expected = True
            inward.turn()
        if outward.wait is Wait.SINK and events & ~select.EPOLLIN:
            is_expected = True
            outward.turn()
        leg = self._legs[number]
        if not is_expected and self._open_directions and has_failed(leg):
            self._end(leg)

    def _ended(self) -> None:
        self._open_directions -= 1
        if self._open_directions:
            self._ask()
            return
        self._let_go()
        for leg in self._legs:
            let_end(leg)
        self._over(None)

    def _end(self, broken: socket.socket | None) -> None:
        if self._open_directions:
            self._open_directions = 0
            self._let_go()
            for leg in self._legs:
                leg.close()
            self._over(broken)

    def _let_go(self) -> None:
        for pump in self._pumps:
            pump.stop()
        for leg in self._legs:
            self._poller.forget(leg)
