import asyncio
from collections.abc import Coroutine
from itertools import count

import pytest

from sallyport.core.runtime.deadlines import Deadlines
from sallyport.core.runtime.serial import FilterStuck, SerialRunner
from sallyport.ops.watchdog import Watchdog
from sallyport.ops.world import AsyncWorld
from sallyport.testing import MemoryJournal, make_gateway


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=5))


def test_a_waiting_coroutine_is_carried_on_and_the_next_one_waits_for_it() -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(MemoryJournal(), tasks)
            order: list[str] = []
            faults: list[BaseException] = []
            runner = SerialRunner(
                world.suspend, world.filter_running, lambda error, _: faults.append(error)
            )
            gate = asyncio.get_running_loop().create_future()

            async def first() -> None:
                order.append("first waits")
                order.append(await gate)

            async def second() -> None:
                order.append("second runs")

            idle = asyncio.Event()
            runner.on_idle = idle.set
            runner.run(first)
            runner.run(second)
            assert order == ["first waits"]
            assert runner.is_busy

            gate.set_result("first goes on")
            await idle.wait()

            assert order == ["first waits", "first goes on", "second runs"]
            assert faults == []

    run(scenario())


def test_what_a_waiting_coroutine_raises_reaches_the_runner() -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(MemoryJournal(), tasks)
            failed = asyncio.get_running_loop().create_future()
            runner = SerialRunner(
                world.suspend, world.filter_running, lambda error, _: failed.set_result(error)
            )
            gate = asyncio.get_running_loop().create_future()

            async def work() -> None:
                await gate
                raise ValueError("after waiting")

            runner.run(work)
            gate.set_result(None)

            assert str(await failed) == "after waiting"

    run(scenario())


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1)])
def test_x07_nothing_a_waiting_coroutine_raises_ends_more_than_its_runner(
    error: BaseException,
) -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(MemoryJournal(), tasks)
            failed = asyncio.get_running_loop().create_future()
            runner = SerialRunner(
                world.suspend, world.filter_running, lambda error, _: failed.set_result(error)
            )

            async def work() -> None:
                await asyncio.sleep(0)
                raise error

            runner.run(work)

            assert await failed is error

    run(scenario())


def test_x07_a_filter_that_loops_after_it_waited_is_cut_too() -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(MemoryJournal(), tasks)
            failed = asyncio.get_running_loop().create_future()
            runner = SerialRunner(
                world.suspend, world.filter_running, lambda error, _: failed.set_result(error)
            )
            watchdog = Watchdog(world.filter_running, seconds=0.02)
            watchdog.start()

            async def work() -> None:
                await asyncio.sleep(0)
                for _ in count():
                    pass

            runner.run(work)
            assert type(await failed) is FilterStuck
            watchdog.stop()

    run(scenario())


def test_deadlines_fire_at_their_time_and_earlier_ones_first() -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(MemoryJournal(), tasks)
            gateway, _, _ = make_gateway()
            gateway.deadlines = Deadlines(world.wake_at)
            world.drive(gateway)
            fired: list[str] = []
            done = asyncio.Event()
            now = world.now()

            def late() -> None:
                fired.append("late")
                done.set()

            gateway.deadlines.set(now + 0.02, late)
            gateway.deadlines.set(now + 0.01, lambda: fired.append("early"))

            await done.wait()

            assert fired == ["early", "late"]

    run(scenario())


def test_chance_stays_below_its_bound_and_reaches_every_value() -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            world = AsyncWorld(MemoryJournal(), tasks)

            assert {world.random_below(4) for _ in range(500)} == {0, 1, 2, 3}

    run(scenario())
