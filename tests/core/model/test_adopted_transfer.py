import pytest
from tests.core.engine.test_adoption import ACTIVE, CLIENT, PASSIVE, PEER, SERVER, Left

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Orphan


@pytest.mark.parametrize(
    ("orphan", "ends"),
    [(ACTIVE, (CLIENT, PEER)), (PASSIVE, (CLIENT, SERVER))],
    ids=["active", "passive"],
)
def test_the_ends_are_named_as_client_and_peer(
    orphan: Orphan, ends: tuple[Endpoint, Endpoint]
) -> None:
    left = Left(orphan)
    left.look()
    (transfer,) = left.transfers()

    assert transfer.ends(orphan.source) == ends
