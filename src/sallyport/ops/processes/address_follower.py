"""Following the addresses of the host: a gateway that runs takes them as they are now."""

import asyncio
from collections.abc import Awaitable, Callable

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
        self._loop.add_reader(self._watch, self._changed)

    def close(self) -> None:
        """Follow no more; idempotent."""
        self._loop.remove_reader(self._watch)
        self._watch.close()
        if self._following is not None:
            self._following.cancel()

    def _changed(self) -> None:
        self._watch.drain()
        if self._following is None:
            self._following = self._loop.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Follow until nothing new is found: more may change meanwhile.

        What fails is tried again with the next change.
        """
        try:
            # A router that renews an IPv6 prefix changes no address, and the kernel tells of it.
            while (now := lasting_addresses()) != self._known:
                self._known = now
                await self._follow()
                addresses = sorted({str(one) for there in now.values() for one in there})
                self._journal.record("gateway.followed", addresses=", ".join(addresses))
        except OperatorError as error:
            self._known = {}
            self._journal.record("gateway.not_followed", level="error", problem=str(error))
        finally:
            self._following = None
