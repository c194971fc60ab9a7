"""ForgedAcks with false raw sockets; that they make idle ends speak is shown in tests/netns."""

import socket
from collections.abc import Sequence

import pytest

from sallyport.addresses import Endpoint
from sallyport.kernel import marks
from sallyport.kernel.forged_acks import ForgedAcks
from sallyport.wire.conntrack import FlowTuple

PEER, LISTEN = Endpoint.parse("203.0.113.9:20"), Endpoint.parse("203.0.113.1:40000")
CLIENT = Endpoint.parse("10.0.0.8:1553")
ORIGINAL, REPLY = FlowTuple(6, PEER, LISTEN), FlowTuple(6, CLIENT, PEER)


class Raw:
    """A raw socket that keeps what is sent, or refuses."""

    sent: Sequence[tuple[bytes, str]] = ()
    options: Sequence[tuple[int, int, int]] = ()
    refuses = False

    def __init__(self, *_kind: int) -> None:
        if type(self).refuses:
            raise PermissionError

    def settimeout(self, _seconds: float) -> None:
        pass

    def setsockopt(self, *option: int) -> None:
        level, name, value = option
        type(self).options = [*type(self).options, (level, name, value)]

    def sendto(self, packet: bytes, to: tuple[str, int]) -> None:
        type(self).sent = [*type(self).sent, (packet, to[0])]
        raise OSError("no route")

    def close(self) -> None:
        pass


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> type[Raw]:
    fresh = type("FreshRaw", (Raw,), {})
    monkeypatch.setattr(socket, "socket", fresh)
    return fresh


def test_each_end_hears_from_whom_it_believes_to_talk_to(raw: type[Raw]) -> None:
    ForgedAcks().send(ORIGINAL, REPLY)

    (to_peer, peer), (to_client, client) = raw.sent
    assert (peer, client) == ("203.0.113.9", "10.0.0.8")
    assert to_peer[12:20] == LISTEN.address.packed + PEER.address.packed
    assert to_client[12:20] == PEER.address.packed + CLIENT.address.packed


def test_pokes_are_marked_so_that_conntrack_leaves_them_alone(raw: type[Raw]) -> None:
    ForgedAcks().close()

    assert set(raw.options) == {(socket.SOL_SOCKET, socket.SO_MARK, marks.UNTRACKED)}


def test_without_the_capability_nothing_is_sent_and_nothing_raised(raw: type[Raw]) -> None:
    raw.refuses = True
    acks = ForgedAcks()
    acks.send(ORIGINAL, REPLY)
    acks.close()

    assert raw.sent == ()
