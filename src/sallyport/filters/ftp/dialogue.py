"""One FTP control connection: which commands and replies open what, and when.

The rules in words: PORT or EPRT reserves an opening; the server hears of that one; its 2xx to that
very command arms it before the client hears the 2xx. The reply to PASV or EPSV arms an opening
before the client hears where. What an opening is depends on which side is ours to protect: that is
the host's to know. What the client hears of a transfer that somebody looks into: see
`sallyport.filters.ftp.reply_queue`.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import ClassVar

from sallyport import limits
from sallyport.api import (
    AddressNotAllowed,
    BindError,
    Endpoint,
    ProtocolError,
    Terminating,
)
from sallyport.filters.ftp.agreement import Agreement, FtpTransfer, Offer
from sallyport.filters.ftp.host import Host
from sallyport.filters.ftp.reply_queue import Answer, Answers
from sallyport.filters.ftp.stream import FtpStream
from sallyport.filters.ftp.verbs import (
    BARRIERS,
    GREETING,
    KNOWN_VERBS,
    RESTARTS,
    TLS_MECHANISMS,
    TRANSFERS,
    WITHDRAWING,
)
from sallyport.wire.ftp import formats
from sallyport.wire.ftp.formats import Command, EpsvRequest, UnsupportedFamily
from sallyport.wire.ftp.replies import ReplyLine, reply
from sallyport.wire.lines import LINE_TOO_LONG, fault_of
from sallyport.wire.telnet import unescape


class FtpDialogue(FtpStream):
    """One control connection's dialogue, whichever side is protected.

    `replaces_foreign_address`: whether the address of a 227 that names another host is taken for
    the server's own, instead of refused (attack V01). `_answers` holds what the client has not
    heard, `_held` the client's lines that wait behind a barrier.
    """

    def __init__(self, host: Host, *, replaces_foreign_address: bool = False) -> None:
        super().__init__(host)
        self._replaces_foreign_address = replaces_foreign_address
        self._answers = Answers(self.client.send)
        self._answers.expect(Answer(GREETING))
        self._held: deque[bytes] = deque()
        self._agreement: Agreement | None = None
        self._is_epsv_only = False
        self._has_bad_line = False
        self._has_stray_reply = False
        self._has_client_ended = False
        self._has_server_ended = False

    async def client_closed(self) -> None:
        """No command will follow: nothing new may connect (attack F22), the rest is answered."""
        self._has_client_ended = True
        self._withdraw("client-closed")
        self.drop_unfinished_line()
        self._pass_end()

    async def server_closed(self) -> None:
        """No reply will follow: the dialogue is over when everything said was heard."""
        self._has_server_ended = True
        self._end_when_told()

    # -- client lines -------------------------------------------------------------------------

    async def client_line(self, line: bytes) -> None:
        """Handle a line now, or after what it waits for."""
        if not self._held and not self._must_wait(line):
            await self._command_line(line)
            return
        self._held.append(line)
        if len(self._held) > limits.MAX_FTP_PIPELINE:
            self.connection.close("too-many-lines-ahead")

    def _must_wait(self, line: bytes) -> bool:
        """Whether something unanswered is a barrier to `line`.

        A transfer is one to what would withdraw its pinhole: the server may not have connected yet.
        """
        if not self._answers:
            return False
        is_withdrawing = line[:4].upper() in WITHDRAWING
        barriers = BARRIERS | TRANSFERS if is_withdrawing else BARRIERS
        return len(self._answers) >= limits.MAX_FTP_PIPELINE or self._answers.has_one_of(barriers)

    async def _go_on(self) -> None:
        """Do what waited for a reply, or for the end of a data connection."""
        if not self.connection.is_open:
            return
        self._end_when_told()
        while self._held and not self._must_wait(self._held[0]) and self.connection.is_open:
            await self._command_line(self._held.popleft())
        self._pass_end()

    async def _transfer_ended(self) -> None:
        if self.connection.is_open:  # a transfer may outlive it: nobody hears of that any more
            self._answers.tell()
            await self._go_on()

    def _end_when_told(self) -> None:
        if self._has_server_ended and not self._answers.is_holding:
            self.connection.close("server-closed")

    def _pass_end(self) -> None:
        """Pass the client's FIN on, behind every line it said before."""
        if self._has_client_ended and not self._held:
            self.server.shutdown()

    async def _command_line(self, line: bytes) -> None:
        try:
            command = formats.parse_command(unescape(line))
        except ProtocolError as error:
            if (fault := fault_of(line)) is not None:
                self._bad_line(fault)
            else:
                self._refuse(500, "Syntax error, command unrecognized.", error.reason)
            return
        handle = self._HANDLERS.get(command.verb)
        if handle is not None:
            handle(self, command, line)
        elif command.verb in _PORT_FORMATS:
            await self._port(command)
        elif command.verb in KNOWN_VERBS:
            self._forward(command.verb, line)
        else:
            self._refuse(502, "Command not implemented.", "unknown-verb")

    def _bad_line(self, fault: str) -> None:
        """Answer a line that is none; the second one, or an endless one, ends the dialogue."""
        if self._has_bad_line or fault == LINE_TOO_LONG:
            self.client.send(reply(500, "Syntax error, closing control connection."))
            self.connection.close(fault)
            return
        self._has_bad_line = True
        self._refuse(500, "Syntax error, line is not well formed.", fault)

    def _forward(
        self,
        verb: bytes,
        line: bytes,
        *,
        offer: Offer | None = None,
        transfer: Agreement | None = None,
    ) -> None:
        self._answers.expect(Answer(verb, offer, transfer))
        self.server.send(line)

    def _refuse(self, code: int, text: str, reason: str) -> None:
        """Answer in the server's place, after everything the server still has to answer."""
        self.connection.note("command.refused", level="warning", code=code, reason=reason)
        self._answers.add(reply(code, text))

    # -- commands that concern data connections -----------------------------------------------

    async def _port(self, command: Command) -> None:
        """PORT and EPRT: reserve an opening, and tell the server that one."""
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._refuse(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
            return
        read, write = _PORT_FORMATS[command.verb]
        try:
            wanted = read(command.argument or b"")
            self._require_family(wanted)
            offer = await self._agree(self.host.reserve, wanted)
        except UnsupportedFamily as error:
            self._unsupported_family(error)
        except ProtocolError as error:
            self._refuse(501, "Syntax error in parameters or arguments.", error.reason)
        except BindError as refusal:
            self._refuse(*_REFUSALS.get(refusal.reason, _refusal(refusal)), refusal.reason)
        else:
            told = b"%b %b\r\n" % (command.verb, write(offer.proxy_address))
            self._forward(command.verb, told, offer=offer)

    def _require_family(self, wanted: Endpoint) -> None:
        if wanted.version != self.connection.client.version:
            # The other family may have another relation, under which this address would leak.
            raise UnsupportedFamily("not-the-family-of-the-connection")

    async def _agree(
        self, make: Callable[[Endpoint, FtpTransfer], Awaitable[Offer]], where: Endpoint
    ) -> Offer:
        """Have the host make an offer for a new data connection; raises BindError."""
        if self._has_client_ended:
            raise Terminating("client-closed")
        agreement = Agreement(self._transfer_ended)
        offer = await make(where, agreement)
        agreement.made(offer)
        self._agreement = agreement
        return offer

    def _pasv(self, command: Command, line: bytes) -> None:
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._refuse(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
        elif command.argument:
            self._refuse(501, "PASV has no argument.", "bad-pasv-argument")
        else:
            self._forward(b"PASV", line)

    def _epsv(self, command: Command, line: bytes) -> None:
        self._withdraw("replaced")
        try:
            request = formats.parse_epsv_argument(command.argument)
        except UnsupportedFamily as error:
            self._unsupported_family(error)
        except ProtocolError as error:
            self._refuse(501, "Syntax error in parameters or arguments.", error.reason)
        else:
            # A promise binds whoever made it, whatever the server answers (RFC 2428 section 4).
            self._is_epsv_only |= request is EpsvRequest.ALL
            is_promise = request is EpsvRequest.ALL
            self._forward(b"EPSV ALL" if is_promise else b"EPSV", line)

    def _auth(self, command: Command, line: bytes) -> None:
        if (command.argument or b"").upper() in TLS_MECHANISMS:
            self._forward(b"AUTH", line)
        else:
            # GSSAPI and Kerberos wrap single commands where we could not follow (RFC 2228).
            self._refuse(504, "Security mechanism not implemented.", "unknown-mechanism")

    def _start_over(self, command: Command, line: bytes) -> None:
        """REIN and USER; the promise of EPSV ALL alone outlives them: others relied on it."""
        self._withdraw("login-restarted")
        self._forward(command.verb, line)

    def _transfer(self, command: Command, line: bytes) -> None:
        """Note what the agreed data connection is for, unless another command has it already."""
        transfer = self._agreement
        if transfer is not None and transfer.command is None:
            transfer.serve(command)
        else:
            transfer = None
        self._forward(command.verb, line, transfer=transfer)

    def _abort(self, command: Command, line: bytes) -> None:
        """ABOR: who says it may not read its data any more, and waits for the reply."""
        self._answers.hold_nothing()
        self._forward(command.verb, line)

    _HANDLERS: ClassVar[dict[bytes, Callable[["FtpDialogue", Command, bytes], None]]] = {
        b"PASV": _pasv,
        b"EPSV": _epsv,
        b"AUTH": _auth,
        b"ABOR": _abort,
        **dict.fromkeys(RESTARTS, _start_over),
        **dict.fromkeys(TRANSFERS, _transfer),
    }

    def _unsupported_family(self, error: ProtocolError) -> None:
        family = 1 if self.connection.client.version == 4 else 2
        self._refuse(522, f"Network protocol not supported, use ({family})", error.reason)

    # -- replies ------------------------------------------------------------------------------

    async def reply_line(self, line: ReplyLine) -> None:
        """Match a reply to the oldest command without one, and act on it."""
        answer = self._answers.next_incomplete
        if answer is None:
            self._stray_reply(line)
        elif not line.is_final or line.is_preliminary:
            self._answers.go_on(answer, line)
        else:
            await self._answered(answer, line)
        if self._answers.kept_bytes > limits.MAX_HELD_BYTES:
            self.connection.close("reply-too-long")

    async def _answered(self, answer: Answer, line: ReplyLine) -> None:
        """Act on the final line of a reply, before the client hears it, or another one instead."""
        try:
            text = await self._act_on(answer, line)
        except (ProtocolError, BindError) as refusal:
            event, excuse = _NOT_PASSIVE if answer.offer is None else _NOT_ARMED
            self.connection.note(event, level="warning", reason=refusal.reason)
            self._answers.replace(answer, reply(425, excuse))
        else:
            self._answers.complete(answer, text, is_success=line.is_success)
        if answer.verb == GREETING and not line.is_success:
            self.connection.close("greeting-refused")
        elif self._held or self._has_client_ended or self._has_server_ended:
            await self._go_on()

    async def _act_on(self, answer: Answer, line: ReplyLine) -> bytes:
        """Do what a final line means; give it as the client shall hear it."""
        if answer.offer is not None:
            if line.is_success:
                await answer.offer.arm()
            else:
                answer.offer.withdraw("server-refused")
        if answer.transfer is not None and line.code >= 400 and not answer.was_begun:
            answer.transfer.free()  # another command may use what this one could not
        match line.code:
            case 227 if answer.verb == b"PASV":
                return await self._pasv_answered(line)
            case 229 if answer.verb == b"EPSV":
                return await self._epsv_answered(line)
            case 234 if answer.verb == b"AUTH":
                self._auth_accepted()
        return line.raw

    async def _pasv_answered(self, line: ReplyLine) -> bytes:
        found = formats.read_pasv_reply(line.text)
        if found is None:
            return line.raw  # "227 Logout.": text, not an address (attack V04)
        server = Endpoint(self.connection.server.address, found.endpoint.port)
        if found.endpoint != server and not (
            self._replaces_foreign_address and server.version == 4
        ):
            raise AddressNotAllowed("passive-address-is-not-the-servers")
        told = (await self._agree(self.host.open_passive, server)).proxy_address
        if told == found.endpoint:
            return line.raw
        return formats.splice(line.raw, found.span, formats.format_port_argument(told))

    async def _epsv_answered(self, line: ReplyLine) -> bytes:
        found = formats.read_epsv_reply(line.text)
        server = Endpoint(self.connection.server.address, found.port)
        offer = await self._agree(self.host.open_passive, server)
        return formats.splice(line.raw, found.span, b"%d" % offer.proxy_address.port)

    def _stray_reply(self, line: ReplyLine) -> None:
        """Pass a reply nobody asked for once, and 421 always; it opens nothing (attack V09)."""
        if line.code != 421 and line.is_final:
            if self._has_stray_reply:
                self.connection.close("stray-reply")
                return
            self._has_stray_reply = True
        self._answers.add(line.raw)

    def _auth_accepted(self) -> None:
        """Nothing said in plain text counts from here on (attack F30)."""
        self._withdraw("auth-tls")
        dropped = len(self._held) + self.drop_unfinished_line()
        self.switch_to_tls()
        self._held.clear()
        self._answers.hold_nothing()
        self.connection.note("stream.opaque", reason="auth-tls", dropped_lines=dropped)

    def _withdraw(self, reason: str) -> None:
        if self._agreement is not None:
            self._agreement.withdraw(reason)
        self._agreement = None


def _refusal(refusal: BindError) -> tuple[int, str]:
    if isinstance(refusal, AddressNotAllowed):
        return 501, "Address not allowed."
    return 425, "Can't open data connection."


# The verbs that ask for an opening: how they are read, and written for the server.
_PORT_FORMATS = {
    b"PORT": (formats.parse_port_argument, formats.format_port_argument),
    b"EPRT": (formats.parse_eprt_argument, formats.format_eprt_argument),
}

# RFC 2577 section 3 names the reply to a port below 1024.
_LOW_PORT = 504, "Command not implemented for that parameter."
_REFUSALS = {"client-port-below-minimum": _LOW_PORT, "server-port-below-minimum": _LOW_PORT}

# What becomes of an agreement that cannot be opened: the journal's event, and the excuse.
_NOT_ARMED = "binding.not_armed", "Can't open data connection."
_NOT_PASSIVE = "passive.refused", "Can't open passive connection."
