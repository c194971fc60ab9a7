"""What a data connection is for, and what the client hears of a transfer somebody looks into."""

from collections.abc import Coroutine
from typing import Any, Self, cast
from unittest.mock import Mock

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Relation
from sallyport.errors import BindError, OutOfResources
from sallyport.filters.ftp import FTP, FtpFilter, FtpSettings, FtpTransfer
from sallyport.filters.ftp.agreement import Agreement
from sallyport.filters.ftp.dialogue import FtpDialogue
from sallyport.filters.ftp.passive_range import PassiveRanges
from sallyport.flags import ConnectionFlags

READY = b"220 ready\r\n"
PORT = b"PORT 10,0,0,8,6,17\r\n"
TOLD = b"PORT 203,0,113,1,157,79\r\n"
OK = b"200 ok\r\n"
PASSIVE = b"227 (203,0,113,9,19,137)\r\n"
DONE = b"226 Done.\r\n"
INFECTED = b"451 Infected: EICAR\r\n"


def step(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end; it may not wait."""
    with pytest.raises(StopIteration):
        work.send(None)


class FakeEnd:
    def __init__(self) -> None:
        self.heard = b""
        self.is_shut = False

    def send(self, data: bytes) -> None:
        self.heard += data

    def shutdown(self) -> None:
        self.is_shut = True


class FakeOpening:
    """Stands for a binding or a permission."""

    proxy_address = Endpoint.parse("203.0.113.1:40271")

    def __init__(self, transfer: FtpTransfer, *, is_filtered: bool) -> None:
        self.transfer = transfer
        self.is_filtered = is_filtered
        self.withdrawn: str | None = None
        self.waits: list[float] = []

    def withdraw(self, reason: str) -> None:
        self.withdrawn = reason

    def kill(self, reason: str) -> None:
        self.withdrawn = reason

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


class FakeConnection:
    """The control connection and its session: all that a dialogue asks of both."""

    client = Endpoint.parse("10.0.0.8:50000")
    server = peer = Endpoint.parse("203.0.113.9:21")
    gateway_address = Endpoint.parse("203.0.113.1:50001")
    flags = ConnectionFlags.NONE
    protocol = FTP
    relation = Relation.NAT

    def __init__(self, *, is_filtered: bool, failure: BindError | None) -> None:
        self.session = self
        self.ended: str | None = None
        self.opened: list[FakeOpening] = []
        self._is_filtered = is_filtered
        self._failure = failure

    @property
    def is_open(self) -> bool:
        return self.ended is None

    def note(self, event: str, *, level: str = "info", **fields: object) -> None:
        pass

    def close(self, reason: str) -> None:
        self.ended = self.ended or reason

    def kill(self, reason: str) -> None:
        self.close(reason)

    async def bind_for_client(self, where: object, *, context: object, **rest: object) -> object:
        assert isinstance(context, FtpTransfer)
        if self._failure is not None:
            raise self._failure
        self.opened.append(FakeOpening(context, is_filtered=self._is_filtered))
        return self.opened[-1]

    allow_future_connect = bind_for_client


class UntimedDialogue(FtpDialogue):
    """One whose deadline never passes: nothing here waits."""

    is_server_held = False

    def set_deadline(self, seconds: float | None) -> None:
        pass

    def hold_server(self, *, is_held: bool) -> None:
        self.is_server_held = is_held


class Talk:
    """A dialogue and what is around it; every method returns it."""

    def __init__(self, *, is_filtered: bool = True, failure: BindError | None = None) -> None:
        self.client, self.server = FakeEnd(), FakeEnd()
        self.connection = FakeConnection(is_filtered=is_filtered, failure=failure)
        session_filter = FtpFilter().attach_to_session(Mock())
        self._dialogue = UntimedDialogue(
            session_filter, FtpSettings(), PassiveRanges(session_filter)
        )
        self._dialogue.set_sockets(
            self.client, self.server, cast("Any", self.connection), self.connection.peer, None
        )
        step(self._dialogue.started())
        self.server_says(READY).client_hears(READY)

    @property
    def openings(self) -> list[FakeOpening]:
        return self.connection.opened

    def client_says(self, data: bytes) -> Self:
        step(self._dialogue.from_client(data))
        return self

    def server_says(self, data: bytes) -> Self:
        step(self._dialogue.from_server(data))
        return self

    def server_is_silent(self, seconds: float) -> Self:
        step(self._dialogue.silence(seconds))
        return self

    @property
    def is_server_held(self) -> bool:
        return self._dialogue.is_server_held

    def server_closes(self) -> Self:
        step(self._dialogue.server_closed())
        return self

    def client_hears(self, expected: bytes) -> Self:
        assert self.client.heard == expected
        self.client.heard = b""
        return self

    def server_hears(self, expected: bytes) -> Self:
        assert self.server.heard == expected
        self.server.heard = b""
        return self

    def connected(self) -> Self:
        """Let the peer of the latest opening connect."""
        step(self._agreement.established())
        return self

    def over(self, explanation: str | None = None) -> Self:
        """Let nothing be left of the latest opening."""
        step(self._agreement.ended(explanation))
        return self

    @property
    def serves(self) -> tuple[str | None, str | None]:
        """The command and the argument that the latest data connection is for."""
        transfer = self.openings[-1].transfer
        return transfer.command, transfer.argument

    @property
    def _agreement(self) -> Agreement:
        agreement = self.openings[-1].transfer
        assert isinstance(agreement, Agreement)
        return agreement


def agreed(*, is_filtered: bool = True) -> Talk:
    talk = Talk(is_filtered=is_filtered).client_says(PORT).server_hears(TOLD)
    return talk.server_says(OK).client_hears(OK)


def retrieving(command: bytes = b"RETR a\r\n", *, is_filtered: bool = True) -> Talk:
    """Return a talk whose server has begun a transfer that has no data connection yet."""
    talk = agreed(is_filtered=is_filtered).client_says(command).server_hears(command)
    return talk.server_says(b"150 Here\r\n").client_hears(b"150 Here\r\n")


# -- what a data connection is for ------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "verb", "argument"),
    [
        (b"RETR a b\r\n", "RETR", "a b"),
        (b"stor x\r\n", "STOR", "x"),
        (b"LIST\r\n", "LIST", None),
        (b"NLST \r\n", "NLST", ""),
        (b"RETR \xc3\xa4\r\n", "RETR", "ä"),
        (b"RETR na\xefve \xff\xff\r\n", "RETR", "na\udcefve \udcff"),
    ],
)
@pytest.mark.parametrize(("ask", "answer"), [(PORT, OK), (b"PASV\r\n", PASSIVE)])
def test_a_transfer_knows_its_command(
    ask: bytes, answer: bytes, command: bytes, verb: str, argument: str | None
) -> None:
    talk = Talk().client_says(ask).server_says(answer)
    assert talk.serves == (None, None)

    assert talk.client_says(b"TYPE I\r\nREST 7\r\n" + command).serves == (verb, argument)


def test_a_command_that_waits_is_not_known_before_it_is_passed_on() -> None:
    talk = retrieving(b"LIST\r\n").client_says(PORT + b"RETR a\r\n")
    assert talk.serves == ("LIST", None)

    assert talk.server_says(DONE).over().serves == ("RETR", "a")


def test_each_agreement_has_a_transfer_of_its_own() -> None:
    talk = retrieving().over().server_says(DONE).client_says(PORT).server_says(OK)
    talk.client_says(b"STOR b\r\n")

    assert [transfer.command for transfer in (opening.transfer for opening in talk.openings)] == [
        "RETR",
        "STOR",
    ]


def test_a_command_without_an_agreement_takes_nobodys_transfer() -> None:
    talk = Talk().client_says(b"LIST\r\n").server_says(b"150 a\r\n" + DONE)

    talk.client_hears(b"150 a\r\n" + DONE)


def test_after_a_command_that_was_refused_at_once_the_next_one_counts() -> None:
    talk = agreed().client_says(b"RETR a\r\n").server_says(b"550 No\r\n")
    assert talk.serves == (None, None)

    assert talk.client_says(b"STOR b\r\n").serves == ("STOR", "b")


@pytest.mark.parametrize("replies", [b"", b"150 a\r\n", b"150 a\r\n426 Lost\r\n", DONE])
def test_a_command_that_was_not_refused_keeps_its_transfer(replies: bytes) -> None:
    talk = agreed().client_says(b"RETR a\r\n").server_says(replies).client_says(b"RETR b\r\n")

    assert talk.serves == ("RETR", "a")


# -- what is held back ------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [DONE, b"250 ok\r\n", b"226-So\r\n it\r\n226 was\r\n"])
def test_news_of_a_good_end_waits_for_the_end_of_the_data_connection(reply: bytes) -> None:
    talk = retrieving().connected().server_says(reply).client_hears(b"")

    talk.over().client_hears(reply)


def test_news_of_a_good_end_waits_for_a_data_connection_that_may_still_come() -> None:
    talk = retrieving().server_says(DONE).client_hears(b"").connected().client_hears(b"")

    talk.over().client_hears(DONE)


def test_news_of_a_good_end_waits_no_longer_than_the_offer_stands() -> None:
    agreed().client_says(b"LIST\r\n").server_says(DONE).client_hears(b"").over().client_hears(DONE)


def test_when_the_data_connection_has_ended_before_nothing_waits() -> None:
    retrieving().connected().over().server_says(DONE).client_hears(DONE)


@pytest.mark.parametrize("reply", [DONE, b"426 Lost\r\n", b"226-So\r\n it\r\n226 was\r\n"])
def test_a_verdict_replaces_a_reply_that_was_held_back(reply: bytes) -> None:
    talk = retrieving().connected().server_says(reply)

    talk.over("Infected: EICAR").client_hears(INFECTED)


@pytest.mark.parametrize("reply", [DONE, b"426 Lost\r\n", b"551-So\r\n it\r\n551 was\r\n"])
def test_a_verdict_replaces_a_reply_that_comes_later(reply: bytes) -> None:
    talk = retrieving().connected().over("Infected: EICAR").client_hears(b"")

    talk.server_says(reply).client_hears(INFECTED)


def test_a_verdict_before_the_server_begins_leaves_its_150_alone() -> None:
    talk = agreed().client_says(b"RETR a\r\n").connected().over("Infected: EICAR")

    talk.server_says(b"150 a\r\n").client_hears(b"150 a\r\n").server_says(DONE)
    talk.client_hears(INFECTED)


def test_a_verdict_concerns_the_command_of_its_transfer_only() -> None:
    talk = retrieving().connected().over("Infected: EICAR").server_says(DONE)
    talk.client_hears(INFECTED)

    talk.client_says(b"RETR b\r\n").server_says(b"425 No\r\n").client_hears(b"425 No\r\n")


def test_a_verdict_is_told_in_one_line_of_ascii() -> None:
    talk = retrieving().connected().server_says(DONE).over("ä\r\n226 fine\0" + "x" * 1000)

    assert talk.client.heard == b"451 ???226 fine?" + b"x" * 494 + b"\r\n"
    assert len(talk.client.heard) == 512


@pytest.mark.parametrize("reply", [DONE, b"426 Lost\r\n"])
def test_where_nobody_looks_nothing_waits(reply: bytes) -> None:
    retrieving(is_filtered=False).connected().server_says(reply).client_hears(reply)


def test_where_nobody_looks_a_reply_of_several_lines_passes_line_by_line() -> None:
    retrieving(is_filtered=False).server_says(b"226-So\r\n").client_hears(b"226-So\r\n")


@pytest.mark.parametrize("reply", [b"550 No\r\n", b"450-So\r\n450 busy\r\n"])
def test_who_is_refused_at_once_hears_it_at_once_connected_or_not(reply: bytes) -> None:
    for talk in (agreed(), agreed().connected()):
        talk.client_says(b"RETR a\r\n").server_says(reply).client_hears(reply)


def test_news_of_a_failure_waits_only_while_the_data_connection_is_there() -> None:
    retrieving().server_says(b"425 Nobody\r\n").client_hears(b"425 Nobody\r\n")
    talk = retrieving().connected().server_says(b"426 Lost\r\n").client_hears(b"")

    talk.over().client_hears(b"426 Lost\r\n")


# -- what waits behind it ---------------------------------------------------------------------


def held() -> Talk:
    """Return a talk whose 226 is held back."""
    return retrieving().connected().server_says(DONE).client_hears(b"")


def test_later_replies_and_answers_of_ours_wait_behind_it_in_order() -> None:
    talk = held().client_says(b"NOOP\r\nLPSV\r\nSTAT\r\n").server_hears(b"NOOP\r\nSTAT\r\n")
    talk.server_says(OK + b"211-a\r\n").client_hears(b"")

    talk.over().client_hears(DONE + OK + b"502 Command not implemented.\r\n211-a\r\n")
    talk.server_says(b"211 b\r\n").client_hears(b"211 b\r\n")


def test_a_reply_nobody_asked_for_waits_behind_it() -> None:
    talk = held().server_says(b"421 Bye\r\n").client_hears(b"")

    talk.over("Infected: EICAR").client_hears(INFECTED + b"421 Bye\r\n")


def test_the_next_agreement_waits_until_it_was_heard() -> None:
    talk = held().client_says(PORT + b"RETR b\r\n").server_hears(b"")
    assert talk.openings[0].withdrawn is None

    talk.over().client_hears(DONE).server_hears(TOLD + b"RETR b\r\n")


def test_what_is_held_back_is_bounded() -> None:
    talk = held().client_says(b"STAT\r\n").server_says(b"211-\r\n")
    line = b"x" * 98 + b"\r\n"
    count = (limits.MAX_HELD_BYTES - len(DONE) - 6) // len(line)
    for _ in range(count):
        talk.server_says(line)
    assert talk.connection.ended is None

    talk.server_says(line)
    assert talk.is_server_held
    talk.over().client_hears(DONE + b"211-\r\n" + line * (count + 1))
    assert talk.connection.ended is None
    assert not talk.is_server_held


def test_a_transfer_that_does_not_end_holds_its_server_back_for_a_while_only() -> None:
    talk = held()
    for _ in range(limits.MAX_HELD_BYTES // 4000 + 1):
        talk.server_says(b"200 " + b"x" * 4000 + b"\r\n")

    talk.server_is_silent(limits.FTP_REPLY_SECONDS - 1)
    assert talk.connection.ended is None
    talk.server_is_silent(limits.FTP_REPLY_SECONDS).client_hears(
        b"421 The transfer does not end, closing connection.\r\n"
    )
    assert talk.connection.ended == "reply-too-long"


def test_what_was_heard_does_not_count() -> None:
    long, talk = b"226 " + b"x" * 4000 + b"\r\n", Talk()
    for _ in range(limits.MAX_HELD_BYTES // len(long) + 1):
        talk.client_says(PORT).server_says(OK).client_says(b"RETR a\r\n").server_says(long)
        talk.over("Infected: EICAR").client_hears(OK + INFECTED)

    assert talk.connection.ended is None


def test_who_aborts_waits_for_nothing() -> None:
    talk = held().client_says(b"ABOR\r\n").client_hears(DONE).server_hears(b"ABOR\r\n")
    talk.server_says(b"226 Aborted\r\n").client_hears(b"226 Aborted\r\n")

    talk = retrieving().connected().client_says(b"ABOR\r\n")
    talk.server_says(b"426 Lost\r\n226 Aborted\r\n").client_hears(b"426 Lost\r\n226 Aborted\r\n")


def test_who_aborts_hears_what_was_kept_of_a_reply_too() -> None:
    talk = retrieving().connected().server_says(b"226-So\r\n").client_hears(b"")

    talk.client_says(b"ABOR\r\n").client_hears(b"226-So\r\n")
    talk.server_says(b"226 be it\r\n").client_hears(b"226 be it\r\n")


def test_nothing_stays_held_back_when_the_stream_becomes_opaque() -> None:
    talk = held().client_says(b"AUTH TLS\r\n").server_says(b"234 Go\r\n")

    talk.client_hears(DONE + b"234 Go\r\n").over().client_hears(b"")


def test_a_server_that_closes_is_followed_when_everything_was_heard() -> None:
    talk = held().client_says(b"QUIT\r\n").server_says(b"221 Bye\r\n").server_closes()
    assert talk.connection.ended is None

    talk.over().client_hears(DONE + b"221 Bye\r\n")
    assert talk.connection.ended == "server-closed"


def test_an_agreement_that_could_not_be_opened_is_not_waited_for() -> None:
    talk = Talk(failure=OutOfResources("full")).client_says(PORT).server_hears(b"")

    talk.client_hears(b"425 Can't open data connection.\r\n")


# -- how long a data connection may take -----------------------------------------------------------


def test_a_transfer_that_was_asked_for_has_its_own_time() -> None:
    talk = agreed().client_says(b"RETR tape\r\n")
    assert talk.openings[0].waits[-1] == limits.TRANSFER_START_SECONDS

    talk.server_says(b"550 No\r\n")
    assert talk.openings[0].waits[-1] == limits.ACCEPT_TIMEOUT_SECONDS


def test_an_agreement_has_its_minute_from_the_servers_answer() -> None:
    talk = Talk().client_says(PORT)
    assert not talk.openings[0].waits

    assert talk.server_says(OK).openings[0].waits == [limits.ACCEPT_TIMEOUT_SECONDS]


def test_what_is_connected_waits_for_nothing() -> None:
    talk = Talk().client_says(PORT).connected().server_says(OK).client_says(b"RETR a\r\n")

    assert talk.server_says(b"150 a\r\n").openings[0].waits == []
