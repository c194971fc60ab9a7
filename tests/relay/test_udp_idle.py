"""Silence: when a flow of datagrams is over, and what is left of it then."""

import pytest
from tests.relay.loopback import UDP, Bench, bench, endpoint_of, run
from tests.relay.test_udp import datagram, send, waiting

from sallyport import limits
from sallyport.core.pinholes.datapath import FlowCounters


class Clock:
    """The loop's own clock, which can be moved forward."""

    def __init__(self, b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bench, self._ahead, real = b, 0.0, b.loop.time
        monkeypatch.setattr(b.loop, "time", lambda: real() + self._ahead)

    async def advance(self, seconds: float) -> None:
        self._ahead += seconds
        await self._bench.turn()


def test_a_single_pinhole_belongs_to_its_first_source_for_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, first, second = b.new(UDP), b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, idle_seconds=5))
            clock = Clock(b, monkeypatch)
            send(first, pinhole, b"one")
            assert await datagram(b, client) == b"one"
            send(second, pinhole, b"two")
            await clock.advance(6)
            assert len(b.told.ended) == 1
            send(second, pinhole, b"three")
            send(first, pinhole, b"four")

            assert await datagram(b, client) == b"four"
            await b.turn()
            assert waiting(client) == []
            assert b.told.established == [(pinhole.id, endpoint_of(first))] * 2

    run(scenario())


@pytest.mark.parametrize("speaker", ["peer", "client"])
def test_a_flow_ends_when_nobody_spoke_for_the_idle_time_and_not_before(
    monkeypatch: pytest.MonkeyPatch, speaker: str
) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=True, idle_seconds=5))
            clock = Clock(b, monkeypatch)
            send(peer, pinhole, b"abc")
            _, back = await b.loop.sock_recvfrom(client, 100)
            await clock.advance(3)
            if speaker == "peer":
                send(peer, pinhole, b"de")
            else:
                client.sendto(b"de", back)
            await b.turn()

            await clock.advance(4)  # 7 after the first word, 4 after the last
            assert b.told.ended == []
            await clock.advance(2)

            counted = (5, 0) if speaker == "peer" else (3, 2)
            assert b.told.ended == [(pinhole.id, FlowCounters(endpoint_of(peer), *counted))]
            assert b.path.counters(pinhole.id) == []

    run(scenario())


def test_a_flow_without_an_idle_time_of_its_own_has_the_general_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "UDP_IDLE_SECONDS", 5.0)

    async def scenario() -> None:
        async with bench() as b:
            pinhole = await b.opened(b.pinhole(b.new(UDP), UDP))
            clock = Clock(b, monkeypatch)
            send(b.new(UDP), pinhole, b"once")
            await b.turn()

            await clock.advance(4)
            assert b.told.ended == []
            await clock.advance(2)

            assert len(b.told.ended) == 1

    run(scenario())
