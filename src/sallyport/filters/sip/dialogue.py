"""One conversation of a telephone with a host outside: which message opens, keeps and ends what.

The telephone's description of its media reserves ports, the far side's opens them, for the host
that it names. A change that is refused leaves all as it was. Of a forked call the answered branch
is left; what the others send ends with the ACK. Ports close at once when BYE was answered or 32
seconds have passed, when the call was refused or cancelled, when nothing was heard of it for
minutes, and over UDP with the conversation.

Answers count for the request whose Call-ID, number, method and branch they repeat (attack P03).
Keep-alives, STUN and whatever else is no SIP pass as they come and open nothing (attack H05).
"""

from sallyport import api, limits
from sallyport.filters.sip.answers import Refusal, answer, answer_to_unread, code_of
from sallyport.filters.sip.calls import SipCall
from sallyport.filters.sip.descriptions import (
    description_of,
    neighbours_in,
    own_streams,
    rewritten,
    with_description,
)
from sallyport.filters.sip.exchanges import SipExchange
from sallyport.filters.sip.flows import flow_of
from sallyport.filters.sip.framing import SipFraming
from sallyport.filters.sip.names import SipPlaces, is_signed
from sallyport.filters.sip.ports import SignallingPort
from sallyport.filters.sip.registrations import (
    Registrations,
    granted_seconds,
    name_of_registration,
)
from sallyport.filters.sip.settings import SipSettings
from sallyport.filters.sip.telephone import SipTelephone
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.messages import MessageNames, names_of

_CHANGES = (b"INVITE", b"UPDATE")
# Both promise to be reached for some time, and are answered with how long (RFC 3261, RFC 6665).
_LASTING = (b"REGISTER", b"SUBSCRIBE")

# Of several telephones that ring for one call, this one rings no more (RFC 6228).
_IS_GONE = 199


class SipDialogue(api.DataFilter):
    """Reads both directions of one flow: messages in datagrams, or in a stream."""

    def __init__(self, telephone: SipTelephone, settings: SipSettings) -> None:
        self._telephone = telephone
        self._settings = settings
        self._conversation: api.PrimaryConnection | None = None
        """The connection, if it is one over UDP: that has no end of its own, and is kept."""
        self._registrations = Registrations()
        self._is_begun = self._is_foreign = False
        self._has_heard = False
        """Whether the far side has said something since the last look."""

    async def started(self) -> None:
        """Take the names of both ends."""
        self._flow = flow_of(self, self._settings)
        self._own, self._far = self.client, self.server
        is_stream, self._is_port = self._flow.is_stream, self._flow.connection.is_secondary
        self._from_client = SipFraming(is_stream=is_stream, is_port=self._is_port)
        self._from_server = SipFraming(is_stream=is_stream, is_port=self._is_port)
        if self._is_own_server:
            self._own, self._far = self._far, self._own
        if isinstance(self.connection, api.PrimaryConnection) and not is_stream:
            self._conversation = self.connection
            self.set_deadline(limits.SIP_LOOK_SECONDS)

    @property
    def _is_own_server(self) -> bool:
        """Whether the telephone is at the server's end: it is published, and this not a port."""
        return self._flow.is_published and not self._is_port

    async def from_client(self, data: bytes) -> None:
        """Pass on what the end says that opened the flow, or the telephone at a port."""
        if self._is_foreign:
            self.server.send(data)
            return
        self._from_client.feed(data)
        if self._begins():
            await self._read(self._from_client, is_own=not self._is_own_server)

    async def from_server(self, data: bytes) -> None:
        """Pass on what the other end says."""
        if self._is_foreign:
            self.client.send(data)
            return
        self._from_server.feed(data)
        await self._read(self._from_server, is_own=self._is_own_server)

    async def client_closed(self) -> None:
        """Pass the end of a stream on; a message that was cut off is not."""
        self.server.shutdown()

    async def server_closed(self) -> None:
        """Pass the end of a stream on; a message that was cut off is not."""
        self.client.shutdown()

    async def deadline_passed(self) -> None:
        """Keep the conversation while a registration or a call needs it."""
        seconds = limits.SIP_LOOK_SECONDS
        self._registrations.passes_time(seconds)
        self._keep()
        self.set_deadline(seconds)

    def detach(self) -> None:
        """End the calls that a conversation over UDP has begun: it was kept for them."""
        if self._conversation is not None:
            self._telephone.conversation_is_over(self._conversation)

    def _begins(self) -> bool:
        """Whether what was opened begins as SIP; a stream that does not is never read (H04, H07).

        Not what comes to a port of ours: there nothing but SIP passes, or a registration would open
        any service of its host to its registrar.
        """
        if not self._is_begun and self._is_port:
            self._is_begun = True
        if not self._is_begun:
            opening = self._from_client.opening()
            self._is_begun = opening is api.FirstBytes.OURS
            if opening.is_foreign:
                self._is_foreign = True
                self._flow.primary.note("stream.opaque", reason=f"foreign-{opening}")
                self.server.send(self._from_client.take_rest())
                self.client.send(self._from_server.take_rest())
        return self._is_begun

    async def _read(self, framing: SipFraming, *, is_own: bool) -> None:
        """Read what one side says, message by message."""
        end = self._far if is_own else self._own
        self._has_heard |= not is_own
        try:
            while (one := framing.take()) is not None:
                if isinstance(one, bytes):
                    end.send(one)
                elif is_signed(one):
                    end.send(bytes(one))
                elif is_own:
                    await self._said_by_own(one)
                else:
                    await self._said_by_far(one)
        except api.ProtocolError as error:
            self._unread(framing, error, end=self._own if is_own else self._far)

    # -- what the telephone says ----------------------------------------------------------------

    async def _said_by_own(self, message: TextMessage) -> None:
        """Pass a message of the telephone on, with the gateway's addresses in it."""
        is_request = message.start.is_request
        try:
            names = names_of(message)
            places, ports = await self._telephone.places(self._flow, message, names)
            told = self._telephone.names.outwards(message, places)
            if is_request:
                told = await self._asked_by_own(told, names, ports)
            else:
                told = await self._answered_by_own(told, names, ports)
        except (api.BindError, api.ProtocolError) as refusal:
            self._refuse(message, refusal, self._own)
            return
        self._far.send(bytes(told))

    async def _asked_by_own(
        self, message: TextMessage, names: MessageNames, ports: tuple[SignallingPort, ...]
    ) -> TextMessage:
        """Return what the far side shall hear of a request; raises BindError, ProtocolError."""
        method, exchange = message.start.method, SipExchange(message, ports)
        if method != b"ACK":
            self._telephone.host(self._flow).ours.add(names, exchange)
        try:
            message, call = await self._with_media(message, names, names.from_tag, is_own=True)
        except (api.BindError, api.ProtocolError):
            exchange.is_final = True  # it was answered by us
            raise
        if call is not None and method == b"ACK":
            if message.body:
                await call.agree(names.to_tag)
            call.settle()
        if call is not None and method == b"BYE" and names.from_tag:
            if call.is_one_of_several(names.to_tag):
                await call.loses(names.to_tag)
            else:
                call.is_ending |= call.is_between(names.from_tag, names.to_tag)
        return message

    async def _answered_by_own(
        self, message: TextMessage, names: MessageNames, ports: tuple[SignallingPort, ...]
    ) -> TextMessage:
        """Return what the far side shall hear of an answer; raises BindError, ProtocolError."""
        code = message.start.code
        exchange = self._telephone.host(self._flow).theirs.find(names)
        if exchange is None:
            return message
        if 100 < code < 300:
            message, call = await self._with_media(message, names, names.to_tag, is_own=False)
            if call is not None and exchange.is_heard:
                self._hears(call, exchange.request, names.from_tag)
                await call.open()
        if 200 <= code < 300:
            for port in ports:
                await port.open()
            if self._flow.is_published:
                self._granted(exchange, message)
        if code >= 200:
            exchange.is_final = True
            if exchange.is_heard:
                await self._concluded(names, code, names.from_tag)
        return message

    async def _with_media(
        self, message: TextMessage, names: MessageNames, own_tag: bytes, *, is_own: bool
    ) -> tuple[TextMessage, SipCall | None]:
        """Return a message with the gateway's ports in its description, and its call."""
        said = description_of(message)
        call = self._telephone.call(names.call_id)
        if call is not None:
            call.silent_seconds = 0.0
        if said is None:
            return message, call
        streams, is_new = own_streams(said, self._flow), call is None
        if call is None:
            call = self._telephone.begin_call(self._flow, names.call_id, own_tag, is_own=is_own)
        call.own_tag = own_tag or call.own_tag
        try:
            told = await call.wants(self._flow, streams)
        except api.BindError:
            if is_new:
                self._telephone.end_call(names.call_id, "refused")
            raise
        return with_description(message, rewritten(said, told, self._flow.own.address)), call

    # -- what the far side says -------------------------------------------------------------------

    async def _said_by_far(self, message: TextMessage) -> None:
        """Pass a message of the far side on, with the telephone's own addresses in it."""
        flow = self._flow
        places = SipPlaces(flow.own, flow.told, flow.transport, flow.is_published)
        try:
            names, told = names_of(message), self._telephone.names.inwards(message, places)
        except api.ProtocolError as refusal:
            self._refuse(message, refusal, self._far)
            return
        try:
            if message.start.is_request:
                await self._asked_by_far(message, names)
            else:
                await self._answered_by_far(message, names)
            told = self._with_neighbours(told)
        except (api.BindError, api.ProtocolError) as refusal:
            self._note(refusal, message.start.code)
        self._own.send(bytes(told))

    def _with_neighbours(self, message: TextMessage) -> TextMessage:
        """Return a message with the neighbours' own addresses in its description."""
        said = description_of(message)
        neighbours = {} if said is None else neighbours_in(said, self._flow)
        if said is None or not neighbours:
            return message
        line = said.media[min(neighbours)].connection
        told = None if line is None else said.address(line)
        assert told is not None  # noqa: S101 - it was found by its address
        return with_description(message, rewritten(said, neighbours, told))

    async def _asked_by_far(self, message: TextMessage, names: MessageNames) -> None:
        """Do what a request of the far side means; raises BindError, ProtocolError.

        The media that it names are heard when the telephone has answered, those in an ACK at once:
        that is the answer to the telephone's own offer.
        """
        method, call = message.start.method, self._telephone.call(names.call_id)
        is_named = method == b"INVITE" or names.to_tag
        is_heard = call is None or bool(is_named and call.is_between(names.to_tag, names.from_tag))
        if method != b"ACK":
            exchange = SipExchange(message, is_heard=is_heard)
            self._telephone.host(self._flow).theirs.add(names, exchange)
        if call is None or not is_heard:
            return
        call.silent_seconds = 0.0
        call.is_ending |= method == b"BYE"
        if method == b"ACK":
            if message.body:
                self._hears(call, message, names.from_tag)
                await call.agree(names.from_tag)
            call.settle()

    async def _answered_by_far(self, message: TextMessage, names: MessageNames) -> None:
        """Do what an answer of the far side means; raises BindError, ProtocolError."""
        host, code = self._telephone.host(self._flow), message.start.code
        exchange, call = host.ours.find(names), self._telephone.call(names.call_id)
        if exchange is None:
            return
        is_late = exchange.is_final and not (call and call.has_answer_of(names.to_tag))
        if not is_late and 100 < code < 300:
            if call is None and names.method == b"INVITE" and message.body:
                # Of an INVITE without a description the answer is the offer; ACK will answer it.
                call = self._telephone.begin_call(
                    self._flow, names.call_id, names.from_tag, is_own=True
                )
            if call is not None and code == _IS_GONE:
                await call.loses(names.to_tag)
            elif call is not None:
                self._hears(call, message, names.to_tag)
                await call.open()
        if code < 200 or is_late:
            return
        exchange.is_final = True
        if code < 300:
            for port in exchange.ports:
                await port.open()
            if not self._flow.is_published:
                self._granted(exchange, message)
        await self._concluded(names, code, names.to_tag)

    def _hears(self, call: SipCall, message: TextMessage | None, far_tag: bytes) -> None:
        """Take what a message of the far side says about its media; raises ProtocolError."""
        said = None if message is None else description_of(message)
        call.silent_seconds = 0.0
        if said is None:
            return
        if call.answers(self._flow, far_tag, said, but=neighbours_in(said, self._flow)):
            primary = self._flow.primary
            primary.note("media.refused", level="warning", reason="peer-is-not-outside")

    def _granted(self, exchange: SipExchange, response: TextMessage) -> None:
        """Keep the way to the telephone open as long as both sides want (attacks P01, P02)."""
        if exchange.request is None or exchange.request.start.method not in _LASTING:
            return
        told = None if self._flow.is_published else {self._flow.told}
        if told is not None:
            told |= {port.told for port in exchange.ports}
        most = self._settings.max_registration
        seconds = granted_seconds(exchange.request, response, told, most)
        if seconds is not None:
            name = name_of_registration(exchange.request)
            self._telephone.host(self._flow).registered(exchange.ports, name, seconds)
            self._registrations.lasts(name, seconds)
            self._keep()

    # -- both -------------------------------------------------------------------------------------

    async def _concluded(self, names: MessageNames, code: int, far_tag: bytes) -> None:
        """Do what the final answer to a request means for its call."""
        call = self._telephone.call(names.call_id)
        if call is None:
            return
        if names.method == b"BYE":
            if call.is_ending:
                self._telephone.end_call(names.call_id, "call-is-over")
        elif names.method in _CHANGES:
            if code < 300:
                call.is_established |= names.method == b"INVITE"
                await call.agree(far_tag)
            elif call.is_established:
                call.disagree()
            elif names.method == b"INVITE":
                self._telephone.end_call(names.call_id, "call-was-refused")

    def _keep(self) -> None:
        """Keep a conversation over UDP while something needs it."""
        if self._conversation is None:
            return
        is_wanted = self._has_heard or self._telephone.calls_with(self._flow.far.address)
        self._has_heard = False
        seconds = max(self._registrations.longest, limits.DATAGRAM_IDLE_SECONDS if is_wanted else 0)
        if seconds and self._conversation.is_open:
            self._conversation.keep(seconds)

    # -- refusals ---------------------------------------------------------------------------------

    def _unread(self, framing: SipFraming, error: api.ProtocolError, *, end: api.StreamEnd) -> None:
        """Answer what cannot be read, or can in two ways (P09); a stream ends with it."""
        said = answer_to_unread(framing.unread)
        if said is not None:
            end.send(said)
        if self._flow.is_stream:
            self._flow.primary.note("message.dropped", level="warning", reason=error.reason)
            self.close()
        else:
            self._flow.primary.note("datagram.dropped", level="warning", reason=error.reason)

    def _refuse(self, message: TextMessage, refusal: Refusal, end: api.StreamEnd) -> None:
        """Answer a request at the end that it came from; an answer or an ACK is dropped."""
        code = code_of(refusal)
        self._note(refusal, code)
        said = answer(message, code)
        if said is not None:
            end.send(said)

    def _note(self, refusal: Refusal, code: int) -> None:
        primary, reason = self._flow.primary, refusal.reason
        if isinstance(refusal, api.BindError) and refusal.is_recorded:
            primary.note("media.answered", level="debug", code=code, reason=reason)
        else:
            primary.note("media.refused", level="warning", code=code, reason=reason)
