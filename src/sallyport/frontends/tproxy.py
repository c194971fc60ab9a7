"""How TCP control connections reach us: intercepted on their way, or at a port of our own.

Of clients inside (SecureNAT) and of clients of a published server on a routed relation, the kernel
hands us connections by TPROXY: the accepted socket's own name is the server that the client meant.
A server published behind NAT has a plain listening socket at an address of the gateway.
"""

import asyncio
import socket
from collections.abc import Mapping

from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.gateway import Gateway
from sallyport.core.policy import PublishingRule
from sallyport.core.protocols import Direction, ProtocolDefinition
from sallyport.errors import BindError, PolicyDenied, StartupError
from sallyport.flags import Transport
from sallyport.frontends.control import ClientSide, Relay, connect, reset
from sallyport.frontends.sockets import INTERCEPTION, control_listener, interception_socket
from sallyport.sockets import endpoint_of, make

# A burst of clients, such as 200 machines at nine in the morning, must not meet a full queue.
_BACKLOG = 1024


def intercepting_socket(version: int) -> socket.socket:
    """Make the socket TPROXY delivers to, on a loopback port of the kernel's choice.

    Raises StartupError when the capability is missing.
    """
    return control_listener(interception_socket(Transport.TCP, version), INTERCEPTION[version])


def publishing_socket(rule: PublishingRule) -> socket.socket:
    """Make the socket at which the clients of a server published behind NAT arrive.

    Raises StartupError.
    """
    try:
        return control_listener(make(Transport.TCP, rule.listen.version), rule.listen)
    except OSError as error:
        raise StartupError(
            f"publishing rule {rule.name!r}: cannot listen at {rule.listen}: {error.strerror};"
            " free the port, or publish at another"
        ) from None


class Interceptor:
    """Accepts control connections, intercepted and published, and makes a relay of each."""

    def __init__(
        self,
        gateway: Gateway,
        protocols: Mapping[int, ProtocolDefinition],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Serve `gateway`; `protocols` are those of clients inside, by the port they dial."""
        self._gateway = gateway
        self._protocols = protocols
        self._published = {rule.listen: rule for rule in gateway.policy.publishing_rules}
        self._tasks = tasks
        self._servers: list[asyncio.Server] = []

    async def serve(self, listener: socket.socket) -> None:
        """Start to accept on a socket made by one of the functions above."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: ClientSide(self.accepted), sock=listener, backlog=_BACKLOG
        )
        self._servers.append(server)

    def close(self) -> None:
        """Accept nothing more; idempotent."""
        for server in self._servers:
            server.close()

    def accepted(self, side: ClientSide) -> None:
        """Ask policy about a new connection, and dial its server."""
        client = endpoint_of(side.transport.get_extra_info("peername"))
        dialled = endpoint_of(side.transport.get_extra_info("sockname"))
        try:
            primary = self._admit(client, dialled)
        except BindError:
            reset(side.transport)
            return
        relay = Relay(primary, side)
        primary.link = relay
        self._tasks.create_task(self._dial(relay, dialled))

    def _admit(self, client: Endpoint, dialled: Endpoint) -> PrimaryConnection:
        """Admit a connection as what it is; raises BindError."""
        rule = self._published.get(dialled)
        network = self._gateway.policy.network_of(client.address)
        if rule is not None and network is not None and network.is_external:
            return self._gateway.admit_published(rule, client)
        protocol = self._protocols.get(dialled.port)
        if protocol is None:
            raise PolicyDenied("no-protocol-at-this-port")
        return self._gateway.admit_primary(protocol, client, dialled)

    async def _dial(self, relay: Relay, dialled: Endpoint) -> None:
        primary = relay.primary
        try:
            ours = await connect(relay)
        except (OSError, TimeoutError) as error:
            primary.note("connect.failed", level="warning", server=primary.server, error=str(error))
            primary.kill("server-unreachable")
        except Exception as error:  # noqa: BLE001 - a fence: our fault ends one connection only
            primary.note("connect.failed", level="error", server=primary.server, error=repr(error))
            primary.kill("internal-error")
        else:
            if primary.direction is Direction.INBOUND:
                # The far end knows us by what it dialled, the published server by who dialled it.
                primary.inside_address = ours
                self._start(relay, dialled)
            else:
                self._start(relay, ours)

    def _start(self, relay: Relay, gateway_address: Endpoint) -> None:
        if not relay.primary.is_open:  # killed meanwhile
            relay.abort()
            return
        strand = self._gateway.start_primary(
            relay.primary,
            gateway_address=gateway_address,
            link=relay,
            client=relay.client,
            server=relay.server,
        )
        relay.start(strand)
