"""A group of the packet log, with a double for the kernel's end of the socket."""

import socket
import struct
from collections.abc import Iterator
from errno import EBUSY

import pytest

from sallyport.errors import KernelError
from sallyport.kernel import netlink_socket
from sallyport.kernel.packet_log import PacketLog
from sallyport.wire import netlink, nflog
from sallyport.wire.netlink import Family


def verdict(sequence: int, number: int = 0) -> bytes:
    return struct.pack("=IHHIIi", 20, netlink.TYPE_ERROR, 0, sequence, 0, -number)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Yield the kernel's end of the next netlink socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(netlink_socket, "connect", lambda: theirs)
    with ours, theirs:
        ours.settimeout(0)
        yield ours


def test_a_group_is_asked_for_and_read_without_blocking(kernel: socket.socket) -> None:
    kernel.send(verdict(1))
    kernel.send(verdict(2))
    log = PacketLog(0x5A20, 560)

    assert kernel.recv(100) == nflog.bind_request(0x5A20, 1)
    assert kernel.recv(100) == nflog.copy_request(0x5A20, 560, 2)
    assert list(log.messages()) == []
    one, two, three = (
        netlink.message(7, 0, 0, Family.UNSPEC, data) for data in (b"one.", b"two.", b"tri.")
    )
    kernel.send(one + two)
    kernel.send(three)
    assert [message.payload[-4:] for message in log.messages()] == [b"one.", b"two.", b"tri."]
    log.close()
    assert log.fileno() == -1


def test_a_group_that_another_program_has_is_an_error_and_leaves_no_socket(
    kernel: socket.socket,
) -> None:
    kernel.send(verdict(1, EBUSY))
    made = netlink_socket.connect()

    with pytest.raises(KernelError, match="packet log"):
        PacketLog(0x5A20, 560)

    assert made.fileno() == -1
