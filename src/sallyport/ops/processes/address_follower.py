"""Following the addresses of the host: a gateway that runs takes them as they are now."""

import asyncio
from collections.abc import Awaitable, Callable

from sallyport import limits
from sallyport.core.runtime.environment import Journal
from sallyport.errors import OperatorError
from sallyport.kernel.address_watch import AddressWatch
from sallyport.ops.interfaces import lasting_addresses

Follow = Callable[[], Awaitable[object]]
"""Let the gateway take the addresses that there are now; raises OperatorError."""


class AddressFollower:
    """Calls `follow` after the addresses have changed that others may know; one call at a time."""

    def __init__(self, follow: Follow, journal: Journal) -> None:
        """Note what there is now, in a running event loop; raises OSError, StartupError."""
        self._follow = follow
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._watch = AddressWatch()
        self._known = lasting_addresses()
        self._following: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._problem: str | None = None
        self._loop.add_reader(self._watch, self._changed)

    def close(self) -> None:
        """Follow no more; idempotent."""
        self._loop.remove_reader(self._watch)
        self._watch.close()
        if self._again is not None:
            self._again.cancel()
        if self._following is not None:
            self._following.cancel()

    def _changed(self) -> None:
        self._watch.drain()
        self._follow_soon()

    def _follow_soon(self) -> None:
        if self._following is None:
            self._following = self._loop.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Follow until nothing new is found: more may change meanwhile.

        What fails is said once, and tried again until it succeeds: what was in the way, such as a
        worker that was just being replaced, makes no change by which we would hear of it.
        """
        try:
            # A router that renews an IPv6 prefix changes no address, and the kernel tells of it.
            while (now := lasting_addresses()) != self._known:
                self._known = now
                await self._follow()
                addresses = sorted({str(one) for there in now.values() for one in there})
                self._journal.record("gateway.followed", addresses=", ".join(addresses))
            self._problem = None
        except OperatorError as error:
            self._known = {}
            self._note(str(error))
            self._again = self._loop.call_later(limits.FOLLOW_AGAIN_SECONDS, self._follow_soon)
        finally:
            self._following = None

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            self._journal.record("gateway.not_followed", level="error", problem=problem)
        self._problem = problem
