"""What the client will hear: the server's replies as they come, and answers of ours between them.

**What passes** passes in the order in which the server said it. **What counts** is which command a
reply answers. Replies come in the order of the commands (attack F21), so a reply belongs to the
oldest command without one; but servers leave commands unanswered (a NOOP during a transfer) and
answer others twice. Two things bring us back into step: a code that only some commands can be
answered with (150, 226, 227 …) is the reply of the first such command, and the commands before it
were skipped; and where nothing is unanswered there is nothing to be mistaken about. Commands whose
reply may be missing are *doubtful* until then. A reply that belongs to no command passes.

**What is held back.** The final reply to a transfer command whose bytes a filter looks at, until
the data connection has ended: a verdict on the bytes replaces it. News of a good end (2yz) waits
while the data connection is there or may still come, so until its time limit when it never does.
News of a failure waits only while it is there, and only if the server had begun (1yz): a client
that is refused at once may have connected already and waits for the reply before it closes. For the
same reason nothing waits any more when the client says ABOR. Where no filter looks nothing is held.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from sallyport.filters.ftp.agreement import Agreement
from sallyport.filters.ftp.verbs import (
    BARRIERS,
    DATA_VERBS,
    EMPTY_LINE,
    EPSV_ALL,
    GREETING,
    KNOWN_VERBS,
    PASSIVE_CODES,
    PASSIVE_VERBS,
    TRANSFER_ENDS,
    TRANSFERS,
    replies_to,
)
from sallyport.wire.ftp.replies import ReplyLine, foreign_reply

# Any other command may be one that moves a file.
_UNDERSTOOD = KNOWN_VERBS | {EMPTY_LINE, EPSV_ALL}


class Exchange(Struct, eq=False):
    """One command that was passed on, or several of the same verb in a row, and what answers it."""

    verb: bytes
    agreement: Agreement | None = None
    """What PORT or EPRT has opened."""
    transfer: Agreement | None = None
    """The data connection of a transfer command."""
    count: int = 1
    text: bytes = b""
    """What is known of the reply and cannot be told yet."""
    is_ours: bool = False
    """Whether the reply is ours, and the server never heard of the command."""
    is_success: bool = False
    """Whether it is complete and the server's 2yz."""
    was_begun: bool = False
    """Whether a preliminary reply came first (1yz)."""
    is_doubtful: bool = False
    """Whether the server may have left it unanswered."""
    is_trial: bool = False
    """Whether it is still to be seen that the server takes it for a command."""

    @property
    def is_barrier(self) -> bool:
        """Whether what follows it waits for its reply."""
        return self.is_trial or self.verb in BARRIERS

    @property
    def is_judged(self) -> bool:
        """Whether a verdict may replace the reply."""
        return self.transfer is not None and self.transfer.is_judged

    def keeps(self, line: ReplyLine) -> bool:
        """Whether a line waits for the final one: the client hears both, or neither.

        Of a transfer that is judged, or of an agreement that may come to nothing.
        """
        if line.is_preliminary:
            return False
        return self.is_judged or (line.code in PASSIVE_CODES and self.verb in PASSIVE_VERBS)

    @property
    def is_due(self) -> bool:
        """Whether the complete reply may be told: no verdict can come that replaces it."""
        transfer = self.transfer
        if transfer is None or transfer.is_over or not transfer.is_judged:
            return True
        return not (self.is_success or (self.was_begun and transfer.is_established))

    @property
    def final_text(self) -> bytes:
        """What the client hears when it is due: a verdict on the transfer replaces the reply."""
        if self.transfer is None or self.transfer.explanation is None:
            return self.text
        return foreign_reply(451, self.transfer.explanation)


class ReplyQueue:
    """The commands without a reply, oldest first, and the replies that wait to be told."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._expected: deque[Exchange] = deque()
        self._barriers: list[Exchange] = []
        """Those of them that are barriers: each line asks, and thousands may be expected."""
        self._unsent: deque[Exchange] = deque()
        self.kept_bytes = 0
        """The size of everything that is known and was not told yet."""

    def __len__(self) -> int:
        return len(self._expected)

    def __iter__(self) -> Iterator[Exchange]:
        """Iterate over what the client has not heard, in order."""
        yield from self._unsent
        yield from self._expected

    @property
    def is_empty(self) -> bool:
        """Whether the client has heard a reply to everything."""
        return not (self._expected or self._unsent)

    @property
    def is_holding(self) -> bool:
        """Whether a reply is held back."""
        return bool(self._unsent)

    @property
    def owes_ours(self) -> bool:
        """Whether an answer of ours waits for a reply of the server."""
        return any(exchange.is_ours for exchange in self._expected)

    @property
    def oldest(self) -> Exchange | None:
        """The oldest command without a reply."""
        return self._expected[0] if self._expected else None

    @property
    def has_barrier(self) -> bool:
        """Whether a barrier is certain to be answered, and was not yet."""
        return any(not exchange.is_doubtful for exchange in self._barriers)

    @property
    def awaits_greeting(self) -> bool:
        """Whether the server has not begun."""
        return bool(self._barriers) and self._barriers[0].verb == GREETING

    def find(self, verb: bytes) -> Exchange | None:
        """Return the latest command of that verb without a reply."""
        return next((e for e in reversed(self._expected) if e.verb == verb), None)

    def expect(self, exchange: Exchange) -> None:
        """Await the server's reply to a command that is about to be passed on."""
        self._expected.append(exchange)
        if exchange.is_barrier:
            self._barriers.append(exchange)

    def expect_plain(self, verb: bytes) -> None:
        """Await the reply to a command that concerns no data connection, and is no barrier."""
        if self._expected:
            last = self._expected[-1]
            if last.verb == verb and not (last.is_doubtful or last.is_ours):
                last.count += 1
                return
        self._expected.append(Exchange(verb))

    def trust(self, exchange: Exchange) -> None:
        """Take note that the server has begun to answer a command that was on trial."""
        exchange.is_trial = False
        if not exchange.is_barrier:
            self._barriers.remove(exchange)

    def add(self, text: bytes) -> None:
        """Let the client hear `text` when every command before it was answered."""
        self._expected.append(Exchange(b"", text=text, is_ours=True))
        self.kept_bytes += len(text)
        self._advance()

    def match(self, line: ReplyLine) -> tuple[Exchange | None, Sequence[Exchange]]:
        """Find the command that a reply answers by its first line; None: it answers none.

        The second value is the commands that were skipped: the server has left them unanswered.
        """
        code = line.code or 0
        expected = self._expected
        only = replies_to(code)
        if only is None or (expected and expected[0].verb == GREETING):
            return self._in_order(code), ()
        if len(expected) == 1 and expected[0].verb in only:  # as nearly always
            expected[0].is_doubtful = False
            return expected[0], ()
        may_be_unknown = code not in (227, 229, 234)
        for index, exchange in enumerate(expected):
            if exchange.verb in only or (
                may_be_unknown and not exchange.is_ours and exchange.verb not in _UNDERSTOOD
            ):
                skipped = [self._oldest_leaves() for _ in range(index)]
                self._emit_ours(skipped)
                for later in expected:
                    later.is_doubtful = False
                return exchange, [
                    one for one in skipped if not (one.is_ours or one.verb == EMPTY_LINE)
                ]
        if code in (227, 229):
            return None, ()  # whatever it is, it answers nothing that was asked (attack V02)
        return self._in_order(code), ()

    def go_on(self, exchange: Exchange, line: ReplyLine) -> None:
        """Take a line after which more will come."""
        exchange.was_begun |= line.is_preliminary
        if exchange.keeps(line):
            self._keep(exchange, line.raw)
        else:
            self.pass_on(line.raw)

    def complete(self, exchange: Exchange, text: bytes, *, is_success: bool = False) -> None:
        """Complete the reply to `exchange` with `text`, and tell what is due."""
        self._answered(exchange)
        if exchange.transfer is None and not exchange.text:
            self.pass_on(text)  # as nearly always
        else:
            self._keep(exchange, text)
            exchange.is_success = is_success
            self._unsent.append(exchange)
            self.send_due()
        self._advance()

    def replace(self, exchange: Exchange, text: bytes) -> None:
        """Complete the reply with `text`, in the place of what the server has said so far."""
        self._take(exchange)
        self.complete(exchange, text)

    def pass_on(self, raw: bytes) -> None:
        """Let the client hear bytes of the server, behind what is held back."""
        if not self._unsent:
            self._send(raw)
            return
        last = self._unsent[-1]
        if last.transfer is not None:
            last = Exchange(b"")
            self._unsent.append(last)
        self._keep(last, raw)

    def send_due(self) -> None:
        """Let the client hear what is due."""
        unsent = self._unsent
        while unsent and unsent[0].is_due:
            first = unsent.popleft()
            self.kept_bytes -= len(first.text)
            self._send(first.final_text)

    def hold_nothing(self) -> None:
        """Let the client hear what is held back; nothing of the commands so far will be."""
        for exchange in self:
            if exchange.transfer is not None:
                exchange.transfer.is_patient = False
        self.send_due()
        for exchange in self._expected:
            if exchange.text and exchange.transfer is not None:
                self._send(self._take(exchange))

    def doubt_everything(self) -> None:
        """Take all that is unanswered for commands which the server may leave unanswered."""
        for exchange in self._expected:
            exchange.is_doubtful = exchange.verb != GREETING and not exchange.is_ours

    def give_up_doubtful(self) -> int:
        """Await no reply any more to the doubtful commands at the front; return how many."""
        given_up = 0
        while self._expected and (self._expected[0].is_doubtful or self._expected[0].is_ours):
            exchange = self._oldest_leaves()
            if exchange.is_ours:
                self._emit_ours([exchange])
                continue
            given_up += exchange.count
            self.pass_on(self._take(exchange))
        return given_up

    # -- inside -------------------------------------------------------------------------------

    def _in_order(self, code: int) -> Exchange | None:
        expected = self._expected
        while expected and expected[0].verb == EMPTY_LINE and code < 400:
            self._oldest_leaves()  # the server took no notice: none succeeds
            self._advance()
        if not expected:
            return None
        oldest = expected[0]
        is_running = oldest.was_begun and oldest.verb in TRANSFERS
        if is_running and 200 <= code < 400 and code not in TRANSFER_ENDS:
            # A transfer ends with few codes; a server that answers meanwhile answers another one.
            return next((e for e in expected if not (e is oldest or e.is_ours)), oldest)
        return oldest

    def _answered(self, exchange: Exchange) -> None:
        """Take a command off the queue, and note of which others the reply may have been."""
        expected = self._expected
        if exchange.count > 1:
            exchange.count -= 1
        elif expected and expected[0] is exchange:
            self._oldest_leaves()
        else:
            expected.remove(exchange)
            self._left(exchange)
        if expected and (exchange.is_doubtful or exchange.was_begun):
            # Behind a transfer: what was said while it ran may have been swallowed. Behind a
            # doubtful command: the reply may have been the next one's, and so on.
            for later in expected:
                later.is_doubtful = not later.is_ours and (
                    exchange.is_doubtful or later.verb not in DATA_VERBS | TRANSFERS
                )

    def _oldest_leaves(self) -> Exchange:
        oldest = self._expected.popleft()
        self._left(oldest)
        return oldest

    def _left(self, exchange: Exchange) -> None:
        if self._barriers and exchange.is_barrier:
            self._barriers.remove(exchange)

    def _advance(self) -> None:
        expected = self._expected
        while expected and expected[0].is_ours:
            self._emit_ours([expected.popleft()])

    def _emit_ours(self, exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            if exchange.is_ours:
                self.pass_on(self._take(exchange))

    def _keep(self, exchange: Exchange, raw: bytes) -> None:
        exchange.text += raw
        self.kept_bytes += len(raw)

    def _take(self, exchange: Exchange) -> bytes:
        text, exchange.text = exchange.text, b""
        self.kept_bytes -= len(text)
        return text
