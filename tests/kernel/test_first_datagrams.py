"""Copies of first datagrams: whose they are, and how many are kept; the kernel's part is in
tests/contract/test_first_datagram.py."""

import errno
import struct
from collections.abc import Iterator

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import KernelError
from sallyport.kernel.first_datagrams import COPIED_BYTES, FirstDatagrams, group_of
from sallyport.kernel.packet_log import PacketLog
from sallyport.wire import netlink
from sallyport.wire.netlink import Message

LISTEN = Endpoint.parse("203.0.113.1:40000")


def copy(source: Endpoint, data: bytes, listen: Endpoint = LISTEN) -> Message:
    ports = struct.pack(">HHHH", source.port, listen.port, 8 + len(data), 0)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 28 + len(data), 0, 0, 64, 17, 0)
    packet = head + source.address.packed + listen.address.packed + ports + data
    return Message(4 << 8, 0, 0, bytes(4) + netlink.attribute(9, packet))


def peer(number: int) -> Endpoint:
    return Endpoint.parse(f"203.0.113.9:{10_000 + number}")


class Kernel:
    """What waits in the packet log; an error is raised once."""

    def __init__(self) -> None:
        self.waiting: list[Message | OSError] = []

    def messages(self) -> Iterator[Message]:
        while self.waiting:
            one = self.waiting.pop(0)
            if isinstance(one, OSError):
                raise one
            yield one


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(PacketLog, "__init__", lambda *_: None)
    monkeypatch.setattr(PacketLog, "messages", made.messages)
    return made


def test_each_flow_has_what_its_peer_said_once(kernel: Kernel) -> None:
    copies = FirstDatagrams(0)
    kernel.waiting += [copy(peer(1), b"one"), copy(peer(2), b"two")]
    kernel.waiting += [copy(peer(1), b"elsewhere", LISTEN.with_port(1)), Message(1, 0, 0, b"")]

    assert copies.take(peer(2), LISTEN) == b"two"
    assert copies.take(peer(1), LISTEN) == b"one"
    assert copies.take(peer(1), LISTEN) == b""


def test_a_host_without_a_packet_log_has_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("listen to the packet log", errno.EBUSY)

    monkeypatch.setattr(PacketLog, "__init__", refuse)
    assert FirstDatagrams.of_host(0) is None


CUT_OFF = Message(4 << 8, 0, 0, bytes(4) + b"\xff" * 8)


@pytest.mark.parametrize("accident", [OSError(5, "x"), CUT_OFF])
def test_what_was_lost_is_not_known_and_does_no_harm(
    kernel: Kernel, accident: OSError | Message
) -> None:
    copies = FirstDatagrams(0)
    kernel.waiting += [copy(peer(1), b"one"), accident, copy(peer(2), b"two")]

    assert copies.take(peer(3), LISTEN) == b""
    assert [copies.take(peer(number), LISTEN) for number in (1, 2)] == [b"one", b"two"]


def test_copies_that_no_flow_asks_for_are_bounded_in_number_and_size(kernel: Kernel) -> None:
    copies, most = FirstDatagrams(0), limits.MAX_FIRST_DATAGRAMS
    kernel.waiting += [copy(peer(number), b"x" * 600) for number in range(most + 1)]

    assert copies.take(peer(most), LISTEN) == b""  # no more than that are read at once
    assert copies.take(peer(0), LISTEN) == b""
    assert copies.take(peer(1), LISTEN) == b"x" * limits.MAX_FIRST_DATAGRAM
    assert copies.take(peer(most), LISTEN) == b"x" * limits.MAX_FIRST_DATAGRAM


def test_each_worker_has_a_group_of_its_own_that_is_not_the_guards() -> None:
    assert [group_of(series) for series in (0, 15)] == [0x5A20, 0x5A2F]
    assert COPIED_BYTES == 40 + 8 + limits.MAX_FIRST_DATAGRAM
