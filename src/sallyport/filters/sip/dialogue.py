"""One conversation of a telephone with its SIP server: which message opens, keeps and ends what.

The telephone's description of its media reserves ports, the far side's opens them, for the host
that it names. A change that is refused leaves all as it was; of a forked call the answered branch
is left. Ports close at once when BYE was answered or 32 seconds have passed, when the call was
refused or cancelled, when nothing was heard of it for minutes, and with the conversation.

Answers count for the request whose Call-ID, number, method and branch they repeat (attack P03).
Keep-alives, STUN and whatever else is no SIP pass as they come and open nothing (attack H05).
"""

from dataclasses import dataclass

from sallyport import api, limits
from sallyport.filters.sip.calls import CallOpenings, SipCall, own_streams, rewritten
from sallyport.filters.sip.names import SipNames, answer, is_signed, transaction
from sallyport.filters.sip.settings import SipSettings
from sallyport.wire.messages import TextMessage
from sallyport.wire.sdp import SessionDescription
from sallyport.wire.sip import uri
from sallyport.wire.sip.messages import MessageNames, is_sip, names_of, read_datagram

_REASONS = {
    400: b"Bad Request",
    403: b"Forbidden",
    488: b"Not Acceptable Here",
    503: b"Service Unavailable",
}
_OF_MEDIA = frozenset(
    {
        "media-without-address",
        "media-to-another-host",
        "not-an-even-pair",
        "media-not-over-udp",
        "sdp-among-parts",
        "too-many-media",
    }
)
_CHANGES = (b"INVITE", b"UPDATE")
# RFC 3261 section 10.2.1.1 and 20.19: seconds are 0 to 2^32 - 1.
_MAX_EXPIRES = 2**32

_Refusal = api.BindError | api.ProtocolError


@dataclass(slots=True)
class SipExchange:
    """A request whose answers count, for 32 seconds after the last one (RFC 3261 section 17)."""

    request: TextMessage
    is_final: bool = False
    seconds: float = 0.0


class SipDialogue(api.DataFilter):
    """Reads both directions of one conversation, a message in each datagram."""

    connection: api.PrimaryConnection

    def __init__(self, session_filter: api.SessionFilter, settings: SipSettings) -> None:
        self._session_filter = session_filter
        self._settings = settings
        self._calls: dict[bytes, SipCall] = {}
        self._ours: dict[tuple[bytes, int, bytes, bytes], SipExchange] = {}
        self._theirs: dict[tuple[bytes, int, bytes, bytes], SipExchange] = {}
        self._registered_seconds = 0.0
        self._has_heard = False
        """Whether the server has said something since the last look."""

    async def started(self) -> None:
        """Take the name under which the server knows the telephone."""
        told = self.connection.external_socket_name()
        self._names = SipNames(self.connection.client, told)
        self._told = told
        self._openings = CallOpenings(self.connection, self._session_filter, self._settings)
        self.set_deadline(limits.SIP_LOOK_SECONDS)

    async def from_client(self, data: bytes) -> None:
        """Pass a message of the telephone on, with the gateway's addresses in it."""
        message = self._read(data)
        if message is None:
            return
        if is_signed(message):
            self.server.send(data)
            return
        try:
            names = names_of(message)
            told = await self._told_by_client(self._names.outwards(message), names)
        except (api.BindError, api.ProtocolError) as refusal:
            self._refuse(message, refusal)
            return
        if told is not None:
            self.server.send(bytes(told))

    async def from_server(self, data: bytes) -> None:
        """Pass a message of the server on, with the telephone's own addresses in it."""
        self._has_heard = True
        message = self._read(data, is_from_client=False)
        if message is None:
            return
        if is_signed(message):
            self.client.send(data)
            return
        try:
            names, told = names_of(message), self._names.inwards(message)
        except api.ProtocolError as error:
            self._drop(error.reason)
            return
        try:
            await self._said_by_server(message, names)
        except (api.BindError, api.ProtocolError) as refusal:
            self._note(refusal, message.start.code)
        self.client.send(bytes(told))

    async def deadline_passed(self) -> None:
        """Look which requests, registrations and calls are over, and keep the conversation."""
        seconds = limits.SIP_LOOK_SECONDS
        for exchanges in (self._ours, self._theirs):
            for key, exchange in tuple(exchanges.items()):
                exchange.seconds += seconds
                is_bye = key[2] == b"BYE"
                limit = limits.SIP_ANSWER_SECONDS
                if exchange.is_final or is_bye or key[2] != b"INVITE":
                    is_over = exchange.seconds >= limit
                else:
                    is_over = exchange.seconds >= limits.SIP_DEAD_CALL_SECONDS
                if is_over:
                    del exchanges[key]
                    if is_bye:
                        self._end(key[0], "bye-unanswered")
        for call_id, call in tuple(self._calls.items()):
            call.passes_time(seconds)
            if call.silent_seconds >= limits.SIP_DEAD_CALL_SECONDS:
                self._end(call_id, "call-is-silent")
        self._registered_seconds = max(0.0, self._registered_seconds - seconds)
        self._keep()
        self.set_deadline(seconds)

    # -- what the telephone says ----------------------------------------------------------------

    async def _told_by_client(
        self, message: TextMessage, names: MessageNames
    ) -> TextMessage | None:
        """Return what the server shall hear; raises BindError, ProtocolError."""
        start = message.start
        if start.is_request:
            if start.method != b"ACK":
                self._remember(self._ours, message, names)
            message, call = await self._with_media(message, names, names.from_tag)
            if call is not None and start.method == b"ACK" and message.body:
                await call.agree(names.to_tag)
            return message
        exchange = self._theirs.get(transaction(names))
        if exchange is None:
            return message
        message, call = await self._with_media(message, names, names.to_tag)
        if start.code >= 200:
            exchange.is_final = True
            await self._concluded(names, start.code, names.from_tag)
        elif call is not None:
            await call.open()
        return message

    async def _with_media(
        self, message: TextMessage, names: MessageNames, own_tag: bytes
    ) -> tuple[TextMessage, SipCall | None]:
        """Return a message with the gateway's ports in its description, and its call."""
        said = _description(message, is_ours=True)
        call = self._calls.get(names.call_id)
        if said is None:
            return message, call
        streams = own_streams(said, self._openings)
        if call is None:
            if len(self._calls) >= limits.MAX_SIP_CALLS:
                raise api.QuotaExceeded("too-many-calls")
            call = SipCall(own_tag)
        bindings = await call.wants(self._openings, streams)
        self._calls[names.call_id] = call
        call.own_tag, call.silent_seconds = own_tag or call.own_tag, 0.0
        own = self.connection.client.address
        return message.with_body(rewritten(said, bindings, own)), call

    # -- what the server says ---------------------------------------------------------------------

    async def _said_by_server(self, message: TextMessage, names: MessageNames) -> None:
        """Do what a message means for calls and registrations; raises BindError, ProtocolError."""
        start = message.start
        if start.is_request:
            if start.method != b"ACK":
                self._remember(self._theirs, message, names)
            await self._far_media(
                message, names, names.from_tag, may_begin=start.method == b"INVITE"
            )
            return
        exchange = self._ours.get(transaction(names))
        if exchange is None:
            return
        # Of an INVITE without a description the answer is the offer, and ACK will answer it.
        await self._far_media(message, names, names.to_tag, may_begin=names.method == b"INVITE")
        if start.code >= 200:
            exchange.is_final = True
            if names.method == b"REGISTER" and start.code < 300:
                self._registered(exchange.request, message)
            await self._concluded(names, start.code, names.to_tag)

    async def _far_media(
        self, message: TextMessage, names: MessageNames, far_tag: bytes, *, may_begin: bool = False
    ) -> None:
        """Open what a description of the far side lets be opened."""
        said = _description(message)
        call = self._calls.get(names.call_id)
        if said is None:
            return
        if call is None:
            if not may_begin or len(self._calls) >= limits.MAX_SIP_CALLS:
                return
            call = self._calls[names.call_id] = SipCall(b"")
        call.silent_seconds = 0.0
        if call.answers(far_tag, said, self._openings):
            self.connection.note("media.refused", level="warning", reason="peer-is-not-outside")
        await call.open()
        if message.start.method == b"ACK":
            await call.agree(far_tag)

    def _registered(self, request: TextMessage, response: TextMessage) -> None:
        """Keep the way to the telephone open as long as both sides want (attacks P01, P02)."""
        asked = _expires(request, self._told)
        answered = _expires(response, self._told)
        most = self._settings.max_registration
        granted = min(one for one in (asked, answered, most) if one is not None)
        self._registered_seconds = granted + limits.SIP_ANSWER_SECONDS if granted else 0.0
        self._keep()

    # -- both -------------------------------------------------------------------------------------

    async def _concluded(self, names: MessageNames, code: int, far_tag: bytes) -> None:
        """Do what the final answer to a request means for its call."""
        call = self._calls.get(names.call_id)
        if call is None:
            return
        if names.method == b"BYE":
            if call.is_ending:
                self._end(names.call_id, "call-is-over")
        elif names.method in _CHANGES:
            if code < 300:
                call.is_established |= names.method == b"INVITE"
                await call.agree(far_tag)
            elif call.is_established:
                call.disagree()
            elif names.method == b"INVITE":
                self._end(names.call_id, "call-was-refused")

    def _remember(
        self,
        exchanges: dict[tuple[bytes, int, bytes, bytes], SipExchange],
        message: TextMessage,
        names: MessageNames,
    ) -> None:
        """Keep a request for its answers; raises QuotaExceeded (attack P08)."""
        key = transaction(names)
        if key not in exchanges and len(exchanges) >= limits.MAX_SIP_TRANSACTIONS:
            # What is answered is kept for repetitions alone, and goes first.
            answered = next((one for one in exchanges if exchanges[one].is_final), None)
            if answered is None:
                raise api.QuotaExceeded("too-many-transactions")
            del exchanges[answered]
        exchanges.setdefault(key, SipExchange(message))
        call = self._calls.get(names.call_id)
        if call is None:
            return
        call.silent_seconds = 0.0
        is_ours = exchanges is self._ours
        own, far = names.from_tag, names.to_tag
        if not is_ours:
            own, far = far, own
        # Both tags, so that only who knows the dialog ends it (attack P12).
        if (
            names.method == b"BYE"
            and own == call.own_tag
            and (far in call.far_tags or not call.far_tags)
        ):
            call.is_ending = True

    def _end(self, call_id: bytes, reason: str) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None:
            call.end(reason)

    def _keep(self) -> None:
        is_wanted = self._calls or self._has_heard
        self._has_heard = False
        seconds = max(self._registered_seconds, limits.DATAGRAM_IDLE_SECONDS if is_wanted else 0.0)
        if seconds and self.connection.is_open:
            self.connection.keep(seconds)

    # -- datagrams --------------------------------------------------------------------------------

    def _read(self, data: bytes, *, is_from_client: bool = True) -> TextMessage | None:
        """Read a message; pass on what is none, and drop what could be read in two ways (P09)."""
        if not is_sip(data):
            (self.server if is_from_client else self.client).send(data)
            return None
        try:
            return read_datagram(data)
        except api.ProtocolError as error:
            self._drop(error.reason)
            return None

    def _drop(self, reason: str) -> None:
        self.connection.note("datagram.dropped", level="warning", reason=reason)

    def _refuse(self, message: TextMessage, refusal: _Refusal) -> None:
        """Answer a request in the server's place; an answer or an ACK is dropped."""
        code = _code_of(refusal)
        self._note(refusal, code)
        if message.start.is_request and message.start.method != b"ACK":
            self.client.send(answer(message, code, _REASONS[code]))

    def _note(self, refusal: _Refusal, code: int) -> None:
        if isinstance(refusal, api.BindError) and refusal.is_recorded:
            self.connection.note("media.answered", level="debug", code=code, reason=refusal.reason)
        else:
            self.connection.note("media.refused", level="warning", code=code, reason=refusal.reason)


def _code_of(refusal: _Refusal) -> int:
    if isinstance(refusal, (api.QuotaExceeded, api.OutOfResources)):
        return 503
    if isinstance(refusal, api.BindError):
        return 403
    return 488 if refusal.reason in _OF_MEDIA else 400


def _description(message: TextMessage, *, is_ours: bool = False) -> SessionDescription | None:
    """Return the session description in a message; None without one.

    Raises ProtocolError as `SessionDescription`, and `sdp-among-parts` for one of the telephone's
    among other parts of a body: it would leave with the telephone's address.
    """
    kind = (message.get(b"content-type") or b"").lower()
    if kind.partition(b";")[0].strip() == b"application/sdp" and message.body:
        return SessionDescription(message.body)
    if is_ours and kind.startswith(b"multipart/") and b"application/sdp" in message.body.lower():
        raise api.ProtocolError("sdp-among-parts")
    return None


def _expires(message: TextMessage, told: api.Endpoint) -> int | None:
    """Return for how long our Contact is, or shall be, registered; None when nothing says it.

    A parameter of the Contact comes before the header (RFC 3261 section 10.2.1.1). What is no
    number of seconds counts as not said.
    """
    for value in message.all(b"contact"):
        for one in uri.read_name_addresses(value):
            said = one.uri()
            if one.target == b"*":
                return 0
            if said is not None and said.endpoint == told and one.get(b"expires") is not None:
                return _seconds(one.get(b"expires"))
    return _seconds(message.get(b"expires"))


def _seconds(said: bytes | None) -> int | None:
    if said is None or not said.isdigit() or len(said) > 10 or int(said) >= _MAX_EXPIRES:
        return None
    return int(said)
