"""What TLS hides: the ports of a server, open to each client that speaks TLS with it.

The replies to PASV and EPSV cannot be read, so the operator says at which ports the server listens.
They are open to the one client as long as one of its control connections speaks TLS: opened with
the first, and opened anew for another one when that ends, because what is bound for a control
connection ends with it.
"""

from dataclasses import dataclass, field

from sallyport import api
from sallyport.filters.ftp.agreement import FtpTransfer, Opening

# Client, server, our address towards the client, and the ports.
_Key = tuple[object, object, object, api.PortRange]


@dataclass(slots=True)
class PassiveRange:
    """The range of one client and one server."""

    ports: api.PortRange
    speaking: list[api.PrimaryConnection] = field(default_factory=list)
    """The control connections that speak TLS, the oldest first."""
    holder: api.PrimaryConnection | None = None
    """The one that the ports are bound for; None: they are not open."""


class PassiveRanges:
    """The ranges of one session."""

    def __init__(self, session_filter: api.SessionFilter) -> None:
        self._session_filter = session_filter
        self._ranges: dict[_Key, PassiveRange] = {}

    async def join(self, connection: api.PrimaryConnection, ports: api.PortRange) -> None:
        """Open the range for a control connection that speaks TLS from now on."""
        key = _key(connection, ports)
        found = self._ranges.setdefault(key, PassiveRange(ports))
        if connection not in found.speaking:
            found.speaking.append(connection)
        if found.holder is None:
            await self._open(found, connection)

    async def leave(self, connection: api.PrimaryConnection) -> None:
        """Take note that a control connection has ended, and what was bound for it."""
        for key, found in tuple(self._ranges.items()):
            if connection not in found.speaking:
                continue
            found.speaking.remove(connection)
            if not found.speaking:
                del self._ranges[key]
            elif found.holder is connection:
                await self._open(found, found.speaking[0])

    async def _open(self, found: PassiveRange, connection: api.PrimaryConnection) -> None:
        """Open all ports or none."""
        found.holder = None
        opened: list[Opening] = []
        try:
            for port in range(found.ports.first, found.ports.last + 1):
                one = await self._open_one(connection, port)
                opened.append(one)
        except api.BindError as refusal:
            for one in opened:
                one.withdraw("refused")
            connection.note("range.refused", level="warning", reason=refusal.reason)
        else:
            found.holder = connection
            connection.note("range.opened", ports=found.ports)

    async def _open_one(self, connection: api.PrimaryConnection, port: int) -> Opening:
        server, public = connection.server.with_port(port), connection.gateway_address
        if connection.direction is api.Direction.OUTBOUND or public is None:
            return await connection.session.allow_future_connect(
                server,
                protocol=connection.protocol,
                primary=connection,
                flags=api.BindFlags.ALLOW_MULTIPLE,
                session_filter=self._session_filter,
                context=FtpTransfer(),
            )
        flags = api.BindFlags.ALLOW_MULTIPLE
        if api.ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in connection.flags:
            flags |= api.BindFlags.PROXY_MODE
        return await connection.session.bind_for_client(
            [server],
            transport=api.Transport.TCP,
            protocol=connection.protocol,
            proxy_address=public.with_port(port),
            flags=flags,
            session_filter=self._session_filter,
            context=FtpTransfer(),
            ip_filter=api.IpFilter.of(connection.client.address),
            primary=connection,
            shared=True,
        )


def _key(connection: api.PrimaryConnection, ports: api.PortRange) -> _Key:
    public = connection.gateway_address
    return connection.client.address, connection.server.address, public and public.address, ports
