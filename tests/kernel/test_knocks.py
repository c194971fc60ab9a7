"""What the kernel is asked about an unused pinhole; its real answers: netns/test_kernel_knocks."""

import errno
import struct
from collections.abc import Iterator
from typing import cast

import pytest
from msgspec.structs import replace

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Missed, Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import netlink_socket
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.installed_pinhole import InstalledPinhole
from sallyport.kernel.knocks import Knocks
from sallyport.wire import netlink
from sallyport.wire.conntrack import FlowReport
from sallyport.wire.netlink import Family

AGE = 30.0
NEW_ELEMENT, ERROR = 0x0A0C, 2


def counted(octets: int) -> bytes:
    """The attributes of an element with a quota."""
    quota = netlink.nested(2, netlink.attribute(4, octets.to_bytes(8, "big")))
    return netlink.nested(7, netlink.attribute(1, b"quota\0"), quota)


def expiring(milliseconds: int) -> bytes:
    """The attributes of an element with a time limit."""
    return netlink.attribute(5, milliseconds.to_bytes(8, "big"))


class Kernel:
    """Answers questions about elements: by the name of the set, what each is made of."""

    def __init__(self) -> None:
        self.elements: dict[str, list[bytes]] = {}
        self.refusal = 0
        self.live: list[object] = []
        self.dumps = 0
        self.worked = 0.0
        self.sent = 0
        self._answers: list[bytes] = []

    def settimeout(self, _seconds: float) -> None:
        """Never wait."""

    def send(self, questions: bytes) -> None:
        self.sent += 1
        self._answers = []
        while questions:
            (size,) = struct.unpack_from("=I", questions)
            self._answer(questions[:size])
            questions = questions[size:]

    def _answer(self, question: bytes) -> None:
        (sequence,) = struct.unpack_from("=I", question, netlink.SEQUENCE_AT)
        (name,) = [name for name in SETS if name.encode() + b"\0" in question]
        old = netlink.plain_message(ERROR, 0, 0, struct.pack("=i", -errno.EPERM))
        self._answers.append(old)
        for attributes in self.elements.get(name, ()):
            body = netlink.nested(3, netlink.nested(1, attributes))
            self._answers.append(netlink.message(NEW_ELEMENT, 0, sequence, Family.INET, body))
        end = self.refusal or errno.ENOENT
        self._answers.append(
            netlink.plain_message(ERROR, 0, sequence, struct.pack("=i", -end) + question)
        )

    def recv(self, _size: int) -> bytes:
        return self._answers.pop(0)

    def dump(self, _bits: int, _mask: int) -> Iterator[FlowReport]:
        self.dumps += 1
        self.worked += 0.03
        return iter(cast("list[FlowReport]", self.live))

    def close(self) -> None:
        self._answers.clear()


SETS = ("exact4", "knocked4")


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def times() -> list[float]:
    """The time, in its last entry."""
    return [0.0]


@pytest.fixture
def knocks(kernel: Kernel, times: list[float], monkeypatch: pytest.MonkeyPatch) -> Knocks:
    monkeypatch.setattr(netlink_socket, "connect", lambda: kernel)
    return Knocks(
        "sallyport_pins0",
        cast("ConntrackRequests", kernel),
        lambda: times[-1],
        lambda: kernel.worked,
    )


@pytest.fixture
def installed() -> InstalledPinhole:
    listen, target = Endpoint.parse("203.0.113.1:40001"), Endpoint.parse("10.0.0.8:1553")
    sources = IpFilter.of("203.0.113.9", "203.0.113.10")
    made = InstalledPinhole(Pinhole(1, Transport.TCP, listen, target, sources), 7)
    made.note_installed()
    return made


def test_nothing_came(knocks: Knocks, kernel: Kernel, installed: InstalledPinhole) -> None:
    kernel.elements["exact4"] = [counted(0), counted(0)]

    assert knocks.missed(installed, AGE) is Missed.NOTHING_CAME
    assert kernel.sent == 1


@pytest.mark.parametrize(
    ("milliseconds_left", "said"),
    [(299_000, Missed.STRANGER_CAME), (260_000, Missed.NOTHING_CAME)],
)
def test_a_stranger_counts_that_came_while_the_pinhole_was_there(
    knocks: Knocks,
    kernel: Kernel,
    installed: InstalledPinhole,
    milliseconds_left: int,
    said: Missed,
) -> None:
    kernel.elements = {"exact4": [counted(0)] * 2, "knocked4": [expiring(milliseconds_left)]}

    assert knocks.missed(installed, AGE) is said


def test_any_of_the_peers_may_have_come(
    knocks: Knocks, kernel: Kernel, installed: InstalledPinhole
) -> None:
    kernel.elements["exact4"] = [counted(0), counted(1)]

    assert knocks.missed(installed, AGE) is Missed.DROPPED


def test_a_peer_that_conntrack_knows_was_passed_on(
    knocks: Knocks, kernel: Kernel, installed: InstalledPinhole
) -> None:
    kernel.elements["exact4"], kernel.live = [counted(1), counted(0)], ["a flow"]

    assert knocks.missed(installed, AGE) is Missed.NOT_TAKEN


def test_conntrack_is_read_for_three_hundredths_of_the_time_at_most(
    knocks: Knocks, kernel: Kernel, installed: InstalledPinhole, times: list[float]
) -> None:
    kernel.elements["exact4"] = [counted(1), counted(0)]
    said = []
    for now in (0.0, 0.9, 1.1):
        times.append(now)
        said.append(knocks.missed(installed, AGE))

    assert said == [Missed.DROPPED, None, Missed.DROPPED]
    assert kernel.dumps == 2


def test_an_attempt_that_failed_before_needs_no_look_at_conntrack(
    knocks: Knocks, kernel: Kernel, installed: InstalledPinhole
) -> None:
    kernel.elements["exact4"], installed.was_refused = [counted(1), counted(0)], True

    assert knocks.missed(installed, AGE) is Missed.NOT_TAKEN
    assert kernel.dumps == 0


def test_a_kernel_that_refuses_says_nothing(
    knocks: Knocks, kernel: Kernel, installed: InstalledPinhole
) -> None:
    kernel.refusal = errno.EPERM

    assert knocks.missed(installed, AGE) is None


def test_a_pinhole_without_a_target_has_no_door(
    knocks: Knocks, installed: InstalledPinhole
) -> None:
    installed.in_kernel = replace(installed.pinhole, target=None)

    assert knocks.missed(installed, AGE) is Missed.NOTHING_CAME
