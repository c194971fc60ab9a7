"""AsyncWorld: the event loop's side of the core: time, chance, timers, waiting coroutines."""

import asyncio
import os
import time
import types
from array import array
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.schedules import minute_of_week
from sallyport.core.runtime.environment import Journal
from sallyport.core.runtime.serial import FAULTS, FilterRunning, Work

# One system call for 64 numbers: chance is asked for at every bind.
_CHANCE_BYTES = 512


def minute_now() -> int:
    """Return the minute of the week on the host's clock, in local time."""
    now = time.localtime()
    return minute_of_week(now.tm_wday, now.tm_hour, now.tm_min)


class AsyncWorld:
    """An `Environment` of the core on asyncio; made inside a running loop.

    `drive` must be called once the gateway exists: timers fire its deadlines.
    """

    def __init__(
        self,
        journal: Journal,
        tasks: asyncio.TaskGroup,
        delay: Callable[[str, float], None] = lambda _client, _seconds: None,
    ) -> None:
        """`delay`: lets a client wait (`Environment.delay`); by default none does."""
        self.delay = delay
        self.journal = journal
        self.filter_running = FilterRunning()
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        # What a loop's own `time` asks, which is asked some fourteen times a transfer.
        self.now = time.monotonic
        self._gateway: Gateway | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._chance = array("Q")

    def drive(self, gateway: Gateway) -> None:
        """Fire this gateway's deadlines from now on."""
        self._gateway = gateway
        self._rearm()

    def minute_of_week(self) -> int:
        """Return the minute of the week (`Environment`), in local time."""
        return minute_now()

    def random_below(self, bound: int) -> int:
        """Draw from the system's generator: guessing a port is an attack (X03)."""
        if not self._chance:
            self._chance = array("Q", os.urandom(_CHANCE_BYTES))
        # Of 64 bits: no port is more likely than another by one in 2^48.
        return self._chance.pop() % bound

    def wake_at(self, when: float) -> None:
        """Set the timer that fires the deadlines of the gateway (`Environment.wake_at`)."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._fire)

    def suspend(
        self,
        work: Work,
        yielded: Any,  # noqa: ANN401 - whatever the coroutine yields
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Carry the coroutine on as a task (`core.runtime.serial.Suspend`)."""
        self._tasks.create_task(_carry_on(work, yielded, done, self.filter_running))

    def _fire(self) -> None:
        self._timer = None
        if self._gateway is not None:
            try:
                self._gateway.deadlines.fire(self.now())
            finally:  # a fault in one action must not stop the clock for all others
                self._rearm()

    def _rearm(self) -> None:
        if self._gateway is not None and (when := self._gateway.deadlines.next) is not None:
            self.wake_at(when)


@types.coroutine
def _rest_of(
    work: Work, yielded: object, filter_running: FilterRunning
) -> Generator[object, object, None]:
    """Run the rest of a coroutine whose first step was already taken."""
    while True:
        try:
            sent = yield yielded
        except BaseException as error:  # noqa: BLE001 - cancellation belongs to the coroutine
            step = partial(work.throw, error)
        else:
            step = partial(work.send, sent)
        try:
            yielded = filter_running.run(step)
        except StopIteration:
            return


async def _carry_on(
    work: Work,
    yielded: object,
    done: Callable[[BaseException | None], None],
    filter_running: FilterRunning,
) -> None:
    try:
        await _rest_of(work, yielded, filter_running)
    except FAULTS as error:  # told to the runner, which is the fence
        done(error)
    else:
        done(None)
