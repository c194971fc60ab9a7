"""Reload: the configuration file is read again, and a running gateway takes what it now says.

All of it or nothing: a file with a mistake, or one that asks for what only a start can do, changes
nothing. Sessions under way keep their filters and what they opened.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sallyport.core.runtime.environment import Journal
from sallyport.errors import ConfigErrors, OperatorError
from sallyport.ops.control.schema import Reloaded, mistakes_of

Replace = Callable[[], Awaitable[list[str]]]
"""Read the file and have the gateway take it; return the names of the filters that run."""


class NoSource(OperatorError):
    """The gateway was started without a file."""

    code = "no-configuration-file"


class NotReady(OperatorError):
    """The gateway is not put together yet, or is being taken apart."""

    code = "not-ready"


class Reloader:
    """Reloads one gateway, for the control socket and for SIGHUP; between `open` and `close`."""

    def __init__(self, file: Path | None, replace: Replace, journal: Journal) -> None:
        """`file` None: the gateway was started without one."""
        self._file = file
        self._replace = replace
        self._journal = journal
        self._is_open = False
        self._is_due = False
        self._by_signal: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter(success=0, failure=0)
        """How many reloads there were, by how they ended."""
        self.has_succeeded = True
        """Whether the last one did; the start counts as one."""
        self.succeeded_at = time.time()

    def open(self) -> None:
        """From now on there is a gateway; one signal that came before is obeyed now."""
        self._is_open = True
        if self._is_due:
            self.on_signal()

    def close(self) -> None:
        """Reload no more: what a reload sets up would outlive the gateway. Idempotent."""
        self._is_open = False

    async def answer(self, _arguments: Mapping[str, object]) -> Reloaded:
        """Answer `reload`: mistakes in the file are an answer too.

        Raises NotReady, NoSource, StartupError, or what a worker says (RestartNeeded among it);
        whatever is wrong, nothing has changed.
        """
        file = "" if self._file is None else str(self._file)
        try:
            filters = await self._reload()
        except Exception as error:
            self.counts["failure"] += 1
            self.has_succeeded = False
            for line in str(error).splitlines() or [repr(error)]:
                self._journal.record("gateway.reload_refused", level="error", problem=line)
            if isinstance(error, ConfigErrors):
                return Reloaded(
                    file=file, valid=False, errors=mistakes_of(error.errors), filters=[]
                )
            raise
        self.counts["success"] += 1
        self.has_succeeded, self.succeeded_at = True, time.time()
        self._journal.record("gateway.reloaded", file=file, filters=", ".join(filters))
        return Reloaded(file=file, valid=True, errors=[], filters=filters)

    async def _reload(self) -> list[str]:
        if not self._is_open:
            raise NotReady("the gateway is starting or stopping; ask again when it runs")
        if self._file is None:
            raise NoSource(
                "this gateway was started without a file, so there is none to read again; restart"
                " it with --config FILE"
            )
        return await self._replace()

    def on_signal(self) -> None:
        """Reload for a caller that gets no answer: what is wrong is in the journal."""
        if not self._is_open:
            self._is_due = True
            return
        task = asyncio.get_running_loop().create_task(self._answer_nobody())
        self._by_signal.add(task)
        task.add_done_callback(self._by_signal.discard)

    async def _answer_nobody(self) -> None:
        with suppress(Exception):  # a fence: `answer` has written it down
            await self.answer({})
