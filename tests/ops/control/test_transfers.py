import asyncio

import pytest
from tests.ops.control.test_handlers import Told

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters
from sallyport.errors import NotFound
from sallyport.filters.ftp import FTP
from sallyport.flags import Transport
from sallyport.ops.control.schema import TransferRow

CLIENT, PEER = Endpoint.parse("10.0.0.8:1553"), Endpoint.parse("203.0.113.9:20")
SERVER = Endpoint.parse("203.0.113.9:40000")


class Transferring(Told):
    """A gateway with a binding and a permission of one client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.bind(Transport.TCP, str(CLIENT))
        (binding,) = self.primary.session.bindings.values()
        self.inbound = binding.connections[0].pinhole.id
        permission = asyncio.run(
            self.primary.session.allow_future_connect(SERVER, protocol=FTP, primary=self.primary)
        )
        self.outbound = permission.pinhole.id
        counted = {
            self.inbound: [FlowCounters(PEER, 3000, 10)],
            self.outbound: [FlowCounters(CLIENT, 20, 5000)],
        }
        monkeypatch.setattr(self.data_path, "counters", lambda number: counted[number])

    def connect(self, pinhole_id: int, peer: Endpoint) -> None:
        """Let a flow run."""
        self.gateway.registry.flow_established(pinhole_id, peer)

    def rows(self) -> list[TransferRow]:
        """Ask for the list."""
        return self.transfers({}).transfers


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Transferring:
    return Transferring(monkeypatch)


def test_what_is_not_used_is_no_transfer(told: Transferring) -> None:
    assert told.rows() == []


def test_bytes_are_named_by_the_client_whichever_side_connected(told: Transferring) -> None:
    told.connect(told.inbound, PEER)
    told.connect(told.outbound, CLIENT)
    told.world.seconds += 10
    active, passive = told.rows()

    assert (active.direction, active.client, active.peer) == ("inbound", str(CLIENT), str(PEER))
    assert (active.from_client_bytes, active.to_client_bytes) == (10, 3000)
    assert (active.age_seconds, active.bytes_per_second) == (10, 301)
    assert (passive.direction, passive.peer) == ("outbound", str(SERVER))
    assert (passive.client, passive.filter) == (str(CLIENT), "ftp")
    assert (passive.from_client_bytes, passive.to_client_bytes) == (20, 5000)


def test_one_transfer_is_killed_and_the_rest_goes_on(told: Transferring) -> None:
    told.connect(told.inbound, PEER)
    told.connect(told.outbound, CLIENT)
    active, passive = told.rows()

    assert told.kill_transfer({"id": passive.id}).transfers == [passive.id]

    assert [row.id for row in told.rows()] == [active.id]
    assert told.primary.is_open
    with pytest.raises(NotFound):
        told.kill_transfer({"id": passive.id})
