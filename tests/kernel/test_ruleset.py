"""Questions about tables with a false kernel; the filter of notices in a real one.

That the notices come is shown in tests/netns/test_guard.py.
"""

import errno
import socket
from collections.abc import Iterator

import pytest

from sallyport.errors import KernelError
from sallyport.io.sockets import attach_program
from sallyport.kernel import netlink_socket
from sallyport.kernel.ruleset import Ruleset, RulesetWatch
from sallyport.wire import netlink, nftset, ruleset
from sallyport.wire.netlink import Family

TABLE, CHAIN, RULE = (netlink.text(1, "t") + bytes([kind, 0, 0, 0]) for kind in (1, 2, 3))
OTHERS = netlink.text(1, "other") + bytes(4)


def found(body: bytes, sequence: int, flags: int = 0) -> bytes:
    return netlink.message(0xA00, flags, sequence, Family.INET, body)


def done(sequence: int) -> bytes:
    return netlink.message(netlink.TYPE_DONE, 0, sequence, Family.UNSPEC, b"")


def refusal(number: int, sequence: int = 1) -> bytes:
    header = netlink.message(netlink.TYPE_ERROR, 0, sequence, Family.UNSPEC, bytes(16))
    return header[:16] + (-number).to_bytes(4, "little", signed=True) + header[20:]


class Kernel:
    """A socket whose answers are laid out beforehand."""

    def __init__(self) -> None:
        self.answers: list[bytes | OSError] = []
        self.closed = 0

    def settimeout(self, _seconds: float) -> None:
        """Nothing is waited for here."""

    def setsockopt(self, *_option: object) -> None:
        """A filter and a group have no effect here."""

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, _size: int) -> bytes:
        if not self.answers:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(netlink_socket, "connect", lambda: made)
    return made


@pytest.fixture
def asked(kernel: Kernel) -> Iterator[Ruleset]:
    with Ruleset() as made:
        yield made
    assert kernel.closed == 1


def test_the_contents_are_the_table_its_chains_and_its_rules(
    kernel: Kernel, asked: Ruleset
) -> None:
    kernel.answers = [found(TABLE, 1), found(OTHERS, 2) + found(CHAIN, 2), done(2)]
    kernel.answers += [found(RULE, 3) + done(3)]

    assert asked.contents("t") == TABLE + CHAIN + RULE


def test_a_table_that_is_not_there_is_empty(kernel: Kernel, asked: Ruleset) -> None:
    kernel.answers = [refusal(errno.ENOENT), done(2), refusal(errno.ENOENT, 3)]

    assert asked.contents("t") == b""


def test_a_table_that_changes_while_it_is_read_is_not_compared(
    kernel: Kernel, asked: Ruleset
) -> None:
    interrupted = found(CHAIN, 2, netlink.FLAG_DUMP_INTERRUPTED)
    kernel.answers = [found(TABLE, 1), interrupted, done(2)]

    assert asked.contents("t") is None
    assert kernel.answers == []


def test_a_refusal_is_raised_and_what_is_left_of_its_answer_misleads_nobody(
    kernel: Kernel, asked: Ruleset
) -> None:
    kernel.answers = [refusal(errno.EPERM)]
    with pytest.raises(KernelError, match="read table t"):
        asked.contents("t")

    owned = netlink.text(1, "t") + netlink.attribute(7, bytes((0, 0, 18, 103)))
    kernel.answers = [found(RULE, 1), found(owned, 2)]
    assert asked.owner_of("t") == 4711


@pytest.mark.parametrize(("answer", "owner"), [(found(TABLE[:8], 1), 0), (refusal(2), None)])
def test_a_table_may_have_no_owner_or_not_be_there(
    kernel: Kernel, asked: Ruleset, answer: bytes, owner: int | None
) -> None:
    kernel.answers = [answer]

    assert asked.owner_of("t") == owner


def notice(pid: int) -> bytes:
    of_process = netlink.attribute(2, pid.to_bytes(4, "big")) + netlink.text(3, "nft")
    return netlink.message(10 << 8 | 15, 0, 0, Family.UNSPEC, of_process)


def test_all_that_was_noticed_is_taken_and_what_was_lost_stops_nothing(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sallyport.kernel.ruleset.attach_program", lambda *_filter: None)
    watch = RulesetWatch()
    kernel.answers = [notice(1), OSError(errno.ENOBUFS, "full"), notice(2)]

    assert [change.pid for change in watch.drain()] == [1, 2]
    assert watch.drain() == []
    kernel.answers = [OSError(errno.EBADF, "closed")]
    with pytest.raises(OSError, match="closed"):
        watch.drain()


@pytest.mark.parametrize(
    ("kind", "sequence", "is_kept"),
    [
        (15, 0, True),
        (15, nftset.SEQUENCES[0] - 1, True),
        (15, nftset.SEQUENCES[0], False),
        (15, nftset.SEQUENCES[-1], False),
        (15, nftset.SEQUENCES[-1] + 1, True),
        (12, 0, False),  # an element
        (6, 0, False),  # a rule: the notice comes after it
    ],
)
def test_notices_of_our_workers_pinholes_wake_nobody(
    kind: int, sequence: int, is_kept: bool
) -> None:
    writer, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with writer, reader:
        reader.setblocking(False)
        attach_program(reader, netlink_socket.SO_ATTACH_FILTER, ruleset.foreign_changes())
        message = netlink.message(10 << 8 | kind, 0, sequence, Family.UNSPEC, b"")
        try:
            writer.send(message)
            assert (reader.recv(100) == message) is is_kept
        except (BlockingIOError, ConnectionRefusedError, PermissionError):
            assert not is_kept
