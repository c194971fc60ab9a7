"""One RTSP control connection: which answer opens what, and what ends it.

Nothing opens on one side's word. A SETUP reserves ports for each way of sending that it offers; the
answer with the same number (CSeq) arms the one that the server has chosen, and the others are given
back. What is no request or answer passes by its length, whatever it holds: frames of media (attack
R04) and bodies. Ports close at once when the server has agreed to TEARDOWN, when their session has
timed out, and with the connection (attack R06); PAUSE closes nothing.

A stream that cannot be read any further passes unread, and opens nothing from there on.
"""

from sallyport import api, limits
from sallyport.filters.rtsp.media import (
    MediaOpenings,
    MediaSession,
    MediaStream,
    SetupExchange,
    timeout_of,
)
from sallyport.filters.rtsp.offers import MediaOffer, offers_of, require_destination
from sallyport.wire import rtsp
from sallyport.wire.messages import MessageReader, TextMessage
from sallyport.wire.rtsp import TransportSpec

_STATUS = {
    400: b"Bad Request",
    403: b"Forbidden",
    453: b"Not Enough Bandwidth",
    454: b"Session Not Found",
    461: b"Unsupported Transport",
    503: b"Service Unavailable",
}
# What a client is told; with 461 most try again within the connection (interleaved).
_CODES = {"media-to-another-host": 403, "bad-rtsp-ports": 461, "not-an-even-pair": 461}

_Refusal = api.BindError | api.ProtocolError


def _reader() -> MessageReader:
    return MessageReader(
        max_head=limits.MAX_RTSP_HEAD, max_headers=limits.MAX_RTSP_HEADERS, is_interleaved=True
    )


class RtspDialogue(api.DataFilter):
    """Reads both directions of one control connection."""

    def __init__(self, openings: MediaOpenings) -> None:
        self._openings = openings
        self._primary = openings.connection
        self._from_client, self._from_server = _reader(), _reader()
        self._is_begun = self._is_opaque = False
        self._answers = b""
        """Answers of ours that wait until no message of the server is under way."""
        self._pending: dict[int, SetupExchange] = {}
        self._sessions: dict[bytes, MediaSession] = {}
        self._is_alive = False
        """Whether the client has made a request since the last look."""

    async def from_client(self, data: bytes) -> None:
        """Pass requests on, SETUP with the gateway's ports in it."""
        if self._is_opaque:
            self.server.send(data)
            return
        self._from_client.feed(data)
        if not self._is_begun and not self._begins():
            return
        try:
            while (one := self._from_client.take()) is not None:
                self.server.send(one if isinstance(one, bytes) else await self._said(one))
        except api.ProtocolError as error:
            self._read_no_more(error.reason)

    async def from_server(self, data: bytes) -> None:
        """Pass answers on, those to SETUP with the client's own ports in them."""
        if self._is_opaque:
            self.client.send(data)
            return
        self._from_server.feed(data)
        try:
            while (one := self._from_server.take()) is not None:
                self.client.send(one if isinstance(one, bytes) else await self._answered(one))
                self._answer()
        except api.ProtocolError as error:
            self._read_no_more(error.reason)

    async def client_closed(self) -> None:
        """No request will follow: no session can be ended any more, so all end now."""
        self._end_all("client-closed")
        self.server.send(self._from_client.take_rest())
        self.server.shutdown()

    async def server_closed(self) -> None:
        """No answer will follow."""
        self._end_all("server-closed")
        self.client.send(self._from_server.take_rest())
        self.client.shutdown()

    async def deadline_passed(self) -> None:
        """Look which requests were not answered, and which sessions show no sign of life."""
        seconds = limits.RTSP_LOOK_SECONDS
        for cseq, exchange in tuple(self._pending.items()):
            exchange.seconds += seconds
            if exchange.seconds >= limits.RTSP_ANSWER_SECONDS:
                del self._pending[cseq]
                exchange.withdraw("no-reply-in-time")
        for session in self._sessions.values():
            session.passes_time(seconds, is_alive=self._is_alive)
        self._is_alive = False
        self._look_again()

    # -- the client ---------------------------------------------------------------------------

    def _begins(self) -> bool:
        """Whether it begins with a request; a stream that does not is never read (H01, R07)."""
        first = self._from_client.pending
        opening = api.foreign_protocol(first, limits.MAX_RTSP_HEAD)
        if opening.is_foreign or first.startswith(b"$"):
            self._read_no_more(f"foreign-{opening}")
        self._is_begun = opening is api.FirstBytes.OURS
        return self._is_begun and not self._is_opaque

    async def _said(self, message: TextMessage) -> bytes:
        """Return what the server shall hear of a message; nothing of a request that is refused."""
        start = message.start
        if not start.is_request:
            return bytes(message)
        self._is_alive = True
        try:
            name = self._session_of(message)
            if start.method == b"SETUP":
                return await self._set_up(message, name)
            if start.method == b"TEARDOWN":
                self._expect(message, SetupExchange("TEARDOWN", start.target, name))
        except (api.BindError, api.ProtocolError) as refusal:
            self._refuse(message, refusal)
            return b""
        return bytes(message)

    def _session_of(self, message: TextMessage) -> bytes:
        """Return the session that a request names; raises ProtocolError for one that is over."""
        name, _ = rtsp.read_session(message.get(b"session"))
        if name in self._sessions and self._sessions[name].is_over:
            raise api.ProtocolError("session-timed-out")
        return name

    async def _set_up(self, message: TextMessage, name: bytes) -> bytes:
        """Reserve ports for what a SETUP offers; raises BindError, ProtocolError."""
        place = _place_of_transport(message)
        exchange = SetupExchange("SETUP", message.start.target, name)
        if place is None:
            self._expect(message, exchange)
            return bytes(message)
        known = self._sessions.get(name)
        if known is None and len(self._sessions) >= limits.MAX_RTSP_SESSIONS:
            raise api.QuotaExceeded("too-many-rtsp-sessions")
        if known is not None and len(known.streams) >= limits.MAX_RTSP_SETUPS:
            raise api.QuotaExceeded("too-many-rtsp-sessions")
        specs = rtsp.read_transports(message.headers[place].value)
        if self._openings.is_published:
            for spec in specs:
                require_destination(spec, self._primary.client.address)
            self._expect(message, exchange)
            return bytes(message)
        offers = offers_of(specs, self._primary.client.address)
        cseq = self._expect(message, exchange)
        try:
            for offer in offers:
                pair = (offer.first, offer.first + 1)
                exchange.offers.append((offer, await self._openings.bind(pair, armed=False)))
        except BaseException:
            self._pending.pop(cseq, None)
            exchange.withdraw("refused")
            raise
        for offer, binding in exchange.offers:
            specs[offer.place] = offer.told(binding.proxy_address)
        return _with_transports(message, place, specs)

    def _expect(self, message: TextMessage, exchange: SetupExchange) -> int:
        """Keep a request until the answer with its number comes, and return that (its CSeq).

        Raises ProtocolError without a number of its own, QuotaExceeded when too many wait.
        """
        cseq = rtsp.read_cseq(message.the_only(b"cseq"))
        if cseq is None or cseq in self._pending:
            raise api.ProtocolError("bad-rtsp-cseq", message.first)
        if len(self._pending) >= limits.MAX_RTSP_PIPELINE:
            raise api.QuotaExceeded("too-many-rtsp-requests")
        self._pending[cseq] = exchange
        self._look_again()
        return cseq

    # -- the server ---------------------------------------------------------------------------

    async def _answered(self, message: TextMessage) -> bytes:
        """Return what the client shall hear of a message."""
        if message.start.is_request:
            if message.start.method == b"TEARDOWN":  # RFC 7826 section 13.7.2
                self._end(rtsp.read_session(message.get(b"session"))[0], None)
            return bytes(message)
        cseq, code = rtsp.read_cseq(message.get(b"cseq")), message.start.code
        exchange = None if cseq is None or code < 200 else self._pending.pop(cseq, None)
        if exchange is None:  # an answer to nothing opens nothing (attack R05)
            return bytes(message)
        if exchange.method == "TEARDOWN":
            if 200 <= code < 300 or code == 454:
                self._end(exchange.session, exchange.target)
            return bytes(message)
        try:
            if code == 200 and (place := _place_of_transport(message)) is not None:
                return await self._chosen(exchange, message, place)
        except (api.BindError, api.ProtocolError) as refusal:
            self._note(refusal, message.start.code)
        exchange.withdraw("refused")
        return bytes(message)

    async def _chosen(self, exchange: SetupExchange, message: TextMessage, place: int) -> bytes:
        """Open what the server has chosen, and nothing else (attack R03)."""
        specs = rtsp.read_transports(message.headers[place].value)
        answer = specs[0]
        if self._openings.is_published:
            specs[0], binding = await self._publish(answer)
        else:
            offer, binding = _choice(exchange, answer)
            exchange.withdraw("not-chosen", but=binding)
            if offer is not None:
                specs[0] = offer.given_back(answer, self._primary.client.address)
        if binding is not None:
            try:
                if not self._openings.is_published:
                    await self._openings.arm(binding, answer)
                self._keep(message, MediaStream(exchange.target, binding))
            except (api.BindError, api.ProtocolError) as refusal:
                binding.kill("refused")
                self._note(refusal, message.start.code)
        return _with_transports(message, place, specs)

    async def _publish(self, answer: TransportSpec) -> tuple[TransportSpec, api.Binding | None]:
        """Open the ports that a server of ours has named; raises BindError, ProtocolError."""
        ports = answer.ports(b"server_port") or tuple(
            one.port for one in answer.addresses(b"src_addr") if one.port is not None
        )
        if not ports or not answer.is_udp or answer.is_multicast:
            return answer, None
        binding = await self._openings.bind(ports, armed=True)
        proxy = binding.proxy_address
        told = tuple(api.Endpoint(proxy.address, proxy.port + i) for i in range(len(ports)))
        answer = answer.saying(b"server_port", rtsp.write_ports(tuple(one.port for one in told)))
        if answer.address(b"source") is not None:
            answer = answer.saying(b"source", str(proxy.address).encode())
        return answer.saying(b"src_addr", rtsp.write_addresses(told)), binding

    def _keep(self, message: TextMessage, stream: MediaStream) -> None:
        """Add a stream to its session; raises ProtocolError when the header cannot be read."""
        name, said = rtsp.read_session(message.get(b"session"))
        session = self._sessions.setdefault(name, MediaSession(timeout_of(said)))
        session.streams.append(stream)
        self._look_again()

    # -- ends ---------------------------------------------------------------------------------

    def _end(self, name: bytes, target: bytes | None) -> None:
        """Close what an RTSP session has open, or one stream of it."""
        session = self._sessions.get(name)
        if session is not None:
            session.end("torn-down", target)
            if not session.streams:
                del self._sessions[name]

    def _end_all(self, reason: str) -> None:
        for exchange in self._pending.values():
            exchange.withdraw(reason)
        for session in self._sessions.values():
            session.end(reason)
        self._pending.clear()
        self._sessions.clear()

    def _read_no_more(self, reason: str) -> None:
        """Pass both directions as they come; what is set up stays until the connection ends."""
        self._primary.note("stream.opaque", reason=reason)
        self._is_opaque = True
        for exchange in self._pending.values():
            exchange.withdraw(reason)
        self._pending.clear()
        self.server.send(self._from_client.take_rest())
        self.client.send(self._from_server.take_rest())

    def _look_again(self) -> None:
        """Come back while an answer is missing or a stream is open; nothing else can run out."""
        has_open = any(session.streams for session in self._sessions.values())
        self.set_deadline(limits.RTSP_LOOK_SECONDS if self._pending or has_open else None)

    # -- refusals -----------------------------------------------------------------------------

    def _refuse(self, message: TextMessage, refusal: _Refusal) -> None:
        """Answer a request in the server's place, between two messages of the server."""
        code = _code_of(refusal)
        self._note(refusal, code)
        cseq = message.get(b"cseq") or b"0"
        self._answers += b"%s %d %s\r\nCSeq: %s\r\n\r\n" % (
            message.start.version,
            code,
            _STATUS[code],
            cseq,
        )
        self._answer()

    def _answer(self) -> None:
        if self._answers and self._from_server.is_between_messages:
            self.client.send(self._answers)
            self._answers = b""

    def _note(self, refusal: _Refusal, code: int) -> None:
        if isinstance(refusal, api.BindError) and refusal.is_recorded:
            self._primary.note("media.answered", level="debug", code=code, reason=refusal.reason)
        else:
            self._primary.note("media.refused", level="warning", code=code, reason=refusal.reason)


def _code_of(refusal: _Refusal) -> int:
    if isinstance(refusal, api.QuotaExceeded):
        return 453
    if isinstance(refusal, api.OutOfResources):
        return 503
    if isinstance(refusal, api.BindError):
        return 403
    return _CODES.get(refusal.reason, 454 if refusal.reason == "session-timed-out" else 400)


def _place_of_transport(message: TextMessage) -> int | None:
    """Return which header is Transport; raises ProtocolError `header-twice` for two."""
    message.the_only(b"transport")
    places = [i for i, header in enumerate(message.headers) if header.name == b"transport"]
    if len(places) > 1:
        raise api.ProtocolError("header-twice", message.first)
    return places[0] if places else None


def _with_transports(message: TextMessage, place: int, specs: list[TransportSpec]) -> bytes:
    """Write a message with its Transport header as it is now; unchanged, it leaves as it came."""
    value = rtsp.write_transports(specs)
    is_changed = value != message.headers[place].value
    return bytes(message.with_header(place, value) if is_changed else message)


def _choice(
    exchange: SetupExchange, answer: TransportSpec
) -> tuple[MediaOffer | None, api.Binding | None]:
    """Return the offer that an answer has chosen, and its ports; None for anything else.

    An answer that does not name the ports chooses the only offer, or none of several.
    """
    chosen = [
        (offer, binding)
        for offer, binding in exchange.offers
        if offer.is_chosen_by(answer, binding.proxy_address)
    ]
    return chosen[0] if len(chosen) == 1 else (None, None)
