"""Coroutines that seldom wait: run at once, and become a task only when they do."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


def start(tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` as far as it goes without waiting; `tasks` has the rest of it, if there is any.

    That is a tenth of what a task costs. Until it waits no task is current: `asyncio.timeout` and
    the like belong behind the first wait, or into a task. What it raises before is raised here.
    """
    try:
        yielded = work.send(None)
    except StopIteration:
        return
    tasks.create_task(_finish(work, yielded))


async def _finish(work: Coroutine[Any, Any, None], yielded: object) -> None:
    await _rest_of(work, yielded)


@types.coroutine
def _rest_of(work: Coroutine[Any, Any, None], yielded: object) -> Generator[object, object, None]:
    while True:
        try:
            sent = yield yielded
        except BaseException as error:  # noqa: BLE001 - cancellation belongs to the coroutine
            step = partial(work.throw, error)
        else:
            step = partial(work.send, sent)
        try:
            yielded = step()
        except StopIteration:
            return
