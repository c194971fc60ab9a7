"""One FTP control connection: which commands and replies open what, and when.

**What passes and what counts are two things.** Bytes pass in order and unchanged, unless a line
carries an address of ours: PORT and EPRT on their way to the server, the reply to PASV and EPSV on
its way to the client. Nothing else is changed, and nothing else ends a dialogue than a peer that
plainly speaks another protocol, or a limit that protects memory.

**What counts** is read strictly. PORT or EPRT opens a pinhole for the server before the server
hears of it (attack X01), because some servers connect before they answer. It is closed again, used
or not, when the answer is a refusal (attack F20). Until then it is open to the server alone, which
could as well have answered 200: a server that lies gains nothing by the order, and no other host is
let in. The reply to PASV or EPSV opens a pinhole for the client before the client hears of it. What
a pinhole is depends on which side is ours to protect: a port of the gateway, or the permission to
connect outwards.

**In step and out of step.** The dialogue is in step while it is certain which command the next
reply answers. Servers that leave commands unanswered, answer them twice, or end a reply with
another code put it out of step; `reply_queue` and `ReplyReader` say how it finds back. Out of step
only this is armed: a PORT, because it needs no answer; and a 227 or 229 that begins a reply while
PASV or EPSV is unanswered, because nothing else makes a server say it, and no echoed text begins a
reply. A 227 within a reply that perhaps has not ended opens the way out for a client inside, which
could have asked its server for any such port; to a published server it opens nothing (attack V08).
A refusal that may be the answer to PORT closes its pinhole. Nothing waits for ever: see `silence`.

**Where a line ends** must not depend on who reads it (attack F16). Most servers end one at LF, some
at CRLF alone. So a client's first line that ends in LF alone passes by itself, and what follows
waits: a server that answers it ends lines there, as we do. Until then nothing that a server could
take for the rest of that line is acted upon or sent. More than one CR before the LF changes nothing
for any of them: there is no word in between. Other ends (CR, CR NUL) are none.
"""

from collections.abc import Callable
from typing import ClassVar

from sallyport import api, limits
from sallyport.filters.ftp.command_lines import (
    PORT_FORMATS,
    ends_at_lf,
    harmless,
    is_empty,
    read_with_telnet,
    verb_of,
)
from sallyport.filters.ftp.passive_range import PassiveRanges
from sallyport.filters.ftp.reply_queue import Exchange
from sallyport.filters.ftp.server_side import ServerSide
from sallyport.filters.ftp.settings import FtpSettings
from sallyport.filters.ftp.verbs import (
    EMPTY_LINE,
    EPSV_ALL,
    GREETING,
    KNOWN_VERBS,
    REFUSED_VERBS,
    RESTARTS,
    SECRET_VERBS,
    TLS_MECHANISMS,
    TRANSFERS,
    WITHDRAWING,
)
from sallyport.wire.ftp import formats
from sallyport.wire.ftp.formats import Command, EpsvRequest, UnsupportedFamily
from sallyport.wire.ftp.replies import reply
from sallyport.wire.lines import fault_of
from sallyport.wire.telnet import IAC, with_plain_head

# Stands for a line that was too long to be kept, where its answer belongs.
_TOO_LONG = b""


class FtpDialogue(ServerSide):
    """One control connection's dialogue, whichever side is protected.

    Needs of its connection both ends, and of its session two methods: see `openings`.
    """

    def __init__(
        self,
        session_filter: api.SessionFilter,
        settings: FtpSettings,
        ranges: PassiveRanges,
        *,
        is_ciphered: bool = False,
    ) -> None:
        """Be a dialogue at its beginning; `is_ciphered`: TLS comes first, as at port 990."""
        super().__init__(session_filter, settings, ranges, is_ciphered=is_ciphered)
        self._has_bad_line = False
        self._command: Command | None = None
        """The command that is being handled, for the record of a refusal."""
        self._last_words = b""
        self._is_trial = False
        """Whether the line that is being handled ends in LF, and the server has answered none such.
        """

    async def client_closed(self) -> None:
        """No command will follow; what was said before is carried out.

        Nothing new may connect (attack F22), unless a transfer was asked for and not answered.
        """
        self._has_client_ended = True
        unfinished = self.unfinished_line()
        if unfinished and not self._restrictions.is_any:
            self._last_words = harmless(unfinished)
        if not self._has_work:
            self._withdraw("client-closed")
        self._pass_end()

    async def server_closed(self) -> None:
        """No reply will follow: the dialogue is over when everything said was heard."""
        if unfinished := self.unfinished_reply():
            self._queue.pass_on(self._harmless_reply(unfinished))
        self._has_server_ended = True
        self._end_when_answered()

    # -- what waits ---------------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Whether a line of the client, an answer of ours, or the server itself waits."""
        return bool(self._held) or self._queue.owes_ours or self._is_server_ahead

    async def silence(self, seconds: float) -> None:
        """Abandon a reply that the server does not owe, or has not given for too long."""
        queue = self._queue
        oldest = queue.oldest
        if seconds < limits.FTP_SILENCE_SECONDS:
            return
        if self._is_server_ahead:
            # It is we who do not read it. Then its data connection must end, or it never will.
            if seconds >= limits.FTP_REPLY_SECONDS:
                self._end_waiting("reply-too-long", "The transfer does not end")
            return
        replies, is_late = self._replies, seconds >= limits.FTP_REPLY_SECONDS
        if self._is_auth_open:
            self._is_auth_open = False  # no handshake came: the client goes on in plain text
        elif replies.is_inside_reply and not (replies.may_have_ended or is_late):
            return  # what it has begun to say it will end
        elif oldest is not None and (oldest.is_doubtful or oldest.is_ours or self._may_be_answered):
            oldest.is_doubtful = True
            self._note_missing(queue.give_up_doubtful())
            if self._current is not None and self._current not in queue:
                self._current = None
            self.wait_anew()
        elif oldest is not None and is_late:
            if oldest.verb in (GREETING, b"AUTH"):
                self.connection.note("reply.missing", level="warning", reason="no-reply-in-time")
                self._end_waiting("no-reply-in-time", "The server does not answer")
                return
            if not self._is_transfer_pending:
                self.connection.note("reply.missing", reason="no-reply-in-time")
                queue.doubt_everything()
        await self._go_on()

    @property
    def _may_be_answered(self) -> bool:
        """Whether the reply to the oldest command may have ended, with another code.

        Not to AUTH: nothing in plain text passes before it is certain that the server stays in it.
        """
        oldest = self._queue.oldest
        is_begun = oldest is not None and oldest is self._current and oldest.verb != b"AUTH"
        return is_begun and self._replies.may_have_ended

    def _end_waiting(self, reason: str, words: str) -> None:
        self.client.send(reply(421, f"{words}, closing connection."))
        self.connection.close(reason)

    def _must_wait(self, line: bytes) -> bool:
        """Whether something unanswered is a barrier to `line`.

        A transfer is one to what would withdraw its pinhole: its connection may still come.
        """
        if self._is_auth_open:
            return True
        queue = self._queue
        if queue.is_empty:
            return False
        if ends_at_lf(line) and not self._takes_lf:
            return True  # only where nothing else is unanswered is the next reply surely its own
        if len(queue) >= limits.MAX_FTP_PIPELINE or queue.kept_bytes > limits.MAX_HELD_BYTES:
            return True
        if queue.has_barrier:
            return True
        return verb_of(line) in WITHDRAWING and self._is_transfer_pending

    @property
    def _is_transfer_pending(self) -> bool:
        """Whether the connection of a transfer may still come, or a verdict on it.

        Not of one that was aborted: its client has gone on.
        """
        for exchange in self._queue:
            transfer = exchange.transfer
            if transfer is None or not transfer.is_patient:
                continue
            if transfer.is_awaited or (transfer.is_judged and not transfer.is_over):
                return not exchange.is_doubtful
        return False

    @property
    def _has_work(self) -> bool:
        """Whether something the client has said still needs a data connection."""
        return self._is_transfer_pending or any(verb_of(line) in TRANSFERS for line in self._held)

    @property
    def _has_more_to_do(self) -> bool:
        """Whether anything may wait for a reply, or for something to become of a connection."""
        is_ahead = self._is_client_ahead or self._is_server_ahead
        return bool(self._held) or is_ahead or self._has_client_ended or self._has_server_ended

    async def _go_on(self) -> None:
        """Do what waited for a reply, or for something to become of a data connection."""
        if not self.connection.is_open:
            return
        self._end_when_answered()
        while self._held and not self._must_wait(self._held[0]) and self.connection.is_open:
            line = self._held.popleft()
            self._held_bytes -= len(line)
            await self._command_line(line)
        self._hold_back()
        if self._has_client_ended and not self._has_work:
            self._withdraw("client-closed")
        self._pass_end()

    async def _changed(self) -> None:
        """Go on when a data connection was admitted, or has ended."""
        if self.connection.is_open:  # a transfer may outlive it
            if self._queue.is_holding:
                self._queue.send_due()
            if self._has_more_to_do:
                await self._go_on()

    def _end_when_answered(self) -> None:
        if self._has_server_ended and not self._queue.is_holding:
            self.connection.close("server-closed")

    def _pass_end(self) -> None:
        """Pass the client's FIN on, behind every line it said before."""
        if self._has_client_ended and not self._held:
            self.server.send(self._last_words)
            self._last_words = b""
            self.server.shutdown()

    # -- commands -----------------------------------------------------------------------------

    async def client_line(self, line: bytes) -> None:
        """Handle a line now, or after what it waits for."""
        if not self._held and not self._must_wait(line):
            await self._command_line(line)
            return
        self._held.append(line)
        self._held_bytes += len(line)
        self._hold_back()
        self.watch_waiting()

    async def long_line(self) -> None:
        """Answer a line that is too long where its answer belongs."""
        await self.client_line(_TOO_LONG)

    async def _command_line(self, line: bytes) -> None:
        try:
            if IAC not in line:
                command = formats.parse_command(line)
            else:
                command, line = read_with_telnet(line)
        except api.ProtocolError as error:
            self._command = None
            self._not_a_command(line, error.reason)
            return
        self._has_bad_line = self._may_be_tls = False
        self._is_trial = ends_at_lf(line) and not self._takes_lf
        verb, self._command = command.verb, command
        if self._restrictions.is_any and (refusal := self._restrictions.refusal(command)):
            self._refuse(*refusal)
        elif (handle := self._HANDLERS.get(verb)) is not None:
            handle(self, command, line)
        elif verb in PORT_FORMATS:
            await self._port(command, b"\n" if ends_at_lf(line) else b"\r\n")
        elif verb in KNOWN_VERBS:
            self._pass(verb, line)
        elif verb in REFUSED_VERBS or formats.looks_like_address(command.argument or b""):
            self._refuse(502, "Command not implemented.", "verb-carries-an-address")
        else:
            self._pass(verb, line)

    def _not_a_command(self, line: bytes, reason: str) -> None:
        """Answer a line that is none; the second one that is not even well formed ends it all.

        Which byte ends a line must not depend on who reads it (attack F16).
        """
        passed = with_plain_head(line)
        if line == _TOO_LONG:
            self._refuse(500, "Syntax error, command line too long.", "line-too-long")
        elif is_empty(passed) and not (ends_at_lf(passed) and not self._takes_lf):
            self._is_trial = False
            self._forward(Exchange(EMPTY_LINE, is_doubtful=True), passed)
        elif (fault := fault_of(passed)) is None:
            self._refuse(500, "Syntax error, command unrecognized.", reason)
        elif self._has_bad_line:
            self.client.send(reply(500, "Syntax error, closing control connection."))
            self.connection.close(fault)
        else:
            self._has_bad_line = True
            self._refuse(500, "Syntax error, line is not well formed.", fault)

    def _pass(self, verb: bytes, line: bytes) -> None:
        """Pass on a command that concerns no data connection."""
        if self._is_trial:
            self._forward(Exchange(verb), line)
            return
        self._queue.expect_plain(verb)
        self._send(line)

    def _forward(self, exchange: Exchange, line: bytes) -> None:
        exchange.is_trial = self._is_trial
        self._queue.expect(exchange)
        self._send(line)

    def _send(self, line: bytes) -> None:
        if self._replies.is_inside_reply:
            self._replies.client_goes_on()
        self.server.send(line)

    def _refuse(self, code: int, text: str, reason: str, *, is_recorded: bool = False) -> None:
        """Answer in the server's place, after everything the server still has to answer."""
        self._note_refused(code, reason, is_recorded=is_recorded)
        self._queue.add(reply(code, text))
        if self._queue:
            self.watch_waiting()

    def _note_refused(self, code: int, reason: str, *, is_recorded: bool) -> None:
        """Record what was said and how it was answered; `is_recorded`: why stands in the log."""
        said: dict[str, object] = {"code": code, "reason": reason}
        if self._command is not None:
            said["verb"] = self._command.verb
            if self._command.argument and self._command.verb not in SECRET_VERBS:
                said["named"] = self._command.argument
        if is_recorded:  # a refusal is one record: here is only what the client was told
            self.connection.note("command.answered", level="debug", **said)
        else:
            self.connection.note("command.refused", level="warning", **said)

    # -- commands that concern data connections -----------------------------------------------

    async def _port(self, command: Command, end: bytes) -> None:
        """PORT and EPRT: open a pinhole, and tell the server that one."""
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._refuse(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
            return
        read, write = PORT_FORMATS[command.verb]
        try:
            wanted = read(command.argument or b"")
            self._require_family(wanted)
            agreement, opening = await self._agree(self._openings.open_active, wanted)
        except UnsupportedFamily as error:
            self._unsupported_family(error)
        except api.ProtocolError as error:
            self._refuse(501, "Syntax error in parameters or arguments.", error.reason)
        except api.BindError as refusal:
            code, text = _REFUSALS.get(refusal.reason, _refusal(refusal))
            self._refuse(code, text, refusal.reason, is_recorded=refusal.is_recorded)
        else:
            told = b"%b %b%b" % (command.verb, write(opening.proxy_address), end)
            self._forward(Exchange(command.verb, agreement=agreement), told)

    def _require_family(self, wanted: api.Endpoint) -> None:
        if wanted.version != self.connection.client.version:
            # The other family may have another relation, under which this address would leak.
            raise UnsupportedFamily("not-the-family-of-the-connection")

    def _pasv(self, command: Command, line: bytes) -> None:
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._refuse(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
        elif command.argument:
            self._refuse(501, "PASV has no argument.", "bad-pasv-argument")
        else:
            self._forward(Exchange(b"PASV"), line)

    def _epsv(self, command: Command, line: bytes) -> None:
        self._withdraw("replaced")
        try:
            request = formats.parse_epsv_argument(command.argument)
        except UnsupportedFamily as error:
            self._unsupported_family(error)
        except api.ProtocolError as error:
            self._refuse(501, "Syntax error in parameters or arguments.", error.reason)
        else:
            if request is EpsvRequest.ALL:
                # It binds a server that understands it (RFC 2428 section 4): until it refuses.
                self._is_epsv_only = True
                self._forward(Exchange(EPSV_ALL), line)
            else:
                self._forward(Exchange(b"EPSV"), line)

    def _auth(self, command: Command, line: bytes) -> None:
        if (command.argument or b"").upper() in TLS_MECHANISMS:
            self._forward(Exchange(b"AUTH"), line)
        else:
            # GSSAPI and Kerberos wrap single commands where we could not follow (RFC 2228).
            self._refuse(504, "Security mechanism not implemented.", "unknown-mechanism")

    def _start_over(self, command: Command, line: bytes) -> None:
        """REIN and USER; the promise of EPSV ALL alone outlives them: others relied on it."""
        self._withdraw("login-restarted")
        self._pass(command.verb, line)

    def _transfer(self, command: Command, line: bytes) -> None:
        """Note what the agreed data connection is for, unless another command has it already."""
        transfer = self._agreement
        if transfer is not None and transfer.command is None:
            transfer.serve(command)
        else:
            transfer = None
        self._forward(Exchange(command.verb, transfer=transfer), line)

    def _abort(self, command: Command, line: bytes) -> None:
        """ABOR: a client that says it may not read its data any more, and waits for the reply."""
        self._queue.hold_nothing()
        self._pass(command.verb, line)

    _HANDLERS: ClassVar[dict[bytes, Callable[["FtpDialogue", Command, bytes], None]]] = {
        b"PASV": _pasv,
        b"EPSV": _epsv,
        b"AUTH": _auth,
        b"ABOR": _abort,
        **dict.fromkeys(RESTARTS, _start_over),
        **dict.fromkeys(TRANSFERS, _transfer),
    }

    def _unsupported_family(self, error: api.ProtocolError) -> None:
        family = 1 if self.connection.client.version == 4 else 2
        self._refuse(522, f"Network protocol not supported, use ({family})", error.reason)


def _refusal(refusal: api.BindError) -> tuple[int, str]:
    if isinstance(refusal, api.AddressNotAllowed):
        return 501, "Address not allowed."
    return 425, "Can't open data connection."


# RFC 2577 section 3 names the reply to a port below 1024.
_LOW_PORT = 504, "Command not implemented for that parameter."
_REFUSALS = {"client-port-below-minimum": _LOW_PORT, "server-port-below-minimum": _LOW_PORT}
