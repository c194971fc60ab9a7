"""Chain: the data filters of one flow, between its two sockets.

Client data passes the filters from the client's side to the server's, server data the other way.
All of them run on one runner, one call at a time: what a filter sends to its neighbour waits until
the filter has returned. Whoever holds the sockets reads nothing while the runner is busy, so what
is under way is one segment of each side and what filters made of it.
"""

from collections.abc import Callable
from enum import IntEnum
from math import isnan
from typing import TYPE_CHECKING

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.engine import Engine
from sallyport.core.pinholes.datapath import Link, StreamEnd
from sallyport.core.runtime.deadlines import Deadline
from sallyport.core.runtime.serial import SerialRunner, Work
from sallyport.errors import BadContext, InvalidArgument, OutOfResources
from sallyport.flags import Transport

if TYPE_CHECKING:
    from sallyport.core.model.connection import Connection
    from sallyport.core.model.factory import DataFilterFactory
    from sallyport.core.model.filter import DataFilter


class Priority(IntEnum):
    """Where in the chain a data filter sits, from the client's side to the server's
    (`FwxDataFilterPriorityClass`); within one class in order of attachment."""

    NAT = 0
    """Editors of addresses: the first to see what the client says, the last to touch what it
    hears."""
    INTERNAL = 1
    POST_TRUST = 2
    MIDDLE = 3
    """Scanners."""
    PRE_TRUST = 4
    EXTERNAL = 5
    EMULATION = 6
    """The source of the data: a filter in the slot of the server."""


class MissingEnd:
    """Stands for an end of a stream that is not there: of an emulated connection, or detached."""

    def send(self, data: bytes) -> None:
        """Drop the bytes."""

    def shutdown(self) -> None:
        """Do nothing: no host reads this end."""


MISSING_END = MissingEnd()


class Slot:
    """One data filter's slot in a chain, and its deadline."""

    __slots__ = ("_chain", "_deadline", "context", "data_filter", "owner", "priority")

    def __init__(
        self,
        chain: "Chain",
        data_filter: "DataFilter",
        priority: Priority,
        context: object,
        owner: str,
    ) -> None:
        self._chain = chain
        self._deadline: Deadline | None = None
        self.data_filter = data_filter
        self.priority = priority
        self.context = context
        self.owner = owner

    def set_deadline(self, seconds: float | None) -> None:
        """See `DataFilter.set_deadline`."""
        if not self._chain.is_begun and not self._chain.is_over:
            raise BadContext("the-connection-has-not-started")
        if seconds is not None and isnan(seconds):
            raise InvalidArgument("not-a-time")  # in order with nothing: no deadline would pass
        self.forget_deadline()
        if seconds is not None and not self._chain.is_over:
            self._deadline = self._chain.call_later(seconds, self._passed)

    def forget_deadline(self) -> None:
        """Have it never pass. Idempotent."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def reset(self) -> None:
        """See `DataFilter.reset`."""
        self._chain.reset()

    def close(self, explanation: str | None) -> None:
        """See `DataFilter.close`."""
        self._chain.close(explanation)

    def _passed(self) -> None:
        self._deadline = None
        self._chain.call(self, self.data_filter.deadline_passed)


class _Joint:
    """Between two neighbours: what one sends arrives at the other."""

    __slots__ = ("_chain", "_is_shut", "_is_upward", "_to")

    def __init__(self, chain: "Chain", to: Slot, *, is_upward: bool) -> None:
        self._chain = chain
        self._to = to
        self._is_upward = is_upward
        """Whether it leads towards the server."""
        self._is_shut = False

    def send(self, data: bytes) -> None:
        """See `StreamEnd`."""
        if self._is_shut or not (data or self._chain.is_datagrams):
            return
        if type(data) is not bytes:  # what the sender may still change, or is none: its own fault
            data = bytes(memoryview(data))
        to = self._to.data_filter
        self._chain.pass_on(self._to, to.from_client if self._is_upward else to.from_server, data)

    def shutdown(self) -> None:
        """See `StreamEnd`; datagrams have no end."""
        if not (self._is_shut or self._chain.is_datagrams):
            self._is_shut = True
            to = self._to.data_filter
            self._chain.call(self._to, to.client_closed if self._is_upward else to.server_closed)


class Chain:
    """The data filters of one flow (`datapath.Tap`).

    `is_client_dialled`: whether the socket that was dialled is the client's, as of a peer that
    arrived at a bound port; else it is the server's.
    """

    __slots__ = (
        "_connection",
        "_engine",
        "_factories",
        "_is_client_dialled",
        "_link",
        "_peer",
        "_runner",
        "_slots",
        "_under_way",
        "is_begun",
        "is_datagrams",
        "is_over",
    )

    def __init__(
        self,
        engine: Engine,
        connection: "Connection",
        peer: Endpoint,
        runner: SerialRunner,
        *,
        is_client_dialled: bool = False,
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._peer = peer
        self._runner = runner
        self._is_client_dialled = is_client_dialled
        self._slots: list[Slot] = []
        self._factories: list[DataFilterFactory] = []
        self._link: Link | None = None
        self._under_way = 0
        self.is_datagrams = connection.transport is Transport.UDP
        self.is_begun = False
        self.is_over = False

    # -- for whoever announces the connection -------------------------------------------------

    def attach(
        self, data_filter: "DataFilter", priority: Priority, context: object, owner: str
    ) -> None:
        """Give a filter its slot; raises BadContext when bytes pass already.

        Raises InvalidArgument for one that has, or had, a slot: two flows never meet in one; and
        for what is no priority.
        """
        if self.is_begun or self.is_over:
            raise BadContext("the-connection-has-started")
        if data_filter.slot is not None:
            raise InvalidArgument("data-filter-was-attached-already")
        if not isinstance(priority, Priority):
            raise InvalidArgument("not-a-priority")
        data_filter.slot = Slot(self, data_filter, priority, context, owner)
        self._slots.append(data_filter.slot)

    def attach_made(self, factory: "DataFilterFactory") -> None:
        """Give a slot to what a factory makes; it is used up when bytes begin to pass."""
        self.attach(factory.make(), factory.priority, factory.context, factory.owner)
        self._factories.append(factory)

    @property
    def is_empty(self) -> bool:
        """Whether nobody wants to see the bytes."""
        return not self._slots

    @property
    def data_filters(self) -> "tuple[DataFilter, ...]":
        """Every filter; once bytes pass, from the client's side to the server's."""
        return tuple(slot.data_filter for slot in self._slots)

    @property
    def is_passing(self) -> bool:
        """Whether filters have sent each other what was not taken yet."""
        return self._under_way > 0 and not self._runner.is_closed

    # -- for whoever holds the sockets (`datapath.Tap`) ----------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether something waits: nothing more should be read."""
        return self._runner.is_busy

    @property
    def on_idle(self) -> Callable[[], None]:
        """What is called when nothing waits any more: reading may go on."""
        return self._runner.on_idle

    @on_idle.setter
    def on_idle(self, action: Callable[[], None]) -> None:
        self._runner.on_idle = action

    def begin(self, link: Link, accepted: StreamEnd | None, dialled: StreamEnd | None) -> None:
        """Give every filter its two ends and start it; None where nobody is."""
        if self.is_over:
            return
        self.is_begun = True
        self._link = link
        client, server = accepted or MISSING_END, dialled or MISSING_END
        if self._is_client_dialled:
            client, server = server, client
        self._slots.sort(key=lambda slot: slot.priority)
        for factory in self._factories:
            factory.used()
        self._runner.run(self._start, (client, server))

    def from_accepted(self, data: bytes) -> None:
        """Take bytes of the socket that was accepted."""
        self._received(data, is_client=not self._is_client_dialled)

    def from_dialled(self, data: bytes) -> None:
        """Take bytes of the socket that was dialled."""
        self._received(data, is_client=self._is_client_dialled)

    def accepted_closed(self) -> None:
        """The socket that was accepted will say no more (FIN)."""
        self._closed(is_client=not self._is_client_dialled)

    def dialled_closed(self) -> None:
        """The socket that was dialled will say no more (FIN)."""
        self._closed(is_client=self._is_client_dialled)

    def flooded(self) -> None:
        """Blame whoever is running: it sent more than an end, or a neighbour, takes."""
        self._runner.fail(OutOfResources("filter-floods"), self._runner.owner)

    def end(self) -> None:
        """Detach every filter: the flow is over, or never came to be. Idempotent, never raises."""
        if self.is_over:
            return
        self.is_over = True
        self._runner.close()
        for slot in self._slots:
            slot.forget_deadline()
            self._engine.detach(slot.data_filter, self._connection.session, slot.owner)

    # -- inside -------------------------------------------------------------------------------

    def call(self, slot: Slot, method: Callable[..., Work], *data: bytes) -> None:
        """Run a filter's method in its turn."""
        self._runner.run(method, data, slot.owner)

    def pass_on(self, slot: Slot, take: Callable[[bytes], Work], data: bytes) -> None:
        """Have a neighbour take `data` in its turn; too much at once ends the session."""
        self._under_way += len(data)
        if self._under_way > limits.MAX_CHAIN_BYTES:
            self.flooded()
        else:
            self._runner.run(self._taken, (take, data), slot.owner)

    def reset(self) -> None:
        """Reset both sockets of this flow; idempotent, never raises."""
        if not self._connection.is_secondary:
            self._connection.kill("reset-by-filter")
        elif self._link is not None:
            self._link.abort()

    def close(self, explanation: str | None) -> None:
        """Close both sockets of this flow once all that was sent has left; idempotent."""
        self._connection.explanation = explanation or self._connection.explanation
        if not self._connection.is_secondary:
            assert self._connection.primary is not None  # noqa: S101 - it is its own
            self._connection.primary.close("closed-by-filter")
        elif self.is_passing:
            self._runner.run(self._close_in_turn)
        elif self._link is not None:
            self._link.close()

    def call_later(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """See `Gateway.call_later`."""
        return self._engine.call_later(seconds, action)

    async def _taken(self, take: Callable[[bytes], Work], data: bytes) -> None:
        self._under_way -= len(data)
        await take(data)

    async def _close_in_turn(self) -> None:
        """Close behind what the filters have sent each other."""
        self.close(None)

    async def _start(self, client: StreamEnd, server: StreamEnd) -> None:
        """Give all of them their ends before the first one may speak; any of them may end it."""
        slots = self._slots
        for i, slot in enumerate(slots):
            if self.is_over:
                return
            is_last = i == len(slots) - 1
            self._runner.owner = slot.owner
            slot.data_filter.set_sockets(
                _Joint(self, slots[i - 1], is_upward=False) if i else client,
                server if is_last else _Joint(self, slots[i + 1], is_upward=True),
                self._connection,
                self._peer,
                slot.context,
            )
        for slot in slots:
            if self.is_over:
                return
            self._runner.owner = slot.owner
            await slot.data_filter.started()

    def _received(self, data: bytes, *, is_client: bool) -> None:
        if not self.is_over:
            slot = self._slots[0 if is_client else -1]
            to = slot.data_filter
            self._runner.run(to.from_client if is_client else to.from_server, (data,), slot.owner)

    def _closed(self, *, is_client: bool) -> None:
        if not self.is_over:
            slot = self._slots[0 if is_client else -1]
            to = slot.data_filter
            self.call(slot, to.client_closed if is_client else to.server_closed)
