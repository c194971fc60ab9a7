"""What the server of an FTP dialogue says: which reply opens what, and what the client hears.

The rules are at the head of `sallyport.filters.ftp.dialogue`.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec.structs import replace

from sallyport import api, limits
from sallyport.filters.ftp import consequences
from sallyport.filters.ftp.agreement import Agreement, FtpTransfer, Opening
from sallyport.filters.ftp.openings import FtpOpenings
from sallyport.filters.ftp.passive import masked, read_passive
from sallyport.filters.ftp.passive_range import PassiveRanges
from sallyport.filters.ftp.reply_queue import Exchange, ReplyQueue
from sallyport.filters.ftp.restrictions import Restrictions
from sallyport.filters.ftp.settings import FtpSettings
from sallyport.filters.ftp.stream import FtpStream
from sallyport.filters.ftp.transcript import CommandTranscript, ReplyTranscript
from sallyport.filters.ftp.verbs import (
    DATA_VERBS,
    EPSV_ALL,
    GREETING,
    PASSIVE_CODES,
    PASSIVE_VERBS,
)
from sallyport.wire.ftp.replies import ReplyLine, reply


class ServerSide(FtpStream):
    """The half of a dialogue that reads replies.

    `_queue` holds what the client has not heard, `_held` the client's lines that wait behind a
    barrier, `_agreement` the data connection that was agreed on last.
    """

    def __init__(
        self,
        session_filter: api.SessionFilter,
        settings: FtpSettings,
        ranges: PassiveRanges,
        *,
        is_ciphered: bool,
    ) -> None:
        super().__init__(is_ciphered=is_ciphered)
        self._session_filter = session_filter
        self._settings = settings
        self._restrictions = Restrictions(settings)
        self._ranges = ranges
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._agreement: Agreement | None = None
        self._current: Exchange | None = None
        self._is_epsv_only = False
        self._is_server_ahead = False
        self._banner_lines = 0
        self._is_dropping_line = False
        self._may_be_tls = False
        self._is_auth_open = False
        self._takes_lf = False
        """Whether the server has answered a line that ends in LF alone."""
        self._has_client_ended = False
        self._has_server_ended = False

    def transcript(self, hop: api.Hop, *, is_running: bool) -> api.Transcript:
        """Implement `DataFilter.transcript`."""
        kind = CommandTranscript if hop.is_of_client else ReplyTranscript
        return kind(
            is_running=is_running,
            is_ciphered=lambda: self.is_ciphered,
            shows_users=self._settings.trace_users,
        )

    async def started(self) -> None:
        """Take both ends."""
        await super().started()
        self._openings = FtpOpenings(self.connection, self._session_filter, self._settings)
        self._queue = ReplyQueue(self.client.send)
        if self.is_ciphered:  # the greeting is none of ours to see
            await self._be_opaque("begins-with-tls", 0)
        else:
            self._queue.expect(Exchange(GREETING))

    @property
    @abstractmethod
    def _has_work(self) -> bool:
        """Whether something the client has said still needs a data connection."""

    @abstractmethod
    async def _go_on(self) -> None:
        """Do what waited for a reply, or for something to become of a data connection."""

    @abstractmethod
    async def _changed(self) -> None:
        """Go on when a data connection was admitted, or has ended."""

    async def _agree(
        self,
        make: Callable[[api.Endpoint, FtpTransfer], Awaitable[Opening]],
        where: api.Endpoint,
    ) -> tuple[Agreement, Opening]:
        """Open what a new data connection needs; raises BindError."""
        if self._has_client_ended and not self._has_work:
            raise api.Terminating("client-closed")
        agreement = Agreement(self._changed, self._settings.transfer_wait)
        opening = await make(where, agreement)
        agreement.made(opening)
        self._agreement = agreement
        return agreement, opening

    async def reply_line(self, line: ReplyLine) -> None:
        """Find the command that a line answers, and act on it; what answers none passes."""
        if self._is_dropping_line:  # the rest of a line that we have answered in its place
            self._is_dropping_line = not line.raw.endswith(b"\n")
            return
        if self._openings.is_published and _may_name_address(line):
            line = self._masked_for_outside(line)
        if line.is_first:
            self._current, skipped = self._queue.match(line)
            if skipped:
                self._note_missing(sum(exchange.count for exchange in skipped))
            if self._current is not None and self._current.is_trial:
                await self._trial_answered(self._current)
        exchange = self._current
        if exchange is None or line.code is None:
            self._text(line)
        elif not line.is_final or line.is_preliminary:
            if exchange.verb != b"FEAT" or not self._restrictions.offers_what_is_refused(line):
                self._queue.go_on(exchange, line)
        else:
            self._current = None
            await self._answered(exchange, line)
        if self._queue.kept_bytes > limits.MAX_HELD_BYTES:
            self._hold_back()
            if not self._is_server_ahead:  # the one reply that has not ended is as long
                self.connection.close("reply-too-long")

    async def _trial_answered(self, exchange: Exchange) -> None:
        """Take it that the server ends lines at LF, and let what waited for that go on."""
        self._takes_lf = True
        self._queue.trust(exchange)
        if self._held:
            await self._go_on()

    def _hold_back(self) -> None:
        """Read no more of a side that runs ahead of the other, until that has caught up.

        TCP makes it wait. The client is read again when all of its lines have gone on.
        """
        held, queue = self._held, self._queue
        is_ahead = len(held) > limits.MAX_FTP_PIPELINE or self._held_bytes > limits.MAX_HELD_BYTES
        if is_ahead is not self._is_client_ahead and (is_ahead or not held):
            self._is_client_ahead = is_ahead
            self.hold_client(is_held=is_ahead)
        is_ahead = queue.is_holding and queue.kept_bytes > limits.MAX_HELD_BYTES
        if is_ahead is not self._is_server_ahead:
            self._is_server_ahead = is_ahead
            self.hold_server(is_held=is_ahead)

    def _text(self, line: ReplyLine) -> None:
        """Pass what answers nothing; it opens nothing (attack V09), and a refusal closes."""
        self._queue.pass_on(self._mask(line))
        if line.is_final and line.is_refusal and line.code != 421:
            self._withdraw_unused()
        elif line.code is None and self._queue.awaits_greeting:
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
        if exchange.verb == GREETING and line.is_refusal:
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
            await self._auth_answered(line)
        elif exchange.verb == EPSV_ALL and line.is_refusal:
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
        found = read_passive(line, self.connection.server, self._own_addresses, self._settings)
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
        if not line.is_whole:
            self._is_dropping_line = True
            gap = b" " if line.is_first or line.is_final else b"-"
            return replace(line, raw=b"%d%bLine too long.\r\n" % (line.code or 0, gap))
        is_read_first = line.is_final and line.code in PASSIVE_CODES
        return line if is_read_first else replace(line, raw=self._mask(line))

    def _harmless_reply(self, unfinished: bytes) -> bytes:
        code = int(unfinished[:3]) if unfinished[:3].isdigit() else None
        return self._mask(ReplyLine(unfinished, code, True, True))

    async def _auth_answered(self, line: ReplyLine) -> None:
        """234 switches; with another 2yz or 334 some servers mean the same, and the client knows.

        Then the next bytes of the client decide, and lines it has sent ahead wait for them.
        """
        if line.code == 234:
            await self.accept_tls()
        elif line.is_success or line.code == 334:
            self._may_be_tls = True
            self._is_auth_open = bool(self._held)

    def may_switch_to_tls(self) -> bool:
        """Whether the server has agreed to TLS, as far as can be known."""
        asked = self._queue.find(b"AUTH")
        return self._may_be_tls or (asked is not None and asked.is_doubtful)

    async def accept_tls(self) -> None:
        """Switch: nothing said in plain text counts from here on (attack F30)."""
        self._withdraw("auth-tls")
        dropped = len(self._held) + bool(self.unfinished_line())
        self.switch_to_tls()
        self._held.clear()
        self._held_bytes = 0
        self._may_be_tls = self._is_auth_open = False
        self._queue.hold_nothing()
        self._hold_back()
        await self._be_opaque("auth-tls", dropped)

    async def _be_opaque(self, reason: str, dropped: int) -> None:
        """Open what TLS hides, as the settings say, and say once what cannot work."""
        ports = self._settings.passive_range
        if ports is not None:
            await self._ranges.join(self.connection, ports)
        self.connection.note(
            "stream.opaque",
            reason=reason,
            dropped_lines=dropped,
            consequence=consequences.of_tls(
                self._settings,
                is_published=self._openings.is_published,
                is_translated=self.connection.relation.value == "nat",
            ),
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


def _may_name_address(line: ReplyLine) -> bool:
    """Whether a line is, or looks like, one that says where to connect."""
    return line.code in PASSIVE_CODES or line.raw[:3] in _PASSIVE_TEXTS


_PASSIVE_TEXTS = frozenset(b"%d" % code for code in PASSIVE_CODES)
