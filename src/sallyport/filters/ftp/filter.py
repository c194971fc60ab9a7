"""FTP (RFC 959, 2428, 4217): opens the data connection that both sides agreed on, and no other.

What is said, and when it counts, is the dialogue's; here is what opens when it does.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from sallyport import api
from sallyport.filters.ftp.agreement import Agreement, FtpTransfer, Offer
from sallyport.filters.ftp.dialogue import FtpDialogue

# RFC 959 section 5.4: besides 120 and 220 the one reply that a new connection may get.
_REFUSED = b"421 Refused by the gateway; its log says why.\r\n"

FTP = api.ProtocolDefinition("ftp", api.Transport.TCP, 21, refusal=_REFUSED)
"""Servers outside, as access rules know the protocol."""

FTP_SERVER = api.ProtocolDefinition(
    "ftp-server", api.Transport.TCP, 21, api.Direction.INBOUND, _REFUSED
)
"""Servers of ours, as publishing rules know the protocol."""

_Offering = Coroutine[Any, Any, Offer]


@dataclass(frozen=True, slots=True)
class FtpSettings:
    """The keys of `[filters.ftp]`."""

    trust_pasv_address: Literal["server", "replace"] = "server"
    """Whether a 227 must name the server itself, or is taken to mean it, as with a server behind a
    NAT of its own that names its inside address (attack V01)."""
    strict_data_port: bool = False
    """Accept data connections only from port 20 or the port below the control port (attack F27)."""


class FtpFilter(api.ApplicationFilter):
    """FTP data connections of clients and of published servers (RFC 959, 2428)."""

    name = "ftp"
    api_version = 1
    protocols = (FTP, FTP_SERVER)
    hooks = api.Hooks.of(api.ConnectTcp)
    settings = FtpSettings

    def __init__(self, settings: FtpSettings | None = None) -> None:
        self._settings = settings or FtpSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """See `ApplicationFilter`."""
        return _FtpSession(self._settings)


class _FtpSession(api.SessionFilter):
    def __init__(self, settings: FtpSettings) -> None:
        self.settings = settings

    async def on_event(self, event: api.Event) -> None:
        match event:
            case api.ConnectTcp():
                # Priority.NAT: who edits addresses is the first to see what the client says.
                event.connection.attach_data_filter(_FtpControl(self), api.Priority.NAT)
            case api.EstablishedConnection(context=Agreement() as agreement):
                agreement.established()
            case api.ConnectionTerminating(context=Agreement() as agreement):
                await agreement.ended(event.explanation)


class _FtpControl(api.DataFilter):
    """One control connection, and the host of its dialogue (`sallyport.filters.ftp.host.Host`).

    What only hands on gives the coroutine of whoever does it: one around it would only cost.
    """

    connection: api.PrimaryConnection

    def __init__(self, session_filter: _FtpSession) -> None:
        self._session_filter, self._settings = session_filter, session_filter.settings

    async def started(self) -> None:
        replaces = self._settings.trust_pasv_address == "replace"
        self._dialogue = FtpDialogue(self, replaces_foreign_address=replaces)
        self._is_published = self.connection.protocol.direction is api.Direction.INBOUND
        self._far_end = api.IpFilter.of(self.connection.peer.address)
        self._flags = api.BindFlags.TIMEOUT
        if api.ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in self.connection.flags:
            self._flags |= api.BindFlags.PROXY_MODE  # full proxy is inherited, never chosen
        self._peer_ports: frozenset[int] | None = None
        if self._settings.strict_data_port and not self._is_published:
            self._peer_ports = frozenset({20, self.connection.server.port - 1})  # RFC 959 5.2

    def from_client(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._dialogue.from_client(data)

    def from_server(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._dialogue.from_server(data)

    async def client_closed(self) -> None:
        await self._dialogue.client_closed()

    async def server_closed(self) -> None:
        await self._dialogue.server_closed()

    async def deadline_passed(self) -> None:
        await self._dialogue.deadline_passed()

    def reserve(self, wanted: api.Endpoint, transfer: FtpTransfer) -> _Offering:
        if not self._is_published:
            return self._bind(wanted, transfer, armed=False)
        if wanted.address != self.connection.client.address:
            # Naming a third host makes the server an attacker's hand (RFC 2577 section 2).
            raise api.AddressNotAllowed("not-the-clients-address")
        return self._permit(wanted, transfer, armed=False)

    def open_passive(self, server: api.Endpoint, transfer: FtpTransfer) -> _Offering:
        make = self._bind if self._is_published else self._permit
        return make(server, transfer, armed=True)

    def _bind(self, inside: api.Endpoint, transfer: FtpTransfer, *, armed: bool) -> _Offering:
        """Bind a port at which the far end, and nobody else, reaches `inside` once."""
        return self.connection.session.bind_for_client(
            [inside],
            transport=api.Transport.TCP,
            protocol=self.connection.protocol,
            flags=self._flags,
            session_filter=self._session_filter,
            context=transfer,
            ip_filter=self._far_end,
            peer_ports=self._peer_ports,
            primary=self.connection,
            armed=armed,
        )

    def _permit(self, outside: api.Endpoint, transfer: FtpTransfer, *, armed: bool) -> _Offering:
        """Permit our side one connection to `outside`."""
        return self.connection.session.allow_future_connect(
            outside,
            protocol=self.connection.protocol,
            primary=self.connection,
            session_filter=self._session_filter,
            context=transfer,
            armed=armed,
        )
