"""What an FTP dialogue has opened: which call of the session it is, for which side."""

from sallyport import api
from sallyport.filters.ftp.agreement import FtpTransfer, Opening
from sallyport.filters.ftp.settings import FtpSettings


class FtpOpenings:
    """Opens data connections of one control connection, armed when the call returns.

    Both methods raise BindError; then nothing is open.
    """

    def __init__(
        self,
        connection: api.PrimaryConnection,
        session_filter: api.SessionFilter,
        settings: FtpSettings,
    ) -> None:
        self._connection = connection
        self._session_filter = session_filter
        self.is_published = connection.protocol.direction is api.Direction.INBOUND
        """Whether the server is ours to protect, and not the client."""
        self._far_end = None if settings.any_peer else api.IpFilter.of(connection.peer.address)
        self._flags = api.BindFlags.TIMEOUT
        if api.ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in connection.flags:
            self._flags |= api.BindFlags.PROXY_MODE  # full proxy is inherited, never chosen
        self._peer_ports: frozenset[int] | None = None
        if settings.strict_data_port and not self.is_published:
            self._peer_ports = frozenset({20, connection.server.port - 1})  # RFC 959 5.2

    async def open_active(self, client: api.Endpoint, transfer: FtpTransfer) -> Opening:
        """Let the server connect to where PORT or EPRT says that the client listens."""
        if not self.is_published:
            return await self._bind(client, transfer)
        if client.address != self._connection.client.address:
            # Naming a third host makes the server an attacker's hand (RFC 2577 section 2).
            raise api.AddressNotAllowed("not-the-clients-address")
        return await self._permit(client, transfer)

    async def open_passive(self, server: api.Endpoint, transfer: FtpTransfer) -> Opening:
        """Let the client connect to where the server listens."""
        if self.is_published:
            return await self._bind(server, transfer)
        return await self._permit(server, transfer)

    async def _bind(self, inside: api.Endpoint, transfer: FtpTransfer) -> Opening:
        """Bind a port at which the far end, and no other host but by setting, reaches `inside`."""
        return await self._connection.session.bind_for_client(
            [inside],
            transport=api.Transport.TCP,
            protocol=self._connection.protocol,
            flags=self._flags,
            session_filter=self._session_filter,
            context=transfer,
            ip_filter=self._far_end,
            peer_ports=self._peer_ports,
            primary=self._connection,
        )

    async def _permit(self, outside: api.Endpoint, transfer: FtpTransfer) -> Opening:
        """Permit our side one connection to `outside`."""
        return await self._connection.session.allow_future_connect(
            outside,
            protocol=self._connection.protocol,
            primary=self._connection,
            session_filter=self._session_filter,
            context=transfer,
        )
