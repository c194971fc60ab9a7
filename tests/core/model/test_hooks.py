import pytest
from tests.core.office import CLIENT, FTP, PEER, Office, WatchingFilter, Witness

from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    ConnectionRefused,
    ConnectionTerminating,
    ConnectTcp,
    EstablishedConnection,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.model.filter import Firewall, SessionFilter
from sallyport.core.model.hooks import Hooks, Scope, Source
from sallyport.core.model.session import Session
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, Transport

RTSP = ProtocolDefinition("rtsp", Transport.TCP, 554)


@pytest.mark.parametrize("event", [EstablishedConnection, ConnectionRefused, Event])
def test_what_only_the_caller_of_a_bind_is_told_cannot_be_registered_for(
    event: type[Event],
) -> None:
    with pytest.raises(InvalidArgument, match="not-an-event-to-register-for"):
        Hooks.of(ConnectTcp, event)


PRIMARY, SECONDARY, ANY = Scope.PRIMARY, Scope.SECONDARY, Scope.ANY_PROTOCOL


@pytest.mark.parametrize(
    ("scope", "protocol", "is_secondary", "is_covered"),
    [
        (PRIMARY, FTP, False, True),
        (PRIMARY, FTP, True, False),
        (PRIMARY, RTSP, False, False),
        (SECONDARY, FTP, False, True),
        (SECONDARY, FTP, True, True),
        (SECONDARY, RTSP, True, False),
        (ANY, RTSP, False, True),
        (ANY, RTSP, True, False),
        (ANY | SECONDARY, RTSP, True, True),
    ],
)
def test_scope_says_whose_connections(
    scope: Scope, protocol: ProtocolDefinition, is_secondary: bool, is_covered: bool
) -> None:
    hooks = Hooks.of(ConnectTcp, scope=scope)
    for source in (Source.SECURE_NAT, Source.FIREWALL_CLIENT):
        covers = hooks.cover(ConnectTcp, protocol, source, own=(FTP,), is_secondary=is_secondary)
        assert covers is is_covered


@pytest.mark.parametrize("event", [BindTcp, BindUdp, Listen])
def test_events_about_binds_are_about_secondary_connections_whatever_the_scope(
    event: type[Event],
) -> None:
    def covers(scope: Scope, protocol: ProtocolDefinition) -> bool:
        hooks = Hooks.of(event, scope=scope)
        return hooks.cover(event, protocol, Source.SECURE_NAT, own=(FTP,), is_secondary=True)

    assert covers(PRIMARY, FTP)
    assert not covers(PRIMARY, RTSP)
    assert covers(ANY, RTSP)


def test_an_event_or_a_source_nobody_named_is_not_covered() -> None:
    hooks = Hooks.of(ConnectTcp, sources=Source.FIREWALL_CLIENT)

    def covers(event: type[Event], source: Source) -> bool:
        return hooks.cover(event, FTP, source, own=(FTP,), is_secondary=False)

    assert covers(ConnectTcp, Source.FIREWALL_CLIENT)
    assert not covers(ConnectTcp, Source.SECURE_NAT)
    assert not covers(UdpDestination, Source.FIREWALL_CLIENT)


# -- as a gateway uses them -------------------------------------------------------------------


def told(hooks: Hooks, *, protocols: tuple[ProtocolDefinition, ...] = (FTP,)) -> list[str]:
    """What a filter with these hooks is told of a whole conversation in user mode."""
    watching = WatchingFilter()
    watching.hooks, watching.protocols = hooks, protocols
    office = Office(watching)
    primary = office.dial()
    tcp, udp = office.bind(primary), office.bind(primary, transport=Transport.UDP)
    future = office.allow(primary, "198.51.100.9:3000")
    paths = (office.data_path, office.user_path)
    for path in paths:
        path.connect(PEER, tcp.proxy_address)
        path.send(PEER, udp.proxy_address)
        path.connect(CLIENT, future.proxy_address)
    for made in (tcp, udp, future):
        made.kill()
    primary.close("done")
    return [kind for witness in watching.witnesses for kind in witness.kinds()]


EVERYTHING = (
    ConnectTcp,
    UdpDestination,
    BindTcp,
    BindUdp,
    Listen,
    AcceptedConnection,
    ConnectionTerminating,
)
END = "ConnectionTerminating"


@pytest.mark.parametrize(
    ("hooks", "protocols", "expected"),
    [
        (WatchingFilter.hooks, (FTP,), ["ConnectTcp"]),
        (Hooks.of(UdpDestination, AcceptedConnection), (FTP,), []),
        (Hooks.of(ConnectTcp, ConnectionTerminating), (FTP,), ["ConnectTcp", END]),
        (Hooks.of(*EVERYTHING), (RTSP,), []),
        (Hooks.of(ConnectTcp, scope=ANY), (RTSP,), ["ConnectTcp"]),
        (Hooks.of(ConnectTcp, sources=Source.FIREWALL_CLIENT, scope=ANY), (FTP,), []),
        (Hooks.of(BindTcp, BindUdp, Listen), (FTP,), ["BindTcp", "Listen", "BindUdp"]),
        (
            Hooks.of(ConnectTcp, scope=SECONDARY),
            (FTP,),
            ["ConnectTcp", "ConnectTcp"],
        ),
        (
            Hooks.of(AcceptedConnection, UdpDestination, scope=SECONDARY | ANY),
            (),
            ["AcceptedConnection", "UdpDestination"],
        ),
        (
            Hooks.of(*EVERYTHING, scope=SECONDARY),
            (FTP,),
            [
                *("ConnectTcp", "BindTcp", "Listen", "BindUdp"),
                *("AcceptedConnection", "UdpDestination", "ConnectTcp"),
                *[END] * 4,
            ],
        ),
    ],
)
def test_a_filter_is_told_of_what_it_registered_for_and_of_nothing_else(
    hooks: Hooks, protocols: tuple[ProtocolDefinition, ...], expected: list[str]
) -> None:
    assert told(hooks, protocols=protocols) == expected


class Phased(WatchingFilter):
    """Is told of one thing at first, and of another in each session it was attached to."""

    def __init__(self, second: Hooks | None) -> None:
        super().__init__()
        self.second = second

    def attach_to_session(self, session: Session) -> SessionFilter:
        witness = super().attach_to_session(session)
        assert isinstance(witness, Witness)
        if session.client_address.exploded == "10.0.0.8":
            witness.hooks = self.second
        return witness


def test_a_session_filter_may_have_events_of_its_own_in_its_session_only() -> None:
    phased = Phased(Hooks.of(BindTcp))
    office = Office(phased)
    for client in ("10.0.0.8", "10.0.0.9"):
        primary, _ = office.dial(f"{client}:50000"), office.dial(f"{client}:50002")
        office.bind(primary, CLIENT if client == "10.0.0.8" else primary.client)

    mine, others = phased.witnesses
    assert mine.kinds() == ["ConnectTcp", "BindTcp"]
    assert others.kinds() == ["ConnectTcp", "ConnectTcp"]


def test_the_events_of_the_session_decide_the_data_path_too() -> None:
    nosy = Phased(Hooks.of(AcceptedConnection, scope=SECONDARY))
    relaxed = Phased(Hooks.of())
    relaxed.hooks = Hooks.of(ConnectTcp, AcceptedConnection, scope=SECONDARY)
    for phased, is_filtered in ((nosy, True), (relaxed, False)):
        office = Office(phased)
        (secondary,) = office.bind(office.dial()).connections
        assert secondary.is_filtered is is_filtered
        assert (secondary.path is office.user_path) is is_filtered


@pytest.mark.parametrize(
    ("flags", "kind"), [(BindFlags.NONE, "kernel"), (BindFlags.NO_KERNEL_MODE, "user")]
)
def test_who_registered_for_the_end_only_leaves_everything_in_the_kernel(
    flags: BindFlags, kind: str
) -> None:
    watching = WatchingFilter()
    watching.hooks = Hooks.of(ConnectionTerminating, BindTcp, scope=SECONDARY)
    office = Office(watching)
    (secondary,) = office.bind(office.dial(), flags=flags).connections

    assert str(secondary.data_path) == kind
    assert not secondary.is_filtered


class LateFilter(WatchingFilter):
    """Says only when it is started what it wants to be told."""

    hooks = Hooks.of(ConnectTcp)

    def start(self, firewall: Firewall) -> None:
        self.hooks = Hooks.of(BindTcp)


def test_what_a_filter_says_when_it_is_started_counts() -> None:
    late = LateFilter()
    office = Office(late)

    office.bind(office.dial())

    assert [kind for witness in late.witnesses for kind in witness.kinds()] == ["BindTcp"]
