"""What the client will hear, in the order of its commands (attack F21).

The server's replies are matched to the commands it has not answered, oldest first. Answers of ours
take their place among them, and whatever follows a reply that is held back waits behind it.

**What is held back.** The final reply to a transfer command whose bytes somebody looks at, until
the data connection has ended: a verdict on the bytes replaces it. News of a good end (2yz) waits
while the data connection is there or may still come, so until its time limit when it never does.
News of a failure waits only while it is there, and only if the server had begun (1yz): who is
refused at once may have connected already and waits for the reply before it closes. For the same
reason nothing waits any more when the client says ABOR. Where nobody looks nothing is held.
"""

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass

from sallyport.filters.ftp.agreement import Agreement, Offer
from sallyport.filters.ftp.verbs import DATA_VERBS
from sallyport.wire.ftp.replies import ReplyLine, foreign_reply


@dataclass(slots=True, eq=False)
class Answer:
    """What the client will hear of one command."""

    verb: bytes
    offer: Offer | None = None
    """What PORT or EPRT has reserved."""
    transfer: Agreement | None = None
    """The data connection of a transfer command."""
    text: bytes = b""
    """What is known of it and was not heard yet."""
    is_complete: bool = False
    is_success: bool = False
    """Whether it is complete and the server's 2yz."""
    was_begun: bool = False
    """Whether a preliminary reply came first (1yz)."""

    @property
    def may_be_replaced(self) -> bool:
        """Whether the client hears the server's final reply whole or not at all."""
        is_judged = self.transfer is not None and self.transfer.is_judged
        return is_judged or self.verb in DATA_VERBS

    @property
    def is_due(self) -> bool:
        """Whether the client may hear it: no verdict can come any more that replaces it."""
        transfer = self.transfer
        if transfer is None or transfer.is_over or not transfer.is_judged:
            return self.is_complete
        is_held = self.is_success or (self.was_begun and transfer.is_established)
        return self.is_complete and not is_held

    @property
    def final_text(self) -> bytes:
        """What the client hears when it is due: a verdict on the transfer replaces the reply."""
        if self.transfer is None or self.transfer.explanation is None:
            return self.text
        return foreign_reply(451, self.transfer.explanation)


class Answers:
    """The answers the client has not heard, oldest first; `send` is how it hears them."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._answers: deque[Answer] = deque()
        self.kept_bytes = 0
        """The size of everything that is known and was not heard yet."""

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def next_incomplete(self) -> Answer | None:
        """The one to which the server's next line belongs."""
        for answer in self._answers:
            if not answer.is_complete:
                return answer
        return None

    @property
    def is_holding(self) -> bool:
        """Whether a reply is held back."""
        return bool(self._answers) and self._answers[0].is_complete

    def has_one_of(self, verbs: Container[bytes]) -> bool:
        """Whether a command that was not answered yet is one of `verbs`."""
        return any(answer.verb in verbs for answer in self._answers)

    def expect(self, answer: Answer) -> None:
        """Await the server's reply to a command that is about to be passed on."""
        self._answers.append(answer)

    def add(self, text: bytes) -> None:
        """Let the client hear `text` when it has heard everything before it."""
        answer = Answer(b"")
        self._answers.append(answer)
        self.complete(answer, text)

    def go_on(self, answer: Answer, line: ReplyLine) -> None:
        """Take a line after which more will come."""
        is_preliminary = line.is_preliminary
        answer.was_begun |= is_preliminary
        is_news = is_preliminary and answer.transfer is not None
        if answer is self._answers[0] and (is_news or not answer.may_be_replaced):
            self._send(line.raw)
        else:
            self._keep(answer, line.raw)

    def complete(self, answer: Answer, text: bytes, *, is_success: bool = False) -> None:
        """Complete `answer` with `text`, and tell what is due."""
        self._keep(answer, text)
        answer.is_complete, answer.is_success = True, is_success
        self.tell()

    def replace(self, answer: Answer, text: bytes) -> None:
        """Complete `answer` with `text` in the place of everything kept of it, and tell."""
        self._take(answer)
        self.complete(answer, text)

    def tell(self) -> None:
        """Let the client hear what is due."""
        answers = self._answers
        while answers and (first := answers[0]).is_due:
            answers.popleft()
            self.kept_bytes -= len(first.text)
            self._send(first.final_text)
        if answers and (first := answers[0]).text and not first.may_be_replaced:
            self._send(self._take(first))

    def hold_nothing(self) -> None:
        """Let the client hear what is held back; nothing of the commands so far will be."""
        for answer in self._answers:
            if answer.transfer is not None:
                answer.transfer.is_patient = False
        self.tell()

    def _keep(self, answer: Answer, raw: bytes) -> None:
        answer.text += raw
        self.kept_bytes += len(raw)

    def _take(self, answer: Answer) -> bytes:
        text, answer.text = answer.text, b""
        self.kept_bytes -= len(text)
        return text
