"""Binding: the result of `bind_for_client`: one or several consecutive ports that end together."""

from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import takes
from sallyport.core.model.bundle import Bundle
from sallyport.core.model.engine import Engine
from sallyport.core.model.idle_limit import IdleLimit
from sallyport.core.model.request import BindRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule
from sallyport.core.policy.terms import Frontend
from sallyport.core.runtime.deadlines import Deadline
from sallyport.errors import BindError
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter

# The state of a binding is the first of these that one of its connections has.
_LIVELINESS = (State.LIVE, State.ARMED, State.RESERVED, State.CLOSED)


class Binding:
    """The result of one `bind_for_client` call (`ConnectionArray` of the SDK).

    `connections[i]` listens on the lowest port + i and leads to client address i.
    """

    __slots__ = (
        "asker",
        "bundle",
        "close_with_primary",
        "connections",
        "context",
        "created_at",
        "engine",
        "flags",
        "id",
        "idle_limit",
        "is_for_primary",
        "is_shared",
        "lifetime",
        "primary",
        "protocol",
        "rule",
        "session",
        "session_filter",
        "transport",
    )

    def __init__(
        self,
        engine: Engine,
        binding_id: str,
        request: BindRequest,
        protocol: ProtocolDefinition,
        rule: Rule,
    ) -> None:
        self.engine = engine
        self.id = binding_id
        self.session = request.session
        self.protocol = protocol
        self.transport = request.transport
        self.rule = rule
        self.flags = request.flags
        self.primary = request.primary
        self.bundle: Bundle | None = request.bundle
        """What it ends with instead of its primary connection, if anything."""
        self.asker = request.asker
        """Who asked by a front end; None: a filter asked."""
        self.close_with_primary = request.close_with_primary
        self.session_filter = request.session_filter
        self.context = request.context
        self.is_for_primary = request.is_for_primary
        """Whether `Session.emulate_client_bind` made it: its connections are primary ones."""
        self.is_shared = request.is_shared
        """Whether it shares its port with others: one of very many, of which few are used."""
        self.created_at = engine.clock()
        self.lifetime: Deadline | None = None
        """When it lets no peer in any more whatever happens; None: it has no such time."""
        self.idle_limit: IdleLimit | None = None
        """What ends it when nothing has passed for a while; None: silence does not end it."""
        self.connections: tuple[SecondaryConnection, ...] = ()

    @property
    def frontend(self) -> Frontend | None:
        """The front end by which the client itself asked; None: a filter asked."""
        return None if self.asker is None else self.asker.frontend

    @property
    def user(self) -> str | None:
        """The user whom the front end knows; None where it knows none."""
        return self.session.user if self.asker is None else self.asker.user

    @property
    def proxy_address(self) -> Endpoint:
        """The address that is bound (`ProxyAddress` out); with several ports, the lowest one."""
        return self.connections[0].proxy_address

    @property
    def state(self) -> State:
        """The state of the connection that is furthest from its end: live, armed, reserved."""
        states = {connection.state for connection in self.connections}
        return next(state for state in _LIVELINESS if state in states)

    @property
    def ip_filter(self) -> IpFilter | None:
        """The addresses that may connect to the lowest port; None: any.

        `SecondaryConnection.set_ip_filter` replaces it for one port alone.
        """
        return self.connections[0].ip_filter

    @property
    def is_filtered(self) -> bool:
        """Whether a data filter sees, or will see, its bytes; final from the bind on."""
        return self.connections[0].is_filtered

    async def arm(self) -> None:
        """Open a binding made with `armed=False`; when this returns the next SYN is admitted.

        Raises Terminating when the binding has ended or was armed before, OutOfResources or
        KernelError when the kernel refuses; the binding is then withdrawn.
        """
        try:
            await self.engine.registry.arm(self.connections)
        except BindError as refusal:
            self.engine.arming_refused(self, refusal)
            raise

    @takes(ip_filter=IpFilter | None, peer_ports=frozenset | None)
    async def set_peers(
        self, ip_filter: IpFilter | None, peer_ports: frozenset[int] | None = None
    ) -> None:
        """Replace who may connect to each of its ports, at once; running flows go on.

        `ip_filter` and `peer_ports` as in `Session.bind_for_client`. There is no moment at which
        the port is closed, or open to others than the old peers and the new. A port that has ended
        stays as it is. Raises as `SecondaryConnection.set_ip_filter`, Terminating when all have
        ended; then nothing has changed.
        """
        going_on = [one for one in self.connections if not one.is_closed]
        await self.engine.restrict_peers(going_on or self.connections, ip_filter, peer_ports)

    def cut_off(self) -> None:
        """Reset the running flows of peers who may not open one any more; never raises.

        After `set_peers`, where what runs shall not go on. Its ports stay as they are.
        """
        self.engine.registry.cut_off(self.connections)

    @takes(seconds=int | float)
    def extend(self, seconds: float) -> float:
        """Let it live for `seconds` from now; return for how many its rule lets it live.

        The rules are asked again: what they granted once may have gone. Raises PolicyDenied when
        they do not let the client use the protocol any more, InvalidArgument for no time at all,
        Terminating when it has ended; then nothing has changed.
        """
        return self.engine.extend(self, seconds)

    @property
    def expires_in(self) -> float | None:
        """Seconds until it lets no peer in any more if nothing happens; None: no time limit."""
        own = self.lifetime, self.idle_limit
        deadlines = (*own, *(one.deadline for one in self.connections))
        ends = [one.when for one in deadlines if one is not None]
        return max(0.0, min(ends) - self.engine.clock()) if ends else None

    def live(self, wanted: float | None, most: float | None) -> float | None:
        """Set the end of its life: `wanted` seconds from now, but not more than `most`.

        None is no limit. Returns for how many seconds it lives.
        """
        if self.lifetime is not None:
            self.lifetime.cancel()
            self.lifetime = None
        reason, seconds = "lifetime-is-over", wanted
        if most is not None and (wanted is None or most < wanted):
            reason, seconds = "max-lifetime-reached", most
        if seconds is not None:
            self.lifetime = self.engine.call_later(seconds, lambda: self.end(reason))
        return seconds

    def watch_for_silence(self, wanted: float | None, most: float | None) -> None:
        """End it after `wanted` seconds without traffic, but not after more than `most`.

        None is no limit.
        """
        reason, seconds = "idle-time-is-over", wanted
        if most is not None and (wanted is None or most < wanted):
            reason, seconds = "max-idle-reached", most
        if seconds is not None:
            self.idle_limit = IdleLimit(self, seconds, reason)

    def let_go(self) -> None:
        """Drop its own time limits: every connection has ended."""
        if self.lifetime is not None:
            self.lifetime.cancel()
        if self.idle_limit is not None:
            self.idle_limit.cancel()
            self.idle_limit = None  # it knows the binding: a cycle

    @takes(seconds=int | float)
    def wait(self, seconds: float) -> None:
        """Set the time limit of an unused binding to `seconds` from now, instead of one minute.

        For a protocol whose dialogue says that a connection is still to come. Changes nothing for
        a binding without BindFlags.TIMEOUT, or one that was used or has ended.
        """
        for connection in self.connections:
            self.engine.registry.wait(connection, seconds)

    def withdraw(self, reason: str = "withdrawn") -> None:
        """Close its ports; a transfer under way may finish. Idempotent, never raises.

        `reason` is a short stable word; the journal and `ConnectionTerminating` carry it.
        """
        for connection in self.connections:
            self.engine.registry.withdraw(connection, reason)

    def end(self, reason: str) -> None:
        """Close its ports because its time is over, or its owner wants that. Never raises.

        A connection under way may finish. Datagrams have no end that could be waited for: they are
        forwarded no longer.
        """
        if self.transport is Transport.UDP:
            self.kill(reason)
        else:
            self.withdraw(reason)

    def hand_over(self, reason: str) -> None:
        """Close its ports and release them at once, also while a transfer runs, which goes on.

        Another process binds them next. Never raises.
        """
        self.withdraw(reason)
        for connection in self.connections:
            if connection.reservations is not None and connection.state is not State.CLOSED:
                connection.reservations.give_back(connection.proxy_address)
                connection.reservations = None

    def kill(self, reason: str = "killed") -> None:
        """Close its ports and reset every connection at once. Idempotent, never raises."""
        for connection in self.connections:
            connection.kill(reason)
