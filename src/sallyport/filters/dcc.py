"""IRC DCC: an offer that a client inside makes leads to it, by a port open to one connection.

The port is open to the host that the IRC server has named for the taker's nickname: in the prefix
of what that nickname said, or in an answer to WHO, WHOIS or USERHOST. Where the server has named
none, or hides it, the taker could be any host; then the offer is refused, unless `any_peer` says
otherwise (attack I06). What a server says never binds a port (attack I05). TLS, at port 6697 or
after STARTTLS, cannot be looked into.

A transfer that was cut off goes on by RESUME and ACCEPT, which name the port of the offer: the
taker knows the gateway's, the client its own.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from sallyport import api, limits
from sallyport.wire import irc
from sallyport.wire.interjection import Interjector

IRC = api.ProtocolDefinition(
    "irc",
    api.Transport.TCP,
    6667,
    refusal=b"ERROR :Refused by the gateway; its log says why.\r\n",
    other_ports=(6660, 6661, 6662, 6663, 6664, 6665, 6666, 6668, 6669, 7000),
)
"""Servers outside, as access rules know the protocol."""


@dataclass(frozen=True, slots=True)
class DccSettings:
    """The keys of `[filters.dcc]`."""

    any_peer: bool = False
    """Whether any host may take an offer whose taker the server has named no address of."""


class DccFilter(api.ApplicationFilter):
    """Files and chats that clients inside offer by IRC (DCC SEND, DCC CHAT)."""

    name = "dcc"
    api_version = 1
    protocols = (IRC,)
    hooks = api.Hooks.of(api.ConnectTcp)
    settings = DccSettings

    def __init__(self, settings: DccSettings | None = None) -> None:
        self._settings = settings or DccSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return DccSession(session, self._settings)


class DccSession(api.SessionFilter):
    """What one client has offered, by all its IRC connections."""

    def __init__(self, session: api.Session, settings: DccSettings) -> None:
        self.session = session
        self._settings = settings

    async def on_event(self, event: api.Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, api.ConnectTcp) and isinstance(
            event.connection, api.PrimaryConnection
        ):
            own: dict[str, Any] = dict(event.connection.rule.filters.get("dcc", {}))
            dialogue = DccDialogue(self, event.connection, replace(self._settings, **own))
            event.connection.attach_data_filter(dialogue, api.Priority.NAT)

    async def bind(
        self, wanted: api.Endpoint, taker: api.IpFilter | None, primary: api.PrimaryConnection
    ) -> api.Binding:
        """Bind a port for one connection to the client; raises BindError."""
        held = [one for one in self.session.bindings.values() if one.session_filter is self]
        if len(held) >= limits.MAX_DCC_CHANNELS:
            raise api.QuotaExceeded("too-many-dcc-channels")
        return await self.session.bind_for_client(
            [wanted],
            transport=api.Transport.TCP,
            protocol=IRC,
            flags=api.BindFlags.TIMEOUT,
            session_filter=self,
            ip_filter=taker,
            primary=primary,
        )


class DccDialogue(api.DataFilter):
    """One client's conversation with its IRC server."""

    def __init__(
        self, session_filter: DccSession, primary: api.PrimaryConnection, settings: DccSettings
    ) -> None:
        self._session_filter = session_filter
        self._primary = primary
        self._settings = settings
        self._lines = api.LineReader(irc.MAX_LINE)
        self._replies = api.LineReader(irc.MAX_LINE)
        self._to_client = Interjector()
        self._seen: OrderedDict[bytes, api.IpFilter] = OrderedDict()
        self._offers: dict[int, tuple[int, api.Binding]] = {}
        """The client's port and the binding of each offer, by the port that was told."""
        self._is_begun = self._is_opaque = False

    async def from_client(self, data: bytes) -> None:
        """Pass lines on, offers with the gateway's address in them."""
        self._lines.feed(data)
        if not self._is_begun:
            opening = api.foreign_protocol(self._lines.pending, irc.MAX_LINE)
            if opening.is_foreign:
                self._primary.kill(f"not-irc-{opening}")  # a browser can bind nothing (attack H03)
                return
        while not self._is_opaque and (line := self._lines.take()):
            self._is_begun = True
            self.server.send(await self._client_line(line))
        if self._is_opaque:
            self.server.send(self._lines.take_rest())

    async def from_server(self, data: bytes) -> None:
        """Pass everything on; remember where nicknames are."""
        self._replies.feed(data)
        while not self._is_opaque and (line := self._replies.take()):
            self.client.send(self._to_client.carry(self._server_line(line)))
        if self._is_opaque:
            self.client.send(self._to_client.carry(self._replies.take_rest()))

    async def client_closed(self) -> None:
        """Pass on what the client began to say, then the end."""
        self.server.send(self._lines.take_rest())
        self.server.shutdown()

    async def server_closed(self) -> None:
        """Pass on what the server began to say, then the end."""
        self.client.send(self._to_client.carry(self._replies.take_rest()))
        self.client.shutdown()

    async def _client_line(self, line: api.Line) -> bytes:
        """Return a line as the server shall hear it; nothing of an offer that is refused."""
        text = line.text or b""
        if text.upper() == b"STARTTLS":
            self._is_opaque = True
        rest = line.raw[len(text) :]
        try:
            if (offer := irc.parse_offer(text)) is not None:
                return await self._offered(offer, text) + rest
        except (api.BindError, api.ProtocolError) as refusal:
            self._refuse(refusal)
            return b""
        if (resume := irc.parse_resume(text)) is not None:
            for told, (own, _) in self._open_offers().items():
                if own == resume.port:
                    return resume.naming(told) + rest
        return line.raw

    async def _offered(self, offer: irc.Offer, text: bytes) -> bytes:
        if offer.port == 0:  # reverse DCC: the other side listens (attack I07)
            return text
        taker = self._seen.get(offer.taker)
        if taker is None and not self._settings.any_peer:
            raise api.PolicyDenied("taker-is-unknown")
        wanted = api.Endpoint(offer.address, offer.port)
        binding = await self._session_filter.bind(wanted, taker, self._primary)
        self._offers = self._open_offers()
        self._offers[binding.proxy_address.port] = offer.port, binding
        return offer.naming(binding.proxy_address)

    def _server_line(self, line: api.Line) -> bytes:
        """Return a line as the client shall hear it."""
        text = line.text or b""
        if (seen := irc.parse_seen(text)) is not None:
            self._remember(*seen)
        resume = irc.parse_resume(text)
        known = None if resume is None else self._open_offers().get(resume.port)
        if resume is None or known is None:
            return line.raw
        return resume.naming(known[0]) + line.raw[len(text) :]

    def _remember(self, nick: bytes, address: api.IpAddress | None) -> None:
        self._seen.pop(nick, None)
        if address is not None:
            self._seen[nick] = api.IpFilter.of(address)
        if len(self._seen) > limits.MAX_IRC_NICKNAMES:
            self._seen.popitem(last=False)

    def _open_offers(self) -> dict[int, tuple[int, api.Binding]]:
        return {
            told: offer for told, offer in self._offers.items() if offer[1].state is api.State.ARMED
        }

    def _refuse(self, refusal: api.BindError | api.ProtocolError) -> None:
        if isinstance(refusal, api.BindError) and refusal.is_recorded:
            self._primary.note("dcc.answered", level="debug", reason=refusal.reason)
        else:
            self._primary.note("dcc.refused", level="warning", reason=refusal.reason)
        notice = b":sallyport NOTICE * :DCC is refused: %s\r\n" % refusal.reason.encode()
        self.client.send(self._to_client.insert(notice))
