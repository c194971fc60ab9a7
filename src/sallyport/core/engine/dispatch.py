"""EventDispatcher: notifies filters of events and takes their answer: attach, deny, or nothing.

Fail closed: in an event that a filter may deny, a filter that fails or is switched off has denied.

Two kinds of caller need two ways of waiting. `bind_for_client` runs in a filter's coroutine, so a
bind awaits the other filters' answers. A flow comes from a data path, which cannot wait: filters
are queued on the connection's runner, and the last call in the queue lets the flow go on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Chain
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.engine import Engine
from sallyport.core.model.event_context import EventContext
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    ConnectionTerminating,
    ConnectTcp,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.model.factory import BindFactory, DataFilterFactory
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.model.filter_set import attached
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import Arrival
from sallyport.core.runtime.serial import FAULTS, SerialRunner, waited_too_long
from sallyport.errors import AddressInUse, Terminating
from sallyport.flags import Transport

if TYPE_CHECKING:
    from sallyport.core.model.binding import Binding

_Secondary = SecondaryConnection | FutureConnection
_TCP = Transport.TCP


class EventDispatcher:
    """The one place that notifies filters; the Ledger notifies the caller of a bind."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- binds --------------------------------------------------------------------------------

    async def ask_about_bind(self, binding: "Binding") -> None:
        """Notify filters of a bind that is about to open (BindTcp, BindUdp), then of Listen (TCP).

        Raises AddressInUse when a filter denies, the SDK's code for it (WSAEADDRINUSE), and
        Terminating when the binding ended while filters were asked.
        """
        subscribers_to, protocol = binding.session.filter_set.subscribers, binding.protocol
        is_tcp = binding.transport is _TCP
        event = BindTcp if is_tcp else BindUdp
        if subscribers := subscribers_to(binding.session, event, protocol, is_secondary=True):
            await self._notify_of_bind(subscribers, binding, event, may_deny=True)
        if is_tcp and (
            subscribers := subscribers_to(binding.session, Listen, protocol, is_secondary=True)
        ):
            await self._notify_of_bind(subscribers, binding, Listen, may_deny=False)

    async def _notify_of_bind(
        self,
        subscribers: Sequence[ApplicationFilter],
        binding: "Binding",
        event: type[BindTcp] | type[BindUdp] | type[Listen],
        *,
        may_deny: bool,
    ) -> None:
        session = binding.session
        for one in subscribers:
            if session.filters.get(one.name) is binding.session_filter is not None:
                continue
            is_denied = self._engine.is_off(one.name, session, binding.primary)
            for connection in () if is_denied else binding.connections:
                is_for_many = not connection.pinhole.single
                context = EventContext(one.name, None, is_for_many=is_for_many)
                connection.event_context = context if may_deny else None
                try:
                    has_failed = not await self._notify_of_port(one, connection, event)
                    is_denied = is_denied or has_failed or context.is_denied
                finally:
                    connection.event_context = None
                if connection.is_closed:
                    break
                session.factories += (
                    BindFactory(connection, *ordered, one.name) for ordered in context.ordered
                )
            if is_denied and may_deny:
                self._engine.bind_denied(binding, one.name)
                raise AddressInUse("denied-by-filter")
            if any(connection.is_closed for connection in binding.connections):
                raise Terminating("ended-while-filters-were-asked")

    async def _notify_of_port(
        self,
        one: ApplicationFilter,
        connection: SecondaryConnection,
        event: type[BindTcp] | type[BindUdp] | type[Listen],
    ) -> bool:
        """Notify one filter of one port; return whether it answered without a fault.

        The filter that called `bind_for_client` waits too, and has a time limit of its own. This
        limit passes before that one, so that the filter that does not answer is blamed; what the
        caller works for ends with the bind, for it goes on waiting.
        """
        engine, session = self._engine, connection.session

        def give_up() -> None:
            error = waited_too_long(limits.FILTER_WAIT_SECONDS)
            engine.filter_failed(connection.primary or connection, error, one.name)

        limit = engine.call_later(limits.FILTER_WAIT_SECONDS, give_up)
        try:
            parameters = session.filter_set.parameters[one.name]
            await attached(session, one).on_event(event(connection, parameters=parameters))
        except FAULTS as error:  # a fence: what a filter raises stays here
            if connection.is_closed:
                return True
            engine.filter_failed(connection, error, one.name)
            return False
        finally:
            limit.cancel()
        return True

    # -- flows --------------------------------------------------------------------------------

    def primary_starts(self, primary: PrimaryConnection, ready: Callable[[], None]) -> None:
        """Notify filters of a primary connection; `ready` is called when all have answered.

        `ready` is never called when a filter denies: the connection is then over.
        """
        is_udp = primary.transport is Transport.UDP
        event: type[Event] = UdpDestination if is_udp else ConnectTcp
        session, chain = primary.session, primary.chain
        subscribers = session.filter_set.subscribers(
            session, event, primary.protocol, is_secondary=False
        )

        if not (subscribers or session.factories):
            ready()
            return

        def deny(name: str) -> None:
            primary.note("connect.denied", level="warning", reason="denied-by-filter", filter=name)
            primary.kill("denied-by-filter")

        flow = _Flow(primary, primary.peer, chain, event, deny, ready)
        factories = [one for one in session.factories if one.fits(event, primary.peer, None)]
        self._ask_in_turn(primary.runner, flow, subscribers, factories)

    def ask_about_flow(
        self,
        connection: _Secondary,
        peer: Endpoint,
        arrival: Arrival,
        play_peer: Callable[[Chain], None] | None = None,
    ) -> None:
        """Notify filters of a peer in user mode, and answer its arrival.

        `play_peer` attaches the data filter that plays the peer (emulation).
        """
        session, event = connection.session, resulting_event(connection)
        remote, bound = _ends(connection, peer)
        subscribers = session.filter_set.subscribers(
            session, event, connection.protocol, is_secondary=connection.is_secondary
        )
        factories = [one for one in session.factories if one.fits(event, remote, bound)]
        if not (subscribers or factories or play_peer):
            arrival.proceed(None)
            return
        if len(connection.asked_about) >= connection.pinhole.max_flows:
            # A peer may leave while it waits, and the data path then forgets it. Without this bound
            # peers that come and go could queue chains without end.
            self._engine.flow_turned_away(connection, peer)
            arrival.refuse()
            return
        chain = self._chain_to(connection, remote)
        if play_peer is not None:
            play_peer(chain)

        def deny(name: str) -> None:
            self._engine.flow_denied(connection, peer, name)
            connection.asked_about.remove(chain)
            chain.end()
            arrival.refuse()

        def go_on() -> None:
            connection.asked_about.remove(chain)
            arrival.proceed(None if chain.is_empty else chain)

        # One runner for all arrivals, so one at a time: a connection has one event context, and
        # what a filter attaches belongs to the flow that it is asked about.
        if connection.runner is None:
            connection.runner = self._engine.new_runner(connection)
        flow = _Flow(connection, remote, chain, event, deny, go_on)
        self._ask_in_turn(connection.runner, flow, subscribers, factories)

    def _chain_to(self, connection: _Secondary, remote: Endpoint) -> Chain:
        """Return a new chain for a flow that filters are about to be asked about."""
        chain = Chain(
            self._engine,
            connection,
            remote,
            self._engine.new_runner(connection),
            is_client_dialled=isinstance(connection, SecondaryConnection),
        )
        connection.asked_about.append(chain)
        return chain

    def _ask_in_turn(
        self,
        runner: SerialRunner,
        flow: "_Flow",
        subscribers: Sequence[ApplicationFilter],
        factories: Sequence[DataFilterFactory],
    ) -> None:
        """Queue on the runner: every filter, then the factories' data filters, then the flow.

        A filter that denies ends the chain, and each later call in the queue finds it over.
        """
        for one in subscribers:
            runner.run(self._ask, (one, flow), one.name)
        for factory in factories:
            runner.run(_attach_made, (flow.chain, factory), factory.owner)
        runner.run(_go_on, (flow,))

    @staticmethod
    def ask_no_more(connection: _Secondary) -> None:
        """Drop every peer that waits for the filters' answer: the connection is over."""
        if connection.runner is not None:
            connection.runner.close()
            connection.runner = None  # it knows the connection: a cycle
        while connection.asked_about:
            connection.asked_about.pop().end()

    async def _ask(self, one: ApplicationFilter, flow: "_Flow") -> None:
        if flow.chain.is_over:
            return
        session = flow.connection.session
        if self._engine.is_off(one.name, session, flow.connection.primary):
            flow.deny(one.name)
            return
        context = flow.connection.event_context = EventContext(one.name, flow.chain)
        try:
            session_filter = attached(session, one)
            await session_filter.on_event(flow.announced(session.filter_set.parameters[one.name]))
        finally:
            flow.connection.event_context = None
        if context.is_denied and not flow.chain.is_over:
            flow.deny(one.name)

    # -- ends ---------------------------------------------------------------------------------

    def announce_end(
        self, connection: PrimaryConnection | _Secondary, event: ConnectionTerminating
    ) -> None:
        """Notify the filters that registered for the end of connections and are attached already.

        The caller of the bind or permission is left out: the ledger notifies it.
        """
        session = connection.session
        subscribers = session.filter_set.subscribers(
            session, ConnectionTerminating, event.protocol, is_secondary=connection.is_secondary
        )
        caller = None if isinstance(connection, PrimaryConnection) else connection.session_filter
        for one in subscribers:
            session_filter = session.filters.get(one.name)
            if session_filter is not None and session_filter is not caller:
                runner = self._engine.new_runner(connection)
                known = replace(event, parameters=session.filter_set.parameters[one.name])
                runner.run(session_filter.on_event, (known,), one.name)


def resulting_event(connection: _Secondary) -> type[Event]:
    """Return the event that a flow of this connection raises in user mode."""
    if isinstance(connection, FutureConnection):
        return permitted_event(connection.pinhole.transport)
    return flow_event(connection.transport)


def permitted_event(transport: Transport) -> type[Event]:
    """Return the event that a permitted flow raises in user mode."""
    return ConnectTcp if transport is _TCP else UdpDestination


def flow_event(transport: Transport) -> type[Event]:
    """Return the event that a flow to a bound port raises in user mode."""
    return AcceptedConnection if transport is _TCP else UdpDestination


@dataclass(frozen=True, slots=True)
class _Flow:
    """A flow that is about to start, with the event that notifies filters of it."""

    connection: PrimaryConnection | _Secondary
    peer: Endpoint
    chain: Chain
    event: type[Event]
    deny: Callable[[str], None]
    """Called with the name of a filter that denies; the flow then goes no further."""
    go_on: Callable[[], None]
    """Called when all filters have answered and none has denied."""

    def announced(self, parameters: Mapping[str, object]) -> Event:
        """Return the event for one filter, with its settings."""
        connection = self.connection
        if self.event is ConnectTcp:
            assert not isinstance(connection, SecondaryConnection)  # noqa: S101 - resulting_event
            return ConnectTcp(connection, parameters=parameters)
        if self.event is AcceptedConnection:
            assert isinstance(connection, SecondaryConnection)  # noqa: S101 - resulting_event
            return AcceptedConnection(connection, self.peer, parameters=parameters)
        return UdpDestination(connection, self.peer, parameters=parameters)


async def _attach_made(chain: Chain, factory: DataFilterFactory) -> None:
    if not chain.is_over:
        chain.attach_made(factory)


async def _go_on(flow: _Flow) -> None:
    """Let the flow go on, unless a filter has denied it or it was killed meanwhile."""
    if not flow.chain.is_over:
        flow.go_on()


def _ends(connection: _Secondary, peer: Endpoint) -> tuple[Endpoint, Endpoint | None]:
    """Return the far end of a flow, and where it came to, unless it is the client that connects."""
    if isinstance(connection, SecondaryConnection):
        return peer, connection.pinhole.listen
    assert connection.pinhole.target is not None  # noqa: S101 - a permission says to where
    return connection.pinhole.target, None
