"""Brings what operators ask to the workers whom it concerns, and their answers together."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from msgspec import Raw

from sallyport import limits
from sallyport.errors import NotFound, OperatorError
from sallyport.ops.control.feed import Feed
from sallyport.ops.processes import merge
from sallyport.ops.processes.member import Member, WorkerLost
from sallyport.ops.processes.messages import Ask, Follow


class CommandRouter:
    """The commands and streams of one fleet."""

    def __init__(self, members: Mapping[int, Member]) -> None:
        """`members` has the workers of the fleet, by number, as they come and go."""
        self._members = members
        # What is followed now, and of which worker; None is all.
        self._streams: dict[Feed, tuple[int | None, Follow]] = {}

    async def ask(self, command: str, arguments: Mapping[str, object]) -> tuple[object, list[int]]:
        """Return the answer of the workers whom a request concerns, and which of them gave none.

        Raises the error that they answer with, WorkerLost when none answers.
        """
        one = merge.destination(command, arguments, self._sharing())
        if one is not None:
            return await self._ask_one(one, Ask(command, dict(arguments))), []
        answers = await self.ask_each(command, arguments)
        if not answers:
            raise WorkerLost("no worker answers; ask again in a few seconds")
        serving = [number for number, member in self._members.items() if member.is_serving]
        silent = [number for number in serving if number not in answers]
        return merge.merge(command, list(answers.values())), silent

    async def ask_each(self, command: str, arguments: Mapping[str, object]) -> dict[int, Raw]:
        """Return the answer of each worker that gives one, by its number.

        Raises the error that one of them answers with.
        """
        body = Ask(command, dict(arguments))
        # One that starts knows no command yet.
        members = [member for member in self._members.values() if member.is_serving]
        asked = [member.ask(body, Raw, seconds=limits.WORKER_ANSWER_SECONDS) for member in members]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, WorkerLost):
                raise answer
        return {
            member.number: answer
            for member, answer in zip(members, answers, strict=True)
            if isinstance(answer, Raw)
        }

    async def stream(self, command: str, arguments: Mapping[str, object], feed: Feed) -> None:
        """Let the workers whom a stream concerns tell it to `feed`, later ones included.

        Raises the error that they answer with, NotFound for a worker that is not there. One that
        gives no answer is left out.
        """
        concerns = merge.destination(command, arguments, self._sharing())
        worker = None if concerns is None else concerns.number
        self._require(worker)
        body = Follow(command, dict(arguments))
        self._streams[feed] = worker, body
        feed.at_end(partial(self._streams.pop, feed))
        serving = [one for one in self._members.values() if one.is_serving]
        asked = [one.follow(body, feed) for one in serving if worker in {None, one.number}]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, WorkerLost):
                raise answer

    async def join(self, member: Member) -> None:
        """Ask a worker that has just begun to serve for what is followed."""
        for feed, (worker, body) in tuple(self._streams.items()):
            if worker in {None, member.number}:
                with suppress(OperatorError):  # its session has ended with the process before it
                    await member.follow(body, feed)

    def _require(self, worker: int | None) -> None:
        if worker is not None and worker not in self._members:
            raise NotFound(f"no worker {worker}; `status` lists them")

    def _sharing(self) -> int:
        """Return how many workers share the clients; at least one."""
        return sum(not member.is_outgoing for member in self._members.values()) or 1

    async def _ask_one(self, concerned: merge.Destination, body: Ask) -> object:
        self._require(concerned.number)
        serving = [one for one in self._members.values() if one.is_serving]
        # What is the same for all is answered by those that have the clients.
        serving.sort(key=lambda one: one.is_outgoing)
        for member in serving:
            if concerned.number not in {None, member.number}:
                continue
            # An outgoing worker has the share that it had.
            if concerned.index not in {None, member.index}:
                continue
            with suppress(WorkerLost):
                return await member.ask(body, Raw, seconds=limits.WORKER_ANSWER_SECONDS)
        raise WorkerLost("no worker answers; ask again in a few seconds")
