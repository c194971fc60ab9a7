"""Chain: the data filters of one flow, between its two sockets.

Client data passes the filters from the client's side to the server's, server data the other way.
All filters of a chain run on one `SerialRunner`, one call at a time: what a filter sends to its
neighbour is queued until the filter has returned.

How a chain is fed, and why its memory is bounded: the holder of the two sockets (`io` or `relay`)
passes one segment to `from_accepted` or `from_dialled` and reads no more while `is_busy`. `on_idle`
tells it to read on. So at most one segment of each side, and what the filters made of it, is under
way; `limits.MAX_CHAIN_BYTES` bounds what a filter can make of it.
"""

from collections.abc import Callable
from enum import IntEnum
from math import isnan
from typing import TYPE_CHECKING

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import OCTETS, require
from sallyport.core.model.engine import Engine
from sallyport.core.model.transcript import Hop, Witness, watched
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
    """The place of a data filter in the chain, from the client's side to the server's
    (`FwxDataFilterPriorityClass`); within one class in order of attachment."""

    NAT = 0
    """Editors of addresses: the first to see what the client sends, the last to edit what it
    receives."""
    INTERNAL = 1
    POST_TRUST = 2
    MIDDLE = 3
    """Scanners."""
    PRE_TRUST = 4
    EXTERNAL = 5
    EMULATION = 6
    """The source of the data: a filter that takes the place of the server."""


class MissingEnd:
    """Stands for an end without a socket: of an emulated flow, or before `set_sockets`."""

    def send(self, data: bytes) -> None:
        """Drop the bytes."""

    def shutdown(self) -> None:
        """Do nothing: no host reads at this end."""


MISSING_END = MissingEnd()


class Slot:
    """One data filter's slot in a chain, and its deadline."""

    __slots__ = (
        "_chain",
        "_deadline",
        "context",
        "data_filter",
        "holds_client",
        "holds_server",
        "owner",
        "priority",
    )

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
        self.holds_client = False
        self.holds_server = False
        self.data_filter = data_filter
        self.priority = priority
        self.context = context
        self.owner = owner

    def set_deadline(self, seconds: float | None) -> None:
        """Implement `DataFilter.set_deadline`; raises as it does."""
        if not self._chain.is_begun and not self._chain.is_over:
            raise BadContext("the-connection-has-not-started")
        if seconds is not None and isnan(seconds):
            # NaN compares as False with every time: it would break the order of the heap.
            raise InvalidArgument("not-a-time")
        self.forget_deadline()
        if seconds is not None and not self._chain.is_over:
            self._deadline = self._chain.call_later(seconds, self._passed)

    def hold_client(self, *, is_held: bool) -> None:
        """Implement `DataFilter.hold_client`."""
        if is_held is not self.holds_client:
            self.holds_client = is_held
            self._chain.hold()

    def hold_server(self, *, is_held: bool) -> None:
        """Implement `DataFilter.hold_server`."""
        if is_held is not self.holds_server:
            self.holds_server = is_held
            self._chain.hold()

    def forget_deadline(self) -> None:
        """Cancel the deadline. Idempotent."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def reset(self) -> None:
        """Implement `DataFilter.reset`."""
        self._chain.reset()

    def close(self, explanation: str | None) -> None:
        """Implement `DataFilter.close`."""
        self._chain.close(explanation)

    def _passed(self) -> None:
        self._deadline = None
        self._chain.call(self, self.data_filter.deadline_passed)


class _Joint:
    """The stream end between two neighbours: what one filter sends, the other one receives."""

    __slots__ = ("_chain", "_is_shut", "_is_upward", "_to")

    def __init__(self, chain: "Chain", to: Slot, *, is_upward: bool) -> None:
        self._chain = chain
        self._to = to
        self._is_upward = is_upward
        """Whether it carries data towards the server."""
        self._is_shut = False

    def send(self, data: bytes) -> None:
        """Implement `StreamEnd`: pass bytes to the neighbour. An empty datagram is one, too."""
        if self._is_shut or not (data or self._chain.is_datagrams):
            return
        if type(data) is not bytes:
            require("data", data, OCTETS)
            data = bytes(data)  # a buffer that the sender may still change
        to = self._to.data_filter
        self._chain.pass_on(self._to, to.from_client if self._is_upward else to.from_server, data)

    def shutdown(self) -> None:
        """Implement `StreamEnd`: pass the half-close on, once. Datagrams have no end."""
        if not (self._is_shut or self._chain.is_datagrams):
            self._is_shut = True
            to = self._to.data_filter
            self._chain.call(self._to, to.client_closed if self._is_upward else to.server_closed)


class Chain:
    """The data filters of one flow; implements `datapath.Tap`.

    `is_client_dialled`: True when the dialled socket is the client's (a peer connected to a bound
    port), False when it is the server's.

    A chain has three phases: filters are attached; `begin` sorts them by priority and gives them
    their ends, after which none can be added; `end` detaches all of them, whether it began or not.
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
        "_witness",
        "holds_accepted",
        "holds_dialled",
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
        self._witness: Witness | None = None
        self.holds_accepted = False
        self.holds_dialled = False
        self.is_datagrams = connection.transport is Transport.UDP
        self.is_begun = False
        self.is_over = False

    # -- for the dispatcher, before the flow begins -------------------------------------------

    def attach(
        self, data_filter: "DataFilter", priority: Priority, context: object, owner: str
    ) -> None:
        """Add a data filter. `owner` is the name of the application filter whose fault it may be.

        Raises BadContext when the flow has begun or is over; InvalidArgument for a data filter
        that has, or had, a slot: one data filter serves one flow.
        """
        if self.is_begun or self.is_over:
            raise BadContext("the-connection-has-started")
        if data_filter.slot is not None:
            raise InvalidArgument("data-filter-was-attached-already")
        data_filter.slot = Slot(self, data_filter, priority, context, owner)
        self._slots.append(data_filter.slot)

    def attach_made(self, factory: "DataFilterFactory") -> None:
        """Add the data filter that a factory makes; the factory is used up when the flow begins."""
        self.attach(factory.make(), factory.priority, factory.context, factory.owner)
        self._factories.append(factory)

    @property
    def is_empty(self) -> bool:
        """Whether no data filter is attached: the bytes can pass without a chain."""
        return not self._slots

    @property
    def data_filters(self) -> "tuple[DataFilter, ...]":
        """Every data filter; once the flow has begun, from the client's side to the server's."""
        return tuple(slot.data_filter for slot in self._slots)

    @property
    def is_passing(self) -> bool:
        """Whether bytes that one filter sent to another are still queued."""
        return self._under_way > 0 and not self._runner.is_closed

    @property
    def is_watched(self) -> bool:
        """Whether a witness is notified."""
        return self._witness is not None

    def watch(self, witness: Witness | None) -> None:
        """Notify `witness` of what passes both ends from now on; None: of nothing any more."""
        self._witness = witness
        if self.is_begun and not self.is_over:
            first, last = self._slots[0].data_filter, self._slots[-1].data_filter
            first.client = watched(first.client, witness, Hop.CLIENT_HEARS)
            last.server = watched(last.server, witness, Hop.SERVER_HEARS)

    # -- for the holder of the sockets (`datapath.Tap`) ---------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a filter's call runs or waits: the holder of the sockets reads nothing more."""
        return self._runner.is_busy

    @property
    def on_idle(self) -> Callable[[], None]:
        """The function that is called when the queue is empty again: reading may go on."""
        return self._runner.on_idle

    @on_idle.setter
    def on_idle(self, action: Callable[[], None]) -> None:
        self._runner.on_idle = action

    def begin(self, link: Link, accepted: StreamEnd | None, dialled: StreamEnd | None) -> None:
        """Pass every filter its two ends and start it; None for an end without a socket."""
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
        """Take bytes that arrived on the accepted socket."""
        self._received(data, is_client=not self._is_client_dialled)

    def from_dialled(self, data: bytes) -> None:
        """Take bytes that arrived on the dialled socket."""
        self._received(data, is_client=self._is_client_dialled)

    def accepted_closed(self) -> None:
        """Take the end of the accepted socket's data (FIN)."""
        self._closed(is_client=not self._is_client_dialled)

    def dialled_closed(self) -> None:
        """Take the end of the dialled socket's data (FIN)."""
        self._closed(is_client=self._is_client_dialled)

    def flooded(self) -> None:
        """Blame the filter that runs: it sent more than a socket, or its neighbour, takes."""
        self._runner.fail(OutOfResources("filter-floods"), self._runner.owner)

    def end(self) -> None:
        """Detach every filter: the flow is over, or never began. Idempotent, never raises."""
        if self.is_over:
            return
        self.is_over = True
        self._runner.close()
        for slot in self._slots:
            slot.forget_deadline()
            connection = self._connection
            self._engine.detach(
                slot.data_filter, connection.session, slot.owner, connection.primary
            )

    # -- inside -------------------------------------------------------------------------------

    def call(self, slot: Slot, method: Callable[..., Work], *data: bytes) -> None:
        """Call a filter's method, behind the calls that are queued already."""
        self._runner.run(method, data, slot.owner)

    def hold(self) -> None:
        """Note which sockets are to be read, after a filter has changed its mind."""
        client = any(slot.holds_client for slot in self._slots)
        server = any(slot.holds_server for slot in self._slots)
        held = (server, client) if self._is_client_dialled else (client, server)
        if held != (self.holds_accepted, self.holds_dialled):
            self.holds_accepted, self.holds_dialled = held
            self._runner.report()

    def pass_on(self, slot: Slot, take: Callable[[bytes], Work], data: bytes) -> None:
        """Queue `data` for a neighbour; more than `limits.MAX_CHAIN_BYTES` is a fault."""
        self._under_way += len(data)
        if self._under_way > limits.MAX_CHAIN_BYTES:
            self.flooded()
        else:
            self._runner.run(self._taken, (take, data), slot.owner)

    def reset(self) -> None:
        """Reset both sockets of this flow; idempotent, never raises.

        A primary connection is more than its flow: it ends with all that was opened for it.
        """
        if not self._connection.is_secondary:
            self._connection.kill("reset-by-filter")
        elif self._link is not None:
            self._link.abort()

    def close(self, explanation: str | None) -> None:
        """Close both sockets of this flow once everything sent has left; idempotent.

        What the filters sent each other counts as sent, so the close queues behind it.
        """
        self._connection.explanation = explanation or self._connection.explanation
        if not self._connection.is_secondary:
            assert self._connection.primary is not None  # noqa: S101 - it is its own
            self._connection.primary.close("closed-by-filter")
        elif self.is_passing:
            self._runner.run(self._close_in_turn)
        elif self._link is not None:
            self._link.close()

    def call_later(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """Register `action` to be called after `seconds`; returns its deadline."""
        return self._engine.call_later(seconds, action)

    async def _taken(self, take: Callable[[bytes], Work], data: bytes) -> None:
        self._under_way -= len(data)
        await take(data)

    async def _close_in_turn(self) -> None:
        """Close, when every call that was queued before has run."""
        self.close(None)

    async def _start(self, client: StreamEnd, server: StreamEnd) -> None:
        """Pass all filters their ends, then start them one by one.

        Two loops, because `started` may send: the neighbour must have its ends by then. Any filter
        may end the flow from within its call, hence the checks.
        """
        slots = self._slots
        if self._witness is not None:
            client = watched(client, self._witness, Hop.CLIENT_HEARS)
            server = watched(server, self._witness, Hop.SERVER_HEARS)
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
            if self._witness is not None:
                self._witness.passed(Hop.CLIENT_SAYS if is_client else Hop.SERVER_SAYS, data)
            slot = self._slots[0 if is_client else -1]
            to = slot.data_filter
            self._runner.run(to.from_client if is_client else to.from_server, (data,), slot.owner)

    def _closed(self, *, is_client: bool) -> None:
        if not self.is_over:
            slot = self._slots[0 if is_client else -1]
            to = slot.data_filter
            self.call(slot, to.client_closed if is_client else to.server_closed)
