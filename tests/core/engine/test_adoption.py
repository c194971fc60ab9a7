"""Transfers of a process that died, found again: whose they are, and that they count."""

from collections.abc import Sequence

import pytest

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.adoption import Adoption
from sallyport.core.model.adopted_transfer import AdoptedTransfer
from sallyport.core.pinholes.datapath import DataPathKind, FlowCounters, Orphan, Pinhole
from sallyport.flags import Transport
from sallyport.testing import make_gateway

CLIENT, PEER = Endpoint.parse("10.0.0.8:1553"), Endpoint.parse("198.51.100.9:20")
OURS, SERVER = Endpoint.parse("203.0.113.1:40000"), Endpoint.parse("198.51.100.9:5000")
ACTIVE = Orphan(
    Transport.TCP, PEER, OURS, CLIENT, is_left_to_us=False, is_over=False, original=b"a", reply=b"r"
)
PASSIVE = ACTIVE._replace(source=CLIENT, listen=SERVER, target=SERVER)
ROUTED = ACTIVE._replace(listen=CLIENT)


class Left:
    """A gateway, and what an earlier process has left it."""

    def __init__(self, *flows: Orphan) -> None:
        self.gateway, self.path, self.world = make_gateway([])
        self.flows: Sequence[Orphan] = flows
        self.is_there = True
        self.adopted: list[Pinhole] = []

    def find(self) -> Sequence[Orphan]:
        return self.flows

    def adopt(self, pinhole: Pinhole, orphan: Orphan) -> bool:
        if self.is_there:
            self.adopted.append(pinhole)
            self.gateway.registry.flow_established(pinhole.id, orphan.source)
        return self.is_there

    def look(self, *, serves: bool = True) -> int:
        def is_mine(_client: IpAddress) -> bool:
            return serves

        path = self.gateway.data_paths[DataPathKind.KERNEL]
        return Adoption(self.gateway, self.gateway.sessions, path, self, is_mine).look()

    def transfers(self) -> list[AdoptedTransfer]:
        openings = [one for session in self.gateway.sessions for one in session.openings.values()]
        return [one for one in openings if isinstance(one, AdoptedTransfer)]

    def end(self) -> dict[str, object]:
        """End the first flow; return what is recorded."""
        counters = FlowCounters(self.flows[0].source, 70, 5)
        self.gateway.registry.flow_ended(self.adopted[0].id, counters)
        event, fields = self.world.journal.records[-1]
        assert event == "transfer.closed"
        return fields


@pytest.mark.parametrize(
    ("orphan", "is_inbound"), [(ACTIVE, True), (PASSIVE, False), (ROUTED, True)]
)
def test_a_transfer_belongs_to_the_inside_host_whoever_opened_it(
    orphan: Orphan, is_inbound: bool
) -> None:
    left = Left(orphan)

    assert left.look() == 1

    (transfer,) = left.transfers()
    assert transfer.session.client_address == CLIENT.address
    assert transfer.is_inbound is is_inbound
    assert transfer.running


def test_it_counts_against_its_clients_quota_until_it_ends() -> None:
    left = Left(ACTIVE, PASSIVE)
    left.look()
    (session,) = left.gateway.sessions
    assert session.held_for(None) == 2

    left.end()

    assert session.held_for(None) == 1


@pytest.mark.parametrize(
    ("orphan", "sums"), [(ACTIVE, (5, 70)), (PASSIVE, (70, 5))], ids=["active", "passive"]
)
def test_its_end_is_recorded_with_the_bytes_of_each_side(
    orphan: Orphan, sums: tuple[int, int]
) -> None:
    left = Left(orphan)
    left.look()

    recorded = left.end()

    assert (recorded["from_client_bytes"], recorded["to_client_bytes"]) == sums
    assert recorded["reason"] == "finished"
    assert not list(left.gateway.sessions)


def test_a_udp_exchange_ends_when_it_falls_silent() -> None:
    left = Left(ACTIVE._replace(transport=Transport.UDP))
    left.look()

    assert left.end()["reason"] == "idle"


def test_other_workers_clients_are_theirs_unless_nobody_else_can_find_it() -> None:
    assert Left(ACTIVE).look(serves=False) == 0
    assert Left(ACTIVE._replace(is_left_to_us=True)).look(serves=False) == 1


def test_one_that_ends_while_it_is_found_leaves_nothing() -> None:
    left = Left(ACTIVE)
    left.is_there = False

    assert left.look() == 0

    assert not list(left.gateway.sessions)
    assert not left.gateway.held
    assert left.world.journal.reasons("transfer.closed") == ["gone-before-adoption"]


def test_a_session_that_is_killed_resets_it() -> None:
    left = Left(ACTIVE)
    left.look()
    (session,) = left.gateway.sessions

    session.kill("killed-by-operator")

    assert left.world.journal.reasons("transfer.closed") == ["killed-by-operator"]
