"""FTP towards a published server: the server is ours to protect, the roles are mirrored.

The server's answer to PASV or EPSV binds a port at which the outside client, and nobody else,
reaches the server once; it is open before the client hears of it (attack X01). PORT permits the
server one connection to the outside client itself (attack F02), once the server has agreed.
"""

from sallyport.addresses import Endpoint
from sallyport.errors import AddressNotAllowed
from sallyport.filters.ftp_control import FtpControl, Offer
from sallyport.flags import BindFlags, ConnectionFlags, Transport
from sallyport.ipfilter import IpFilter


class FtpInbound(FtpControl):
    """The dialogue of a client outside with a published server."""

    async def reserve(self, wanted: Endpoint) -> Offer:
        """See `FtpControl`: one connection of the server to the outside client."""
        if wanted.address != self.connection.client.address:
            # Naming a third host makes the server an attacker's hand (RFC 2577 section 2).
            raise AddressNotAllowed("not-the-clients-address")
        return await self.session.allow_future_connect(
            wanted, protocol=self.connection.protocol, primary=self.connection, armed=False
        )

    async def open_passive(self, server: Endpoint) -> Offer:
        """See `FtpControl`: a port at which the outside client reaches the server."""
        flags = BindFlags.TIMEOUT
        # Full proxy is inherited, never chosen (semantics 1.5 rule 10).
        if ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in self.connection.flags:
            flags |= BindFlags.PROXY_MODE
        return await self.session.bind_for_client(
            [server],
            transport=Transport.TCP,
            protocol=self.connection.protocol,
            flags=flags,
            session_filter=self.session_filter,
            ip_filter=IpFilter.of(self.connection.client.address),
            primary=self.connection,
        )
