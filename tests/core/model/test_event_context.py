"""When a connection may be denied, and when a data filter may be attached to it."""

import pytest
from tests.core.office import CLIENT, PEER, Office, WatchingFilter

from sallyport.core.model.chain import Priority
from sallyport.core.model.event_context import EventContext
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    ConnectionTerminating,
    ConnectTcp,
    EstablishedConnection,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.errors import BadContext, InvalidArgument
from sallyport.flags import Transport


class Curious(WatchingFilter):
    """Tries to attach in every event, and to deny where that has no effect."""

    hooks = Hooks.of(
        ConnectTcp,
        UdpDestination,
        BindTcp,
        BindUdp,
        Listen,
        AcceptedConnection,
        ConnectionTerminating,
        scope=Scope.SECONDARY,
    )

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str, str]] = []
        self.react = self._try

    def _try(self, event: Event) -> None:
        connection = event.connection
        attached = denied = "legal"
        try:
            connection.attach_data_filter(DataFilter())
        except BadContext as error:
            attached = error.reason
        if connection.event_context is None:  # type: ignore[attr-defined]
            with pytest.raises(BadContext) as refusal:
                connection.deny()
            denied = refusal.value.reason
        kind = ("secondary " if event.is_secondary else "") + type(event).__name__
        self.said.append((kind, attached, denied))


ELSEWHERE = "not-in-an-event-of-this-connection"


def test_each_is_legal_where_it_has_a_meaning_and_nowhere_else() -> None:
    curious = Curious()
    office = Office(curious)
    primary = office.dial()
    (witness,) = curious.witnesses
    tcp = office.bind(primary, session_filter=None)
    udp = office.bind(primary, transport=Transport.UDP)
    future = office.allow(primary, "198.51.100.9:3000", session_filter=witness)
    office.user_path.connect(PEER, tcp.proxy_address)
    office.user_path.send(PEER, udp.proxy_address)
    office.user_path.connect(CLIENT, future.proxy_address)
    primary.close("done")

    assert curious.said == [
        ("ConnectTcp", "legal", "legal"),
        ("secondary BindTcp", "legal", "legal"),
        ("secondary Listen", ELSEWHERE, ELSEWHERE),
        ("secondary BindUdp", "legal", "legal"),
        ("secondary AcceptedConnection", "legal", "legal"),
        ("secondary UdpDestination", "legal", "legal"),
        ("secondary ConnectTcp", "legal", "legal"),
        (f"secondary {EstablishedConnection.__name__}", ELSEWHERE, ELSEWHERE),
        (ConnectionTerminating.__name__, ELSEWHERE, ELSEWHERE),
    ]
    for connection in (primary, *tcp.connections, *udp.connections, future):
        with pytest.raises(BadContext, match=ELSEWHERE):
            connection.attach_data_filter(DataFilter())
        with pytest.raises(BadContext, match=ELSEWHERE):
            connection.deny()


def test_a_question_is_not_denied_until_somebody_denies() -> None:
    context = EventContext("a filter", None)
    assert not context.is_denied


def test_a_data_filter_for_a_bind_is_refused_twice_and_where_many_flows_may_come() -> None:
    data_filter = DataFilter()
    context = EventContext("a filter", None)
    context.attach(data_filter, Priority.MIDDLE, None)
    with pytest.raises(InvalidArgument, match="data-filter-was-attached-already"):
        context.attach(data_filter, Priority.NAT, None)
    with pytest.raises(InvalidArgument, match="one-data-filter-for-many-flows"):
        EventContext("a filter", None, is_for_many=True).attach(DataFilter(), Priority.NAT, None)

    assert context.ordered == [(data_filter, Priority.MIDDLE, None)]
