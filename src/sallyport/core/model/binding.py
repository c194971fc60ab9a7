"""Binding: what `bind_for_client` returns; one or several consecutive ports with one fate."""

from sallyport.addresses import Endpoint
from sallyport.core.model.engine import Engine
from sallyport.core.model.request import BindRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule
from sallyport.errors import BindError
from sallyport.ipfilter import IpFilter

# A binding is as alive as its most alive connection.
_LIVELINESS = (State.LIVE, State.ARMED, State.RESERVED, State.CLOSED)


class Binding:
    """The result of one `bind_for_client`.

    `connections[i]` listens on the lowest port + i and leads to client address i.
    """

    __slots__ = (
        "connections",
        "context",
        "created_at",
        "engine",
        "flags",
        "id",
        "is_for_primary",
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
        self.session_filter = request.session_filter
        self.context = request.context
        self.is_for_primary = request.is_for_primary
        """Whether `Session.emulate_client_bind` made it: what comes was not negotiated."""
        self.created_at = engine.clock()
        self.connections: tuple[SecondaryConnection, ...] = ()

    @property
    def proxy_address(self) -> Endpoint:
        """The address really bound (`ProxyAddress` out): the lowest port when several."""
        return self.connections[0].proxy_address

    @property
    def state(self) -> State:
        """The state of the most alive connection."""
        states = {connection.state for connection in self.connections}
        return next(state for state in _LIVELINESS if state in states)

    @property
    def ip_filter(self) -> IpFilter | None:
        """Who may connect to the lowest port; `set_ip_filter` replaces it for each port alone."""
        return self.connections[0].ip_filter

    @property
    def is_filtered(self) -> bool:
        """Whether some data filter sees, or will see, what it carries; final from the bind on."""
        return self.connections[0].is_filtered

    async def arm(self) -> None:
        """Open what was bound with `armed=False`; when it returns the next SYN is let in.

        Raises Terminating when the binding has ended or was armed before, OutOfResources or
        KernelError when the kernel refuses; the binding is then withdrawn.
        """
        try:
            await self.engine.registry.arm(self.connections)
        except BindError as refusal:
            self.engine.arming_refused(self, refusal)
            raise

    def wait(self, seconds: float) -> None:
        """Have it close `seconds` from now if nobody has connected, instead of after a minute.

        For a protocol whose dialogue says that a connection is still to come. A binding without
        BindFlags.TIMEOUT, and one that was used or has ended, stays as it is. Never raises.
        """
        for connection in self.connections:
            self.engine.registry.wait(connection, seconds)

    def withdraw(self, reason: str = "withdrawn") -> None:
        """Let nothing new in; a transfer under way may finish. Idempotent, never raises."""
        for connection in self.connections:
            self.engine.registry.withdraw(connection, reason)

    def kill(self, reason: str = "killed") -> None:
        """Kill every connection of it. Idempotent, never raises."""
        for connection in self.connections:
            connection.kill(reason)
