import pytest
from tests.core.office import PEER, Office

from sallyport.core.model.events import ConnectTcp, EstablishedConnection, Event


def test_an_event_cannot_be_changed_by_one_filter_for_the_next() -> None:
    event = ConnectTcp(Office().admit())
    with pytest.raises(AttributeError):
        event.connection = Office().admit()  # type: ignore[misc]


def test_every_event_tells_its_connection() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    event: Event = EstablishedConnection(secondary, PEER, context=None)

    assert event.connection is secondary
