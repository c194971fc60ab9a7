"""What ends together, whichever connection it came by."""

import pytest
from tests.core.model.chain_bench import Recording
from tests.core.office import CLIENT, PEER, Office, WatchingFilter, Witness, run

from sallyport.core.model.bundle import Bundle
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.errors import InvalidArgument, PolicyDenied, Terminating
from sallyport.flags import BindFlags

MANY = BindFlags.ALLOW_MULTIPLE


class Desk:
    """An office with one client, and a filter of its session."""

    def __init__(self) -> None:
        self.watching = WatchingFilter()
        self.office = Office(self.watching)
        self.first = self.office.dial()
        self.calls: list[str] = []

    @property
    def witness(self) -> Witness:
        return self.watching.witnesses[0]

    def bundle(self, primary: PrimaryConnection | None = None) -> Bundle:
        return self.first.session.bundle(primary or self.first, self.witness)

    async def passes(self) -> None:
        self.calls.append("passed")

    async def fails(self) -> None:
        raise ValueError("a timer's fault")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_its_bindings_outlive_the_connection_and_end_with_it(desk: Desk) -> None:
    office, bundle = desk.office, desk.bundle()
    one = office.bind(desk.first, bundle=bundle)
    desk.first.close("done")
    two = office.bind(desk.first, CLIENT.with_port(1600), bundle=bundle, flags=MANY)

    assert office.data_path.connect(PEER, one.proxy_address) == CLIENT
    assert office.data_path.connect(PEER, two.proxy_address) is not None
    bundle.end("hung-up")
    assert not office.data_path.pinholes
    assert not any(office.data_path.flows.values())
    assert office.reasons("binding.closed") == ["hung-up", "hung-up"]
    assert not list(office.gateway.sessions)


def test_a_port_that_closes_leaves_it(desk: Desk) -> None:
    bundle = desk.bundle()
    desk.office.bind(desk.first, bundle=bundle).withdraw()

    assert (bundle.openings, bundle.is_over) == ({}, False)


def test_nothing_begins_in_one_that_has_ended(desk: Desk) -> None:
    bundle = desk.bundle()
    bundle.end("hung-up")
    bundle.end("again")

    before = desk.office.holdings()
    with pytest.raises(Terminating, match="bundle-has-ended"):
        desk.office.bind(desk.first, bundle=bundle)
    with pytest.raises(Terminating, match="bundle-has-ended"):
        bundle.call_later(1, desk.passes)
    assert desk.office.holdings() == before


def test_the_rules_are_asked_although_the_connection_is_over(desk: Desk) -> None:
    bundle = desk.bundle()
    desk.office.bind(desk.first, bundle=bundle)
    desk.first.close("done")
    desk.office.gateway.replace(Office(protocols=frozenset({"other"})).gateway.policy, [])

    with pytest.raises(PolicyDenied, match="no-rule-matched"):
        desk.office.bind(desk.first, CLIENT.with_port(1600), bundle=bundle)


def test_another_sessions_bundle_is_refused(desk: Desk) -> None:
    other = desk.office.dial("10.0.0.9:50000")

    with pytest.raises(InvalidArgument, match="bundle-of-another-session"):
        run(
            other.session.bind_for_client(
                [CLIENT.with_port(1600)],
                transport=desk.first.transport,
                protocol=desk.first.protocol,
                primary=other,
                bundle=desk.bundle(),
            )
        )


def test_a_timer_passes_once_and_not_after_the_end(desk: Desk) -> None:
    bundle = desk.bundle()
    bundle.call_later(5, desk.passes)
    bundle.call_later(6, desk.passes).cancel()
    bundle.call_later(60, desk.passes)
    desk.office.pass_time(10)
    bundle.end("hung-up")
    desk.office.pass_time(100)

    assert desk.calls == ["passed"]
    with pytest.raises(InvalidArgument, match="not-a-time"):
        desk.bundle().call_later(float("nan"), desk.passes)


def test_x07_a_timer_that_fails_ends_its_bundle_and_no_connection(desk: Desk) -> None:
    bundle, other = desk.bundle(), desk.bundle()
    desk.office.bind(desk.first, bundle=bundle)
    desk.office.bind(desk.first, CLIENT.with_port(1600), bundle=other)
    bundle.call_later(1, desk.fails)
    desk.office.pass_time(2)

    assert (bundle.is_over, other.is_over, desk.first.is_open) == (True, False, True)
    assert desk.office.world.journal.events().count("filter.failed") == 1
    assert len(desk.office.data_path.pinholes) == 1


def test_what_abandons_its_connection_ends_it_and_no_other(desk: Desk) -> None:
    second = desk.office.dial("10.0.0.8:50001")
    bundle, other = desk.bundle(), desk.bundle(second)
    desk.first.abandon("killed")

    assert (bundle.is_over, other.is_over) == (True, False)
    second.session.kill()
    assert other.is_over
    with pytest.raises(Terminating, match="session-is-over"):
        desk.bundle()


def test_its_timers_are_forgotten_with_its_session(desk: Desk) -> None:
    bundle = desk.bundle()
    bundle.call_later(1, desk.passes)
    desk.first.close("done")
    desk.office.pass_time(2)

    assert (bundle.is_over, desk.calls) == (True, [])


def test_a_port_with_data_filters_gives_each_flow_one_of_its_own(desk: Desk) -> None:
    made: list[Recording] = []

    def make() -> Recording:
        made.append(Recording())
        return made[-1]

    binding = desk.office.bind(
        desk.first, flags=MANY, make_data_filter=make, session_filter=desk.witness
    )
    assert binding.connections[0].data_path is DataPathKind.USER
    for port in (20, 21):
        desk.office.user_path.connect(PEER.with_port(port), binding.proxy_address)

    assert len(made) == 2
    assert made[0] is not made[1]
    binding.kill()
    assert not desk.first.session.factories


def test_what_makes_no_data_filters_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidArgument, match="wrong-type-of-make_data_filter"):
        desk.office.bind(desk.first, make_data_filter=5)
