"""Binding: the result of `bind_for_client`: one or several consecutive ports that end together."""

from sallyport.addresses import Endpoint
from sallyport.core.model.engine import Engine
from sallyport.core.model.request import BindRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule
from sallyport.core.runtime.deadlines import Deadline
from sallyport.errors import BindError
from sallyport.ipfilter import IpFilter

# The state of a binding is the first of these that one of its connections has.
_LIVELINESS = (State.LIVE, State.ARMED, State.RESERVED, State.CLOSED)


class Binding:
    """The result of one `bind_for_client` call (`ConnectionArray` of the SDK).

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
        self.session_filter = request.session_filter
        self.context = request.context
        self.is_for_primary = request.is_for_primary
        """Whether `Session.emulate_client_bind` made it: its connections are primary ones."""
        self.created_at = engine.clock()
        self.lifetime: Deadline | None = None
        """When it ends whatever is asked for it, if its rule says so."""
        self.connections: tuple[SecondaryConnection, ...] = ()

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

    def wait(self, seconds: float) -> None:
        """Set the time limit of an unused binding to `seconds` from now, instead of one minute.

        For a protocol whose dialogue says that a connection is still to come. Changes nothing for
        a binding without BindFlags.TIMEOUT, or one that was used or has ended. Never raises.
        """
        for connection in self.connections:
            self.engine.registry.wait(connection, seconds)

    def withdraw(self, reason: str = "withdrawn") -> None:
        """Close its ports; a transfer under way may finish. Idempotent, never raises.

        `reason` is a short stable word; the journal and `ConnectionTerminating` carry it.
        """
        for connection in self.connections:
            self.engine.registry.withdraw(connection, reason)

    def kill(self, reason: str = "killed") -> None:
        """Close its ports and reset every connection at once. Idempotent, never raises."""
        for connection in self.connections:
            connection.kill(reason)
