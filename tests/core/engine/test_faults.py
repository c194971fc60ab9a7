"""When a filter is trusted no more, and what becomes of what it would have been asked."""

import pytest
from tests.core.model.chain_bench import Conversation
from tests.core.office import CLIENT, FTP, PEER, Office, WatchingFilter

from sallyport import limits
from sallyport.core.engine.faults import Faults
from sallyport.core.model.events import AcceptedConnection, BindTcp, ConnectTcp, Event
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.errors import AddressInUse

ONE, *OTHERS = (f"10.0.0.{number}" for number in range(8, 8 + 6))


def test_a_client_that_saw_it_fail_five_times_has_it_no_more_and_others_have() -> None:
    faults = Faults()
    answers = [faults.count("ftp", ONE) for _ in range(limits.MAX_FILTER_FAULTS + 2)]

    assert answers == [False] * 4 + [True, False, False]
    assert faults.is_off("ftp", ONE)
    assert not faults.is_off("ftp", OTHERS[0])
    assert not faults.is_off("tftp", ONE)
    assert not faults.is_off_for_all("ftp")
    assert faults.explain() == {"ftp": "switched off for 10.0.0.8: it failed there repeatedly"}


def test_five_clients_that_saw_it_fail_switch_it_off_for_everybody() -> None:
    faults = Faults()
    answers = [faults.count("ftp", client) for client in OTHERS]

    assert answers == [False] * 4 + [True]
    assert faults.is_off("ftp", ONE)
    assert faults.is_off_for_all("ftp")
    assert faults.explain() == {"ftp": "switched off: it failed 5 clients"}
    assert not faults.count("ftp", ONE)


def test_what_another_worker_has_found_out_holds_here_until_filters_are_replaced() -> None:
    faults = Faults()
    faults.count("ftp", ONE)
    faults.condemn("ftp")

    assert faults.is_off("ftp", OTHERS[0])
    assert faults.explain() == {"ftp": "switched off: it failed clients of another worker"}
    faults.forget()
    assert not faults.is_off("ftp", OTHERS[0])


def test_nothing_is_off_at_first_and_all_is_forgiven_when_filters_are_replaced() -> None:
    faults = Faults()
    assert faults.explain() == {}
    assert not faults.is_off("ftp", ONE)
    for client in OTHERS:
        faults.count("ftp", client)
    faults.forget()
    assert faults.explain() == {}
    assert not faults.is_off("ftp", OTHERS[0])


# -- as a gateway uses them -------------------------------------------------------------------


class Fragile(WatchingFilter):
    """Fails in every ConnectTcp while it is told to."""

    name = "fragile"
    hooks = Hooks.of(ConnectTcp)

    def __init__(self) -> None:
        super().__init__()
        self.is_failing = True
        self.react = self._react

    def _react(self, event: Event) -> None:
        if self.is_failing and isinstance(event, ConnectTcp):
            raise ValueError("a filter's fault")


def broken_for(fragile: Fragile, *filters: WatchingFilter, clients: int) -> Office:
    """An office where it has failed five times: for one client, or once for each of five."""
    office = Office(fragile, *filters)
    for number in range(limits.MAX_FILTER_FAULTS):
        last = 8 + (number if clients > 1 else 0)
        office.dial(f"10.0.0.{last}:{50000 + number}")
    fragile.is_failing = False
    return office


def test_x07_a_client_alone_has_a_filter_switched_off_for_itself_only() -> None:
    fragile = Fragile()
    office = broken_for(fragile, clients=1)
    attached = len(fragile.witnesses)

    assert not Conversation(office=office).primary.is_open
    assert len(fragile.witnesses) == attached
    assert office.reasons("connect.closed")[-1] == "denied-by-filter"
    assert office.dial("10.0.0.99:50000").is_open
    assert office.gateway.roster.off() == {
        "fragile": "switched off for 10.0.0.8: it failed there repeatedly"
    }
    (record,) = (f for event, f in office.world.journal.records if event == "filter.switched_off")
    assert (record["filter"], record["client"]) == ("fragile", "10.0.0.8")


def test_x07_after_five_clients_it_is_off_for_all_and_others_are_told_as_ever() -> None:
    fragile, watching = Fragile(), WatchingFilter()
    office = broken_for(fragile, watching, clients=5)

    assert not office.dial("10.0.0.99:50000").is_open
    (record,) = (f for event, f in office.world.journal.records if event == "filter.switched_off")
    assert record["client"] == "everybody"
    office.gateway.replace(office.gateway.policy, [Fragile()])
    assert office.gateway.roster.off() == {}


def test_x07_what_another_worker_has_switched_off_is_off_here_too() -> None:
    office = Office(Fragile())
    office.gateway.roster.switch_off("fragile")

    assert office.gateway.roster.is_off_for_all("fragile")
    assert not office.dial("10.0.0.99:50000").is_open


def test_x07_its_binds_and_arrivals_are_refused_too() -> None:
    class Guard(Fragile):
        hooks = Hooks.of(ConnectTcp, BindTcp, AcceptedConnection, scope=Scope.SECONDARY)
        protocols = (FTP,)

    guard = Guard()
    guard.is_failing = False
    office = Office(guard)
    primary = office.dial("10.0.0.8:49999")
    binding = office.bind(primary)
    guard.is_failing = True
    for number in range(10, 10 + limits.MAX_FILTER_FAULTS):
        office.dial(f"10.0.0.{number}:50000")
    told = guard.witnesses[0].kinds()
    before = office.holdings()

    with pytest.raises(AddressInUse, match="denied-by-filter"):
        office.bind(primary, CLIENT)
    assert office.user_path.connect(PEER, binding.proxy_address) is None
    assert office.user_path.refused == [PEER]
    assert office.holdings() == before
    assert guard.witnesses[0].kinds() == told
    assert primary.is_open


def test_x07_leaving_or_looping_while_being_let_go_stays_behind_the_fence() -> None:
    class Bad(DataFilter):
        def detach(self) -> None:
            assert conversation.office.world.filter_running.running  # so that a watchdog sees it
            raise SystemExit

    conversation = Conversation(Bad())
    conversation.primary.kill()

    assert conversation.faults() == [("watching", "SystemExit()")]
    assert not list(conversation.office.gateway.sessions)


def test_x07_five_faults_of_one_end_are_one_fault() -> None:
    class Clumsy(Fragile):
        def _react(self, event: Event) -> None:
            raise ValueError(type(event).__name__)

    office = Office()
    primary = office.dial()
    clumsy = Clumsy()
    witness = clumsy.attach_to_session(primary.session)
    primary.session.filters["clumsy"] = witness
    for _ in range(limits.MAX_FILTER_FAULTS):
        office.bind(primary, session_filter=witness)
    primary.session.kill()

    assert office.world.journal.events().count("filter.failed") == 1
    assert office.gateway.roster.off() == {}


def test_a_fault_is_written_down_with_its_place_and_once_for_each_with_its_traceback() -> None:
    office = Office(Fragile())
    for number in range(3):
        office.dial(f"10.0.0.{8 + number}:50000")

    first, *later = [
        fields for event, fields in office.world.journal.records if event == "filter.failed"
    ]
    assert str(first["place"]).startswith(f"{__file__}:")
    assert str(first["place"]).endswith(" in _react")
    assert 'raise ValueError("a filter\'s fault")' in str(first["traceback"])
    assert [one["place"] for one in later] == [first["place"]] * 2
    assert not any("traceback" in one for one in later)
