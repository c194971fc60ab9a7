"""Coroutines that run at once, and become tasks when they wait."""

import asyncio

import pytest

from sallyport.io import eager


def test_what_does_not_wait_is_done_when_the_call_returns() -> None:
    async def scenario() -> None:
        done: list[str] = []

        async def work() -> None:
            done.append("all of it")

        async with asyncio.TaskGroup() as tasks:
            eager.start(tasks, work())
            assert done == ["all of it"]

    asyncio.run(scenario())


def test_what_waits_goes_on_as_a_task_and_may_use_all_that_tasks_may() -> None:
    async def scenario() -> None:
        done: list[object] = []
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            done.append(await answer)
            async with asyncio.timeout(10):
                await asyncio.sleep(0)
            done.append("the rest")

        async with asyncio.TaskGroup() as tasks:
            eager.start(tasks, work())
            assert done == []
            answer.set_result("the first part")
        assert done == ["the first part", "the rest"]

    asyncio.run(scenario())


def test_it_may_catch_what_it_waits_for() -> None:
    async def scenario() -> None:
        caught: list[str] = []
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await answer
            except OSError as error:
                caught.append(str(error))

        async with asyncio.TaskGroup() as tasks:
            eager.start(tasks, work())
            answer.set_exception(OSError("gone"))
        assert caught == ["gone"]

    asyncio.run(scenario())


def test_what_it_raises_at_once_is_the_callers() -> None:
    async def scenario() -> None:
        async def work() -> None:
            raise OSError("at once")

        async with asyncio.TaskGroup() as tasks:
            with pytest.raises(OSError, match="at once"):
                eager.start(tasks, work())

    asyncio.run(scenario())


def test_it_is_cancelled_with_its_tasks() -> None:
    async def scenario() -> None:
        cleaned: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append("up")

        async def all_of_it() -> None:
            async with asyncio.TaskGroup() as tasks:
                eager.start(tasks, work())

        whole = asyncio.ensure_future(all_of_it())
        await asyncio.sleep(0)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole
        assert cleaned == ["up"]

    asyncio.run(scenario())
