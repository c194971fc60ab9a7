"""One FTP control connection: which commands and replies open what, and when.

The rules in words: PORT or EPRT reserves an opening; the server hears of that one; its 2xx to that
very command arms it before the client hears the 2xx. The reply to PASV or EPSV arms an opening
before the client hears where. What an opening is depends on which side is ours to protect: see
`sallyport.filters.ftp_outbound` and `sallyport.filters.ftp_inbound`.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.filter import SessionFilter
from sallyport.core.session import Session
from sallyport.errors import AddressNotAllowed, BindError, ProtocolError, Terminating
from sallyport.filters.ftp_stream import FtpStream
from sallyport.filters.ftp_verbs import (
    BARRIERS,
    DATA_VERBS,
    GREETING,
    KNOWN_VERBS,
    RESTARTS,
    TLS_MECHANISMS,
    TRANSFERS,
    WITHDRAWING,
)
from sallyport.wire import ftp
from sallyport.wire.lines import LINE_TOO_LONG, Line
from sallyport.wire.telnet import unescape


class Offer(Protocol):
    """What was reserved for one data connection: a binding, or a permission."""

    @property
    def proxy_address(self) -> Endpoint:
        """Where to connect, as whoever connects must hear it."""

    async def arm(self) -> None:
        """Open it; raises BindError."""

    def withdraw(self, reason: str) -> None:
        """Let nothing new in. Idempotent, never raises."""


@dataclass(frozen=True, slots=True)
class FtpSettings:
    """The keys of `[filters.ftp]`."""

    replace_foreign_passive_address: bool = False
    """Replace the address of a 227 that names another host by the server's own (attack V01)."""
    strict_data_port: bool = False
    """Accept data connections only from port 20 or the port below the control port (attack F27)."""


@dataclass(slots=True)
class _Expected:
    """A command whose final reply has not come; in `answer` our own, when it is ours to give."""

    verb: bytes
    answer: bytes | None = None
    offer: Offer | None = None


class FtpControl(FtpStream):
    """One control connection's dialogue, whichever side is protected.

    `connection.client` is whoever sends commands, `connection.server` whoever answers.
    `_expected` holds the commands the server has not answered, oldest first; replies are matched
    in order (attack F21). `_held` holds client lines that wait behind a barrier.
    """

    def __init__(
        self, session: Session, session_filter: SessionFilter, settings: FtpSettings
    ) -> None:
        super().__init__()
        self.session = session
        self.session_filter = session_filter
        self.settings = settings
        self._expected: deque[_Expected] = deque([_Expected(GREETING)])
        self._held: deque[Line] = deque()
        self._begun_reply = b""
        self._offer: Offer | None = None
        self._is_epsv_only = False
        self._has_bad_line = False
        self._has_stray_reply = False
        self._has_client_ended = False

    @abstractmethod
    async def reserve(self, wanted: Endpoint) -> Offer:
        """Reserve what PORT or EPRT asks for; raises BindError."""

    @abstractmethod
    async def open_passive(self, server: Endpoint) -> Offer:
        """Let the client connect to where the server listens, from now on; raises BindError."""

    async def client_closed(self) -> None:
        """No command will follow: nothing new may connect (attack F22), the rest is answered."""
        self._has_client_ended = True
        self._withdraw("client-closed")
        self.drop_unfinished_line()
        self._pass_end()

    # -- client lines -------------------------------------------------------------------------

    async def client_line(self, line: Line) -> None:
        """Handle a line now, or after what it waits for."""
        if not self._held and not self._must_wait(line):
            await self._command_line(line)
            return
        self._held.append(line)
        if len(self._held) > limits.MAX_FTP_PIPELINE:
            self.connection.close("too-many-lines-ahead")

    def _must_wait(self, line: Line) -> bool:
        """Whether something unanswered is a barrier to `line`.

        A transfer is one to what would withdraw its pinhole: the server may not have connected yet.
        """
        is_withdrawing = line.text[:4].upper() in WITHDRAWING
        barriers = BARRIERS | TRANSFERS if is_withdrawing else BARRIERS
        return len(self._expected) >= limits.MAX_FTP_PIPELINE or any(
            expected.verb in barriers for expected in self._expected
        )

    async def _release_held(self) -> None:
        while self._held and not self._must_wait(self._held[0]) and self.connection.is_open:
            await self._command_line(self._held.popleft())
        self._pass_end()

    def _pass_end(self) -> None:
        """Pass the client's FIN on, behind every line it said before."""
        if self._has_client_ended and not self._held:
            self.server.shutdown()

    async def _command_line(self, line: Line) -> None:
        if line.fault is not None:
            self._bad_line(line.fault)
            return
        try:
            command = ftp.parse_command(unescape(line.text))
        except ProtocolError as error:
            self._answer(500, "Syntax error, command unrecognized.", error.reason)
            return
        handle = self._HANDLERS.get(command.verb)
        if handle is not None:
            await handle(self, command, line)
        elif command.verb in KNOWN_VERBS:
            self._forward(command.verb, line.raw)
        else:
            self._answer(502, "Command not implemented.", "unknown-verb")

    def _bad_line(self, fault: str) -> None:
        """Answer a line that is none; the second one, or an endless one, ends the dialogue."""
        if self._has_bad_line or fault == LINE_TOO_LONG:
            self.client.send(ftp.reply(500, "Syntax error, closing control connection."))
            self.connection.close(fault)
            return
        self._has_bad_line = True
        self._answer(500, "Syntax error, line is not well formed.", fault)

    def _forward(self, verb: bytes, raw: bytes, offer: Offer | None = None) -> None:
        self._expected.append(_Expected(verb, offer=offer))
        self.server.send(raw)

    def _answer(self, code: int, text: str, reason: str) -> None:
        """Answer in the server's place, after everything the server still has to answer."""
        self.connection.note("command.refused", level="warning", code=code, reason=reason)
        self._expected.append(_Expected(b"", answer=ftp.reply(code, text)))
        self._send_answers()

    def _send_answers(self) -> None:
        while self._expected and self._expected[0].answer is not None:
            self.client.send(self._expected.popleft().answer or b"")

    # -- commands that concern data connections -----------------------------------------------

    async def _port(self, command: ftp.Command, line: Line) -> None:
        """PORT and EPRT: reserve an opening, and tell the server that one."""
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._answer(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
            return
        read, write = (
            (ftp.parse_port_argument, ftp.format_port_argument)
            if command.verb == b"PORT"
            else (ftp.parse_eprt_argument, ftp.format_eprt_argument)
        )
        try:
            wanted = read(command.argument or b"")
            offer = await self._reserve(wanted)
        except ftp.UnsupportedFamily as error:
            self._unsupported_family(error)
        except ProtocolError as error:
            self._answer(501, "Syntax error in parameters or arguments.", error.reason)
        except BindError as refusal:
            self._answer(*_REFUSALS.get(refusal.reason, _refusal(refusal)), refusal.reason)
        else:
            self._offer = offer
            told = command.verb + b" " + write(offer.proxy_address) + b"\r\n"
            self._forward(command.verb, told, offer)

    async def _reserve(self, wanted: Endpoint) -> Offer:
        if wanted.version != self.connection.client.version:
            # The other family may have another relation, under which this address would leak.
            raise ftp.UnsupportedFamily("not-the-family-of-the-connection")
        self._check_client_listens()
        return await self.reserve(wanted)

    async def _pasv(self, command: ftp.Command, line: Line) -> None:
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._answer(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
        elif command.argument:
            self._answer(501, "PASV has no argument.", "bad-pasv-argument")
        else:
            self._forward(b"PASV", line.raw)

    async def _epsv(self, command: ftp.Command, line: Line) -> None:
        self._withdraw("replaced")
        try:
            request = ftp.parse_epsv_argument(command.argument)
        except ftp.UnsupportedFamily as error:
            self._unsupported_family(error)
        except ProtocolError as error:
            self._answer(501, "Syntax error in parameters or arguments.", error.reason)
        else:
            # A promise binds whoever made it, whatever the server answers (RFC 2428 section 4).
            self._is_epsv_only |= request is ftp.EpsvRequest.ALL
            is_promise = request is ftp.EpsvRequest.ALL
            self._forward(b"EPSV ALL" if is_promise else b"EPSV", line.raw)

    async def _auth(self, command: ftp.Command, line: Line) -> None:
        if (command.argument or b"").upper() in TLS_MECHANISMS:
            self._forward(b"AUTH", line.raw)
        else:
            # GSSAPI and Kerberos wrap single commands where we could not follow (RFC 2228).
            self._answer(504, "Security mechanism not implemented.", "unknown-mechanism")

    async def _start_over(self, command: ftp.Command, line: Line) -> None:
        """REIN and USER; the promise of EPSV ALL alone outlives them: others relied on it."""
        self._withdraw("login-restarted")
        self._forward(command.verb, line.raw)

    _HANDLERS: ClassVar[
        dict[bytes, Callable[["FtpControl", ftp.Command, Line], Awaitable[None]]]
    ] = {
        b"PORT": _port,
        b"EPRT": _port,
        b"PASV": _pasv,
        b"EPSV": _epsv,
        b"AUTH": _auth,
        **dict.fromkeys(RESTARTS, _start_over),
    }

    def _unsupported_family(self, error: ProtocolError) -> None:
        family = 1 if self.connection.client.version == 4 else 2
        self._answer(522, f"Network protocol not supported, use ({family})", error.reason)

    # -- replies ------------------------------------------------------------------------------

    async def reply_line(self, line: ftp.ReplyLine) -> None:
        """Match a reply to the oldest command without one, and act on it."""
        if not self._expected:
            self._stray_reply(line)
            return
        expected = self._expected[0]
        if not line.is_final or line.is_preliminary:
            self._reply_goes_on(expected, line)
            return
        self._expected.popleft()
        answer = await self._answered(expected, line)
        begun, self._begun_reply = self._begun_reply, b""
        self.client.send(begun + answer)
        if expected.verb == GREETING and not line.is_success:
            self.connection.close("greeting-refused")
        elif not self.is_opaque:
            self._send_answers()
            await self._release_held()

    def _reply_goes_on(self, expected: _Expected, line: ftp.ReplyLine) -> None:
        """Pass a line that decides nothing; keep it back where the last line may be replaced."""
        if expected.verb not in DATA_VERBS:
            self.client.send(line.raw)
            return
        self._begun_reply += line.raw
        if len(self._begun_reply) > limits.MAX_HELD_BYTES:
            self.connection.close("reply-too-long")

    async def _answered(self, expected: _Expected, line: ftp.ReplyLine) -> bytes:
        """Act on the final line of a reply; give what the client shall hear."""
        if expected.offer is not None:
            return await self._port_answered(expected.offer, line)
        match expected.verb, line.code:
            case b"PASV", 227:
                return await self._passive(line, self._pasv_answered)
            case b"EPSV", 229:
                return await self._passive(line, self._epsv_answered)
            case b"AUTH", 234:
                self._auth_accepted()
        return line.raw

    async def _port_answered(self, offer: Offer, line: ftp.ReplyLine) -> bytes:
        if not line.is_success:
            offer.withdraw("server-refused")
            return line.raw
        try:
            await offer.arm()
        except BindError as refusal:
            self.connection.note("binding.not_armed", level="warning", reason=refusal.reason)
            return self._replace_reply(425, "Can't open data connection.")
        return line.raw

    def _replace_reply(self, code: int, text: str) -> bytes:
        """Give a reply of ours in the place of the server's whole reply, not of its last line."""
        self._begun_reply = b""
        return ftp.reply(code, text)

    async def _passive(
        self, line: ftp.ReplyLine, answer: Callable[[ftp.ReplyLine], Awaitable[bytes]]
    ) -> bytes:
        """Open where the server listens, before the client hears where."""
        try:
            return await answer(line)
        except (ProtocolError, BindError) as refusal:
            self.connection.note("passive.refused", level="warning", reason=refusal.reason)
            return self._replace_reply(425, "Can't open passive connection.")

    async def _pasv_answered(self, line: ftp.ReplyLine) -> bytes:
        found = ftp.read_pasv_reply(line.text)
        if found is None:
            return line.raw  # "227 Logout.": text, not an address (attack V04)
        server = Endpoint(self.connection.server.address, found.endpoint.port)
        if found.endpoint != server and not (
            self.settings.replace_foreign_passive_address and server.version == 4
        ):
            raise AddressNotAllowed("passive-address-is-not-the-servers")
        told = await self._offer_passive(server)
        if told == found.endpoint:
            return line.raw
        return ftp.splice(line.raw, found.span, ftp.format_port_argument(told))

    async def _epsv_answered(self, line: ftp.ReplyLine) -> bytes:
        found = ftp.read_epsv_reply(line.text)
        server = Endpoint(self.connection.server.address, found.port)
        told = await self._offer_passive(server)
        return ftp.splice(line.raw, found.span, b"%d" % told.port)

    async def _offer_passive(self, server: Endpoint) -> Endpoint:
        self._check_client_listens()
        self._offer = await self.open_passive(server)
        return self._offer.proxy_address

    def _stray_reply(self, line: ftp.ReplyLine) -> None:
        """Pass a reply nobody asked for once, and 421 always; it opens nothing (attack V09)."""
        if line.code != 421 and line.is_final:
            if self._has_stray_reply:
                self.connection.close("stray-reply")
                return
            self._has_stray_reply = True
        self.client.send(line.raw)

    def _auth_accepted(self) -> None:
        """Nothing said in plain text counts from here on (attack F30)."""
        self._withdraw("auth-tls")
        dropped = len(self._held) + self.drop_unfinished_line()
        self.switch_to_tls()
        self._held.clear()
        self._expected.clear()
        self.connection.note("stream.opaque", reason="auth-tls", dropped_lines=dropped)

    def _check_client_listens(self) -> None:
        if self._has_client_ended:
            raise Terminating("client-closed")

    def _withdraw(self, reason: str) -> None:
        if self._offer is not None:
            self._offer.withdraw(reason)
        self._offer = None


def _refusal(refusal: BindError) -> tuple[int, str]:
    if isinstance(refusal, AddressNotAllowed):
        return 501, "Address not allowed."
    return 425, "Can't open data connection."


# RFC 2577 section 3 names the reply to a port below 1024.
_LOW_PORT = 504, "Command not implemented for that parameter."
_REFUSALS = {"client-port-below-minimum": _LOW_PORT, "server-port-below-minimum": _LOW_PORT}
