"""FTP towards servers outside: the client is ours to protect.

PORT binds a port at which the server, and nobody else, reaches the client once. The reply to PASV
permits the client one connection to the server.
"""

from sallyport.addresses import Endpoint
from sallyport.filters.ftp_control import FtpControl, Offer
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter


class FtpOutbound(FtpControl):
    """The dialogue of a client inside with a server outside."""

    async def reserve(self, wanted: Endpoint) -> Offer:
        """See `FtpControl`: a port at which the server reaches the client."""
        return await self.session.bind_for_client(
            [wanted],
            transport=Transport.TCP,
            protocol=self.connection.protocol,
            flags=BindFlags.TIMEOUT,
            session_filter=self.session_filter,
            ip_filter=IpFilter.of(self.connection.server.address),
            peer_ports=self._data_ports(),
            primary=self.connection,
            armed=False,
        )

    async def open_passive(self, server: Endpoint) -> Offer:
        """See `FtpControl`: one connection of the client to the server's port."""
        return await self.session.allow_future_connect(
            server, protocol=self.connection.protocol, primary=self.connection
        )

    def _data_ports(self) -> frozenset[int] | None:
        """RFC 959 section 5.2: the server's data port is the one below its control port."""
        if not self.settings.strict_data_port:
            return None
        return frozenset({20, self.connection.server.port - 1})
