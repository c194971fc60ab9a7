"""IRC DCC in one file: a short form of the filter `dcc` that comes with Sallyport, to learn from.

An offer that a client inside makes leads to it, by one port open to one connection. The taker is
known by nickname only, so the port is open to every host. That is for
the operator to want (attack I06); otherwise offers are refused, and the client is told.

    [filters.irc-dcc]
    path = "irc_dcc.py"
    any_peer = true

What a server says opens nothing (attack I05). TLS, at port 6697 or after STARTTLS, cannot be looked
into. A DCC RESUME from outside names the port that was told there, which the client does not know:
files are sent from their beginning.
"""

from dataclasses import dataclass

from sallyport.api import (
    ApplicationFilter,
    BindError,
    BindFlags,
    ConnectTcp,
    DataFilter,
    Endpoint,
    Event,
    Line,
    LineReader,
    PolicyDenied,
    PrimaryConnection,
    ProtocolDefinition,
    ProtocolError,
    QuotaExceeded,
    Session,
    SessionFilter,
    Transport,
    foreign_protocol,
)
from sallyport.wire import irc
from sallyport.wire.interjection import Interjector

IRC = ProtocolDefinition("irc-example", Transport.TCP, 6667)

# Open offers and running transfers of one client (attack I08).
MAX_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class DccSettings:
    """The keys of `[filters.irc-dcc]`."""

    any_peer: bool = False
    """Let the first peer that connects take an offer."""


class DccFilter(ApplicationFilter):
    """Lets inside clients of IRC offer files and chats to people outside."""

    name = "irc-dcc"
    api_version = 1
    protocols = (IRC,)
    settings = DccSettings

    def __init__(self, settings: DccSettings | None = None) -> None:
        self.chosen = settings or DccSettings()

    def attach_to_session(self, session: Session) -> SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return DccSession(session, self.chosen)


class DccSession(SessionFilter):
    """What one client has offered, by all its IRC connections."""

    def __init__(self, session: Session, settings: DccSettings) -> None:
        self.session = session
        self.settings = settings

    async def on_event(self, event: Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, ConnectTcp) and isinstance(event.connection, PrimaryConnection):
            event.connection.attach_data_filter(DccDialogue(self, event.connection))

    async def open(self, wanted: Endpoint, primary: PrimaryConnection) -> Endpoint:
        """Bind a port for one connection to the client; raises BindError."""
        if not self.settings.any_peer:
            raise PolicyDenied("any-peer-is-off")
        held = [one for one in self.session.bindings.values() if one.session_filter is self]
        if len(held) >= MAX_CHANNELS:
            raise QuotaExceeded("too-many-dcc-channels")
        binding = await self.session.bind_for_client(
            [wanted],
            transport=Transport.TCP,
            protocol=IRC,
            flags=BindFlags.TIMEOUT,
            session_filter=self,
            primary=primary,
        )
        return binding.proxy_address


class DccDialogue(DataFilter):
    """One client's conversation with its IRC server; only what the client says is read."""

    def __init__(self, session_filter: DccSession, primary: PrimaryConnection) -> None:
        self._session_filter = session_filter
        self._primary = primary
        self._lines = LineReader(irc.MAX_LINE)
        self._to_client = Interjector()
        self._is_begun = self._is_opaque = False

    async def from_client(self, data: bytes) -> None:
        """Pass lines on, offers with the gateway's address in them."""
        self._lines.feed(data)
        if not self._is_begun:
            opening = foreign_protocol(self._lines.pending, irc.MAX_LINE)
            if opening.is_foreign:
                self._primary.kill(f"not-irc-{opening}")  # a browser can bind nothing (attack H03)
                return
        while not self._is_opaque and (line := self._lines.take()):
            self._is_begun = True
            self.server.send(await self._line(line))
        if self._is_opaque:
            self.server.send(self._lines.take_rest())

    async def from_server(self, data: bytes) -> None:
        """Pass everything on."""
        self.client.send(self._to_client.carry(data))

    async def client_closed(self) -> None:
        """Pass on what the client began to say, then the end."""
        self.server.send(self._lines.take_rest())
        self.server.shutdown()

    async def _line(self, line: Line) -> bytes:
        """Return a line as the server shall hear it; nothing of an offer that is refused."""
        text = line.text or b""
        self._is_opaque = text.upper() == b"STARTTLS"
        try:
            offer = irc.parse_offer(text)
            if offer is None or offer.port == 0:  # reverse DCC: the other side listens (attack I07)
                return line.raw
            wanted = Endpoint(offer.address, offer.port)
            told = offer.naming(await self._session_filter.open(wanted, self._primary))
        except (BindError, ProtocolError) as refusal:
            self._primary.note("dcc.refused", level="warning", reason=refusal.reason)
            notice = b":sallyport NOTICE * :DCC is refused: %s\r\n" % refusal.reason.encode()
            self.client.send(self._to_client.insert(notice))
            return b""
        return told + line.raw[len(text) :]
