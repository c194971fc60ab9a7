"""One FTP control connection: which commands and replies open what, and when.

The rules in words: PORT or EPRT reserves a port; the server hears of that one; its 2xx to that very
command opens the pinhole before the client hears the 2xx. The reply to PASV or EPSV lets the client
connect to the server before the client hears where.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.binding import Binding
from sallyport.core.filter import SessionFilter
from sallyport.core.future import FutureConnection
from sallyport.core.protocols import ProtocolDefinition
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
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter
from sallyport.wire import ftp
from sallyport.wire.lines import LINE_TOO_LONG, Line
from sallyport.wire.telnet import unescape

FTP = ProtocolDefinition("ftp", Transport.TCP, 21)
"""The protocol as access rules know it."""


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
    binding: Binding | None = None


class FtpControl(FtpStream):
    """One control connection's dialogue.

    `_expected` holds the commands the server has not answered, oldest first; replies are matched
    in order (attack F21). `_held` holds client lines that wait behind a barrier.
    """

    def __init__(
        self, session: Session, session_filter: SessionFilter, settings: FtpSettings
    ) -> None:
        super().__init__()
        self._session = session
        self._session_filter = session_filter
        self._settings = settings
        self._expected: deque[_Expected] = deque([_Expected(GREETING)])
        self._held: deque[Line] = deque()
        self._begun_reply = b""
        self._offer: Binding | FutureConnection | None = None
        self._is_epsv_only = False
        self._has_bad_line = False
        self._has_stray_reply = False
        self._has_client_ended = False

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

    def _forward(self, verb: bytes, raw: bytes, binding: Binding | None = None) -> None:
        self._expected.append(_Expected(verb, binding=binding))
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

    async def _port(self, command: ftp.Command, _line: Line) -> None:
        """PORT and EPRT: reserve a port, and tell the server that one."""
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
            binding = await self._bind(wanted)
            argument = write(binding.proxy_address)
        except ftp.UnsupportedFamily as error:
            self._unsupported_family(error)
        except ProtocolError as error:
            self._answer(501, "Syntax error in parameters or arguments.", error.reason)
        except BindError as refusal:
            self._answer(*_REFUSALS.get(refusal.reason, _refusal(refusal)), refusal.reason)
        else:
            self._offer = binding
            self._forward(command.verb, command.verb + b" " + argument + b"\r\n", binding)

    async def _bind(self, wanted: Endpoint) -> Binding:
        if wanted.version != self.connection.client.version:
            # The other family may have another relation, under which this address would leak.
            raise ftp.UnsupportedFamily("not-the-family-of-the-connection")
        self._check_client_listens()
        return await self._session.bind_for_client(
            [wanted],
            transport=Transport.TCP,
            protocol=FTP,
            flags=BindFlags.TIMEOUT,
            session_filter=self._session_filter,
            ip_filter=IpFilter.of(self.connection.server.address),
            peer_ports=self._data_ports(),
            primary=self.connection,
            armed=False,
        )

    def _data_ports(self) -> frozenset[int] | None:
        """RFC 959 section 5.2: the server's data port is the one below its control port."""
        if not self._settings.strict_data_port:
            return None
        return frozenset({20, self.connection.server.port - 1})

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
        # A reply we give ourselves replaces the server's whole reply, not its last line.
        begun, self._begun_reply = self._begun_reply, b""
        self.client.send(begun + answer if answer is line.raw else answer)
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
        if expected.binding is not None:
            return await self._port_answered(expected.binding, line)
        match expected.verb, line.code:
            case b"PASV", 227:
                return await self._passive(line, self._read_227)
            case b"EPSV", 229:
                return await self._passive(line, self._read_229)
            case b"AUTH", 234:
                self._auth_accepted()
        return line.raw

    async def _port_answered(self, binding: Binding, line: ftp.ReplyLine) -> bytes:
        if not line.is_success:
            binding.withdraw("server-refused")
            return line.raw
        try:
            await binding.arm()
        except BindError as refusal:
            self.connection.note("binding.not_armed", level="warning", reason=refusal.reason)
            return ftp.reply(425, "Can't open data connection.")
        return line.raw

    async def _passive(
        self, line: ftp.ReplyLine, read: Callable[[ftp.ReplyLine], tuple[Endpoint, bytes] | None]
    ) -> bytes:
        """Let the client connect to where the server listens, before it hears where."""
        try:
            found = read(line)
            if found is None:
                return line.raw
            endpoint, raw = found
            self._check_client_listens()
            self._offer = await self._session.allow_future_connect(
                endpoint, protocol=FTP, primary=self.connection
            )
        except (ProtocolError, BindError) as refusal:
            self.connection.note("passive.refused", level="warning", reason=refusal.reason)
            return ftp.reply(425, "Can't open passive connection.")
        return raw

    def _read_227(self, line: ftp.ReplyLine) -> tuple[Endpoint, bytes] | None:
        found = ftp.read_pasv_reply(line.text)
        if found is None:
            return None  # "227 Logout.": text, not an address (attack V04)
        server = Endpoint(self.connection.server.address, found.endpoint.port)
        if found.endpoint == server:
            return server, line.raw
        if not self._settings.replace_foreign_passive_address or server.version != 4:
            raise AddressNotAllowed("passive-address-is-not-the-servers")
        return server, ftp.splice(line.raw, found.span, ftp.format_port_argument(server))

    def _read_229(self, line: ftp.ReplyLine) -> tuple[Endpoint, bytes]:
        found = ftp.read_epsv_reply(line.text)
        return Endpoint(self.connection.server.address, found.port), line.raw

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
        if isinstance(self._offer, Binding):
            self._offer.withdraw(reason)
        elif self._offer is not None:
            self._offer.cancel()
        self._offer = None


def _refusal(refusal: BindError) -> tuple[int, str]:
    if isinstance(refusal, AddressNotAllowed):
        return 501, "Address not allowed."
    return 425, "Can't open data connection."


# RFC 2577 section 3 names the reply to a port below 1024.
_REFUSALS = {"client-port-below-minimum": (504, "Command not implemented for that parameter.")}
