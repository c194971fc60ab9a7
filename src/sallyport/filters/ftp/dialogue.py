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
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal

from sallyport import api, limits
from sallyport.filters.ftp.agreement import Agreement, FtpTransfer, Opening
from sallyport.filters.ftp.openings import FtpOpenings
from sallyport.filters.ftp.passive import masked, read_passive
from sallyport.filters.ftp.reply_queue import Exchange, ReplyQueue
from sallyport.filters.ftp.settings import FtpSettings
from sallyport.filters.ftp.stream import FtpStream
from sallyport.filters.ftp.verbs import (
    BARRIERS,
    DATA_VERBS,
    GREETING,
    KNOWN_VERBS,
    PASSIVE_CODES,
    PASSIVE_VERBS,
    REFUSED_VERBS,
    RESTARTS,
    TLS_MECHANISMS,
    TRANSFERS,
    WITHDRAWING,
)
from sallyport.wire.ftp import formats
from sallyport.wire.ftp.formats import Command, EpsvRequest, UnsupportedFamily
from sallyport.wire.ftp.replies import ReplyLine, reply
from sallyport.wire.lines import fault_of
from sallyport.wire.telnet import (
    IAC,
    plain_prefix,
    unescape,
    with_plain_head,
    without_commands,
)

# Stands for a line that was too long to be kept, where its answer belongs.
_TOO_LONG = b""


class FtpDialogue(FtpStream):
    """One control connection's dialogue, whichever side is protected.

    `_queue` holds what the client has not heard, `_held` the client's lines that wait behind a
    barrier. Needs of its connection the ends, and of its session two methods: `openings`.
    """

    def __init__(
        self, session_filter: api.SessionFilter, settings: FtpSettings, *, is_ciphered: bool = False
    ) -> None:
        """Be a dialogue at its beginning; `is_ciphered`: TLS comes first, as at port 990."""
        super().__init__(is_ciphered=is_ciphered)
        self._session_filter = session_filter
        self._settings = settings
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._agreement: Agreement | None = None
        self._current: Exchange | None = None
        self._is_epsv_only = False
        self._has_bad_line = False
        self._command: Command | None = None
        """The command that is being handled, for the record of a refusal."""
        self._banner_lines = 0
        self._is_dropping_line = False
        self._may_be_tls = False
        self._is_auth_open = False
        self._last_words = b""
        self._has_client_ended = False
        self._has_server_ended = False

    async def started(self) -> None:
        """Take both ends."""
        await super().started()
        self._openings = FtpOpenings(self.connection, self._session_filter, self._settings)
        self._queue = ReplyQueue(self.client.send)
        self._queue.expect(Exchange(GREETING))

    async def client_closed(self) -> None:
        """No command will follow; what was said before is carried out.

        Nothing new may connect (attack F22), unless a transfer was asked for and not answered.
        """
        self._has_client_ended = True
        if unfinished := self.unfinished_line():
            self._last_words = _harmless(unfinished)
        if not self._has_work:
            self._withdraw("client-closed")
        self._pass_end()

    async def server_closed(self) -> None:
        """No reply will follow: the dialogue is over when everything said was heard."""
        if unfinished := self.unfinished_reply():
            self._queue.tell_now(self._harmless_reply(unfinished))
        self._has_server_ended = True
        self._end_when_told()

    # -- what waits ---------------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Whether a line of the client, or an answer of ours, waits for the server."""
        return bool(self._held) or self._queue.owes_ours

    async def silence(self, seconds: float) -> None:
        """Abandon a reply that the server does not owe, or has not given for too long."""
        queue = self._queue
        oldest = queue.oldest
        if seconds < limits.FTP_SILENCE_SECONDS:
            return
        if self._is_auth_open:
            self._is_auth_open = False  # no handshake came: the client goes on in plain text
        elif oldest is not None and (oldest.is_doubtful or oldest.is_ours):
            self._note_missing(queue.give_up_doubtful())
        elif oldest is not None and seconds >= limits.FTP_REPLY_SECONDS:
            if oldest.verb in (GREETING, b"AUTH"):
                self.connection.note("reply.missing", level="warning", reason="no-reply-in-time")
                self.client.send(reply(421, "The server does not answer, closing connection."))
                self.connection.close("no-reply-in-time")
                return
            if not self._is_transfer_pending:
                self.connection.note("reply.missing", reason="no-reply-in-time")
                queue.doubt_everything()
        await self._go_on()

    def _must_wait(self, line: bytes) -> bool:
        """Whether something unanswered is a barrier to `line`.

        A transfer is one to what would withdraw its pinhole: its connection may still come.
        """
        if self._is_auth_open:
            return True
        queue = self._queue
        if not (queue or queue.is_holding):
            return False
        if len(queue) >= limits.MAX_FTP_PIPELINE or queue.awaits_one_of(BARRIERS):
            return True
        return _verb_of(line) in WITHDRAWING and self._is_transfer_pending

    @property
    def _is_transfer_pending(self) -> bool:
        """Whether the connection of a transfer may still come, or a verdict on it."""
        for exchange in self._queue:
            transfer = exchange.transfer
            if transfer is not None and (
                transfer.is_awaited or (transfer.is_judged and not transfer.is_over)
            ):
                return not exchange.is_doubtful
        return False

    @property
    def _has_work(self) -> bool:
        """Whether something the client has said still needs a data connection."""
        return self._is_transfer_pending or any(_verb_of(line) in TRANSFERS for line in self._held)

    async def _go_on(self) -> None:
        """Do what waited for a reply, or for something to become of a data connection."""
        if not self.connection.is_open:
            return
        self._end_when_told()
        while self._held and not self._must_wait(self._held[0]) and self.connection.is_open:
            line = self._held.popleft()
            self._held_bytes -= len(line)
            await self._command_line(line)
        if self._has_client_ended and not self._has_work:
            self._withdraw("client-closed")
        self._pass_end()

    async def _changed(self) -> None:
        """Go on when a data connection was admitted, or has ended."""
        if self.connection.is_open:  # a transfer may outlive it
            self._queue.tell()
            await self._go_on()

    def _end_when_told(self) -> None:
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
        self.watch_waiting()
        if self._held_bytes > limits.MAX_HELD_BYTES or len(self._held) > limits.MAX_FTP_PIPELINE:
            self.connection.close("too-many-lines-ahead")

    async def long_line(self) -> None:
        """Answer a line that is too long where its answer belongs."""
        await self.client_line(_TOO_LONG)

    async def _command_line(self, line: bytes) -> None:
        try:
            if IAC not in line:
                command = formats.parse_command(line)
            else:
                command, line = _read_with_telnet(line)
        except api.ProtocolError as error:
            self._command = None
            self._not_a_command(line, error.reason)
            return
        self._has_bad_line = self._may_be_tls = False
        verb, self._command = command.verb, command
        if (handle := self._HANDLERS.get(verb)) is not None:
            handle(self, command, line)
        elif verb in _PORT_FORMATS:
            await self._port(command)
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
        if line == _TOO_LONG:
            self._refuse(500, "Syntax error, command line too long.", "line-too-long")
        elif (fault := fault_of(with_plain_head(line))) is None:
            self._refuse(500, "Syntax error, command unrecognized.", reason)
        elif self._has_bad_line:
            self.client.send(reply(500, "Syntax error, closing control connection."))
            self.connection.close(fault)
        else:
            self._has_bad_line = True
            self._refuse(500, "Syntax error, line is not well formed.", fault)

    def _pass(self, verb: bytes, line: bytes) -> None:
        """Pass on a command that concerns no data connection."""
        self._queue.expect_plain(verb)
        self._send(line)

    def _forward(self, exchange: Exchange, line: bytes) -> None:
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
            if self._queue.kept_bytes > limits.MAX_HELD_BYTES:
                self.connection.close("too-many-lines-ahead")

    def _note_refused(self, code: int, reason: str, *, is_recorded: bool) -> None:
        """Record what was said and how it was answered; `is_recorded`: why stands in the log."""
        said: dict[str, object] = {"code": code, "reason": reason}
        if self._command is not None:
            # The verbs that are refused name addresses or mechanisms, never a secret.
            said["verb"] = self._command.verb
            if self._command.argument:
                said["named"] = self._command.argument
        if is_recorded:  # a refusal is one record: here is only what the client was told
            self.connection.note("command.answered", level="debug", **said)
        else:
            self.connection.note("command.refused", level="warning", **said)

    # -- commands that concern data connections -----------------------------------------------

    async def _port(self, command: Command) -> None:
        """PORT and EPRT: open a pinhole, and tell the server that one."""
        self._withdraw("replaced")
        if self._is_epsv_only:
            self._refuse(501, "Only EPSV is allowed after EPSV ALL.", "epsv-all")
            return
        read, write = _PORT_FORMATS[command.verb]
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
            told = b"%b %b\r\n" % (command.verb, write(opening.proxy_address))
            self._forward(Exchange(command.verb, agreement=agreement), told)

    def _require_family(self, wanted: api.Endpoint) -> None:
        if wanted.version != self.connection.client.version:
            # The other family may have another relation, under which this address would leak.
            raise UnsupportedFamily("not-the-family-of-the-connection")

    async def _agree(
        self,
        make: Callable[[api.Endpoint, FtpTransfer], Awaitable[Opening]],
        where: api.Endpoint,
    ) -> tuple[Agreement, Opening]:
        """Open what a new data connection needs; raises BindError."""
        if self._has_client_ended and not self._has_work:
            raise api.Terminating("client-closed")
        agreement = Agreement(self._changed)
        opening = await make(where, agreement)
        agreement.made(opening)
        self._agreement = agreement
        return agreement, opening

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
                self._forward(Exchange(_EPSV_ALL), line)
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

    # -- replies ------------------------------------------------------------------------------

    async def reply_line(self, line: ReplyLine) -> None:
        """Find the command that a line answers, and act on it; what answers none passes."""
        if self._is_dropping_line:  # the rest of a line that we have answered in its place
            self._is_dropping_line = not line.raw.endswith(b"\n")
            return
        if self._openings.is_published and _may_name_address(line):
            line = self._masked_for_outside(line)
        if line.is_first:
            self._current, skipped = self._queue.match(line)
            self._note_missing(sum(exchange.count for exchange in skipped))
        exchange = self._current
        if exchange is None or line.code is None:
            self._text(line)
        elif not line.is_final or line.is_preliminary:
            if not (exchange.verb == b"FEAT" and _offers_what_we_refuse(line)):
                self._queue.go_on(exchange, line)
        else:
            self._current = None
            await self._answered(exchange, line)
        if self._queue.kept_bytes > limits.MAX_HELD_BYTES:
            self.connection.close("reply-too-long")

    def _text(self, line: ReplyLine) -> None:
        """Pass what answers nothing; it opens nothing (attack V09), and a refusal closes."""
        self._queue.tell_now(self._mask(line))
        if line.is_final and line.is_refusal and line.code != 421:
            self._withdraw_unused()
        elif line.code is None and self._queue.awaits_one_of((GREETING,)):
            self._banner_lines += 1
            if self._banner_lines > limits.MAX_FTP_BANNER_LINES:
                self.connection.close("not-a-reply")

    async def _answered(self, exchange: Exchange, line: ReplyLine) -> None:
        """Act on the final line of a reply, before the client hears it, or another one instead."""
        try:
            text = await self._act_on(exchange, line)
        except (api.ProtocolError, api.BindError) as refusal:
            excuse = self._note_not_opened(exchange, refusal)
            self._is_dropping_line |= not line.raw.endswith(b"\n")
            self._queue.replace(exchange, reply(425, excuse))
        else:
            if exchange.is_doubtful and line.is_refusal:
                self._withdraw_unused()
            self._queue.complete(exchange, text, is_success=line.is_success)
        if exchange.verb == GREETING and not line.is_success:
            self.connection.close("greeting-refused")
        elif self._held or self._has_client_ended or self._has_server_ended:
            await self._go_on()

    async def _act_on(self, exchange: Exchange, line: ReplyLine) -> bytes:
        """Do what a final line means; return it as the client shall hear it."""
        if exchange.agreement is not None:
            self._port_answered(exchange.agreement, line)
        if exchange.transfer is not None:
            if line.is_refusal and not exchange.was_begun:
                exchange.transfer.free()  # another command may use what this one could not
            else:
                exchange.transfer.answered()
        if line.code in PASSIVE_CODES:
            if exchange.verb in PASSIVE_VERBS:
                return await self._passive_answered(exchange, line)
            return self._mask(line)
        if exchange.verb == b"AUTH":
            self._auth_answered(line)
        elif exchange.verb == _EPSV_ALL and line.is_refusal:
            self._is_epsv_only = False
        return line.raw

    def _port_answered(self, agreement: Agreement, line: ReplyLine) -> None:
        if not line.is_success:
            agreement.refuse("server-refused")
        elif line.is_first and agreement is self._agreement and agreement.is_lost:
            raise api.Terminating("no-reply-in-time")
        else:
            agreement.agreed()

    async def _passive_answered(self, exchange: Exchange, line: ReplyLine) -> bytes:
        if not line.is_whole:
            raise api.ProtocolError("reply-line-too-long", line.raw[:80])
        found = read_passive(
            line,
            self.connection.server,
            self._own_addresses,
            replaces=self._settings.trust_pasv_address == "replace",
        )
        if found is None:
            return self._mask(line)
        if self._openings.is_published and not line.is_certain:
            raise api.ProtocolError("reply-within-a-reply", line.raw)
        if any(later.verb in DATA_VERBS and later is not exchange for later in self._queue):
            raise api.ProtocolError("replaced-by-a-later-command", line.raw)
        _, opening = await self._agree(self._openings.open_passive, found.server)
        return found.naming(opening.proxy_address)

    @property
    def _own_addresses(self) -> tuple[object, ...]:
        """The addresses by which clients outside know a published server."""
        public = self.connection.gateway_address
        return () if public is None or not self._openings.is_published else (public.address,)

    def _mask(self, line: ReplyLine) -> bytes:
        """Return a line that opens nothing without the address of a published server."""
        public = self.connection.gateway_address
        if not _may_name_address(line) or public is None or not self._openings.is_published:
            return line.raw
        return masked(line.raw, self.connection.server, public)

    def _masked_for_outside(self, line: ReplyLine) -> ReplyLine:
        """Return a line that names an address so that clients outside may hear it.

        Within another reply too: clients differ in where they see its end. The final line of an
        answer to PASV is left: it is read first.
        """
        if not line.is_whole and line.is_first:
            self._is_dropping_line = True
            return line._replace(raw=b"%d Line too long.\r\n" % (line.code or 0))
        is_read_first = line.is_final and line.code in PASSIVE_CODES
        return line if is_read_first else line._replace(raw=self._mask(line))

    def _harmless_reply(self, unfinished: bytes) -> bytes:
        code = int(unfinished[:3]) if unfinished[:3].isdigit() else None
        return self._mask(ReplyLine(unfinished, code, True, True))

    def _auth_answered(self, line: ReplyLine) -> None:
        """234 switches; with another 2yz or 334 some servers mean the same, and the client knows.

        Then the next bytes of the client decide, and lines it has sent ahead wait for them.
        """
        if line.code == 234:
            self.accept_tls()
        elif line.is_success or line.code == 334:
            self._may_be_tls = True
            self._is_auth_open = bool(self._held)

    def may_switch_to_tls(self) -> bool:
        """Whether the server has agreed to TLS, as far as can be known."""
        asked = self._queue.find(b"AUTH")
        return self._may_be_tls or (asked is not None and asked.is_doubtful)

    def accept_tls(self) -> None:
        """Switch: nothing said in plain text counts from here on (attack F30)."""
        self._withdraw("auth-tls")
        dropped = len(self._held) + bool(self.unfinished_line())
        self.switch_to_tls()
        self._held.clear()
        self._held_bytes = 0
        self._may_be_tls = self._is_auth_open = False
        self._queue.hold_nothing()
        self.connection.note(
            "stream.opaque", reason="auth-tls", dropped_lines=dropped, consequence=_OPAQUE
        )

    def _note_not_opened(
        self, exchange: Exchange, refusal: api.ProtocolError | api.BindError
    ) -> str:
        """Record why an agreement came to nothing, and return what the client is told."""
        reason = refusal.reason
        # Why a bind was refused is in the log already: a refusal is one record.
        is_recorded = isinstance(refusal, api.BindError) and refusal.is_recorded
        level: Literal["debug", "warning"] = "debug" if is_recorded else "warning"
        if exchange.agreement is not None:
            self.connection.note("binding.not_armed", level=level, reason=reason)
            return "Can't open data connection."
        self.connection.note("passive.refused", level=level, reason=reason)
        return "Can't open passive connection."

    def _note_missing(self, count: int) -> None:
        if count:
            self.connection.note("reply.missing", reason="server-answered-less", commands=count)

    def _withdraw(self, reason: str) -> None:
        if self._agreement is not None:
            self._agreement.withdraw(reason)
        self._agreement = None

    def _withdraw_unused(self) -> None:
        """Close what may have been refused; a transfer that was asked for has its own answer."""
        if self._agreement is not None and self._agreement.command is None:
            self._withdraw("perhaps-refused")


def _read_with_telnet(line: bytes) -> tuple[Command, bytes]:
    """Read a line with Telnet commands, and return it as it passes; raises ProtocolError."""
    cleaned = without_commands(line)
    if cleaned[:4].upper() in DATA_VERBS and not cleaned[4:5].isalnum():
        # Their argument is no name: nothing that looks like a command belongs to it.
        return formats.parse_command(cleaned), cleaned
    passed = with_plain_head(line)
    return formats.parse_command(unescape(passed[plain_prefix(passed) :])), passed


def _may_name_address(line: ReplyLine) -> bool:
    """Whether a line is, or looks like, one that says where to connect."""
    return line.code in PASSIVE_CODES or line.raw[:3] in _PASSIVE_TEXTS


def _verb_of(line: bytes) -> bytes:
    """Return the first four letters of a command: of those that matter here all there are."""
    if IAC in line:
        line = with_plain_head(line)
        line = line[plain_prefix(line) :]
    return line[:4].upper()


def _harmless(unfinished: bytes) -> bytes:
    """Return a last line without its end, or nothing when it could carry an address or a secret."""
    try:
        command = formats.parse_command(without_commands(unfinished) + b"\r\n")
    except api.ProtocolError:
        return b""
    is_plain = command.verb in KNOWN_VERBS - DATA_VERBS - RESTARTS - TRANSFERS - {b"AUTH"}
    return unfinished if is_plain else b""


def _offers_what_we_refuse(line: ReplyLine) -> bool:
    """Whether a line of the reply to FEAT names a verb that we refuse (RFC 2389 section 3.2)."""
    if line.is_first or line.is_final:
        return False
    verb, _, argument = line.text.upper().strip().partition(b" ")
    is_other_auth = verb == b"AUTH" and not any(name in argument for name in (b"TLS", b"SSL"))
    return verb in REFUSED_VERBS or is_other_auth


def _refusal(refusal: api.BindError) -> tuple[int, str]:
    if isinstance(refusal, api.AddressNotAllowed):
        return 501, "Address not allowed."
    return 425, "Can't open data connection."


_EPSV_ALL = b"EPSV ALL"
_PASSIVE_TEXTS = frozenset(b"%d" % code for code in PASSIVE_CODES)

# The verbs that ask for an opening: how they are read, and written for the server.
_PORT_FORMATS = {
    b"PORT": (formats.parse_port_argument, formats.format_port_argument),
    b"EPRT": (formats.parse_eprt_argument, formats.format_eprt_argument),
}

# RFC 2577 section 3 names the reply to a port below 1024.
_LOW_PORT = 504, "Command not implemented for that parameter."
_REFUSALS = {"client-port-below-minimum": _LOW_PORT, "server-port-below-minimum": _LOW_PORT}

# For the operator, in the journal and in `explain`.
_OPAQUE = (
    "the gateway cannot read PORT and PASV any more: active mode behind NAT cannot work after AUTH"
    " TLS; use passive mode, or CCC after login"
)
