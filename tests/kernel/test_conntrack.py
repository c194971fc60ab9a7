"""Requests to conntrack with a false socket; the event socket is shown in tests/netns."""

import errno

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import KernelError
from sallyport.kernel import netlink_socket
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.wire import conntrack, netlink
from sallyport.wire.conntrack import FlowTuple
from sallyport.wire.netlink import Family

PEER, LISTEN = Endpoint.parse("203.0.113.9:20"), Endpoint.parse("203.0.113.1:40000")
FLOW = conntrack.write_tuple(FlowTuple(6, PEER, LISTEN))
REPLY = FLOW[:2] + b"\x02" + FLOW[3:]
COUNTERS = b"".join(
    netlink.nested(
        kind,
        netlink.attribute(1, (1).to_bytes(8, "big")),
        netlink.attribute(2, count.to_bytes(8, "big")),
    )
    for kind, count in ((9, 67), (10, 68))  # of one packet, with 60 bytes of headers
)
TIMEOUT = netlink.attribute(7, (42).to_bytes(4, "big"))
ENTRY = netlink.message(0x100, 2, 1, Family.IPV4, FLOW + REPLY + TIMEOUT + COUNTERS)
DONE = netlink.message(netlink.TYPE_DONE, 2, 1, Family.UNSPEC, b"")


class Kernel:
    """A socket whose answers are laid out beforehand."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.sent: list[bytes] = []

    def settimeout(self, seconds: float) -> None:
        assert seconds == 0

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)

    def recv(self, _size: int) -> bytes:
        if not self.answers:
            raise BlockingIOError(errno.EAGAIN, "nothing")
        return self.answers.pop(0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(netlink_socket, "connect", lambda: made)
    return made


def answered(sequence: int) -> bytes:
    """Return the entry as the answer to one request."""
    return ENTRY[:8] + sequence.to_bytes(4, "little") + ENTRY[12:]


def refusal(number: int, sequence: int = 1) -> bytes:
    header = netlink.message(netlink.TYPE_ERROR, 0, sequence, Family.UNSPEC, bytes(16))
    return header[:16] + (-number).to_bytes(4, "little", signed=True) + header[20:]


def test_an_entry_is_asked_for_its_counters_and_its_time(kernel: Kernel) -> None:
    kernel.answers = [answered(1), answered(2)]
    requests = ConntrackRequests()

    assert requests.counters(FLOW) == (7, 8)
    assert requests.seconds_left(FLOW) == 42
    assert kernel.sent == [conntrack.get_request(FLOW, 1), conntrack.get_request(FLOW, 2)]


def test_an_entry_that_is_gone_is_none(kernel: Kernel) -> None:
    kernel.answers = [refusal(errno.ENOENT, number) for number in (1, 2, 3, 4)]
    requests = ConntrackRequests()

    assert requests.counters(FLOW) is None
    assert requests.seconds_left(FLOW) is None
    assert not requests.set_bits(FLOW, 1)
    assert not requests.delete(FLOW)


def test_an_order_that_is_obeyed_is_true(kernel: Kernel) -> None:
    kernel.answers = [refusal(0, 1), refusal(0, 2)]
    requests = ConntrackRequests()

    assert requests.set_bits(FLOW, 0x20000000)
    assert requests.delete(FLOW)
    assert kernel.sent == [
        conntrack.mark_request(FLOW, 0x20000000, 0x20000000, 1),
        conntrack.delete_request(FLOW, 2),
    ]


def test_a_flow_that_is_over_is_read_and_marked_in_one_call(kernel: Kernel) -> None:
    kernel.answers = [answered(2)]

    assert ConntrackRequests().conclude(FLOW, 0x01000000) == (7, 8)
    order = conntrack.mark_request(FLOW, 0x01000000, 0x01000000, 1, is_acknowledged=False)
    assert kernel.sent == [order + conntrack.get_request(FLOW, 2)]


def test_an_answer_that_nobody_waits_for_any_more_is_passed_over(kernel: Kernel) -> None:
    kernel.answers = [refusal(errno.ENOENT, 1), refusal(errno.ENOENT, 2), answered(3)]
    requests = ConntrackRequests()

    assert requests.conclude(FLOW, 1) is None
    assert requests.counters(FLOW) == (7, 8)


def test_other_refusals_and_silence_are_errors(kernel: Kernel) -> None:
    kernel.answers = [refusal(errno.EPERM)]
    requests = ConntrackRequests()

    with pytest.raises(KernelError, match="ask conntrack"):
        requests.counters(FLOW)
    with pytest.raises(KernelError, match="no answer"):
        requests.delete(FLOW)


def test_a_dump_goes_over_datagrams_to_its_end(kernel: Kernel) -> None:
    kernel.answers = [ENTRY + ENTRY, ENTRY, DONE]

    assert len(list(ConntrackRequests().dump(1, 3))) == 3
    assert kernel.sent == [conntrack.dump_request(1, 3, 1)]


def test_a_refused_dump_is_an_error(kernel: Kernel) -> None:
    kernel.answers = [refusal(errno.EPERM)]

    with pytest.raises(KernelError, match="list flows"):
        list(ConntrackRequests().dump(1, 3))
