"""The lives of application filters: started once, replaced while sessions run, shut down once."""

import pytest
from tests.core.model.chain_bench import Conversation
from tests.core.office import PEER, Office, WatchingFilter, Witness

from sallyport.core.model.filter import Firewall, SessionFilter
from sallyport.core.model.session import Session
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import Terminating
from sallyport.flags import Transport

RTSP = ProtocolDefinition("rtsp", Transport.TCP, 554)


class Living(WatchingFilter):
    """Keeps what happens to it in a log that it may share."""

    def __init__(self, name: str = "living", log: list[str] | None = None) -> None:
        super().__init__()
        self.name = name
        self.log: list[str] = [] if log is None else log
        self.fails_at = ""

    def _note(self, what: str) -> None:
        self.log.append(f"{self.name} {what}")
        if what == self.fails_at:
            raise ValueError(what)

    def start(self, firewall: Firewall) -> None:
        assert firewall is not None
        self._note("start")

    def attach_to_session(self, session: Session) -> SessionFilter:
        self._note("attach")
        return super().attach_to_session(session)

    def shutdown(self) -> None:
        self._note("shutdown")


def replace(office: Office, *filters: WatchingFilter) -> None:
    office.gateway.replace(office.gateway.policy, filters)


def test_a_filter_lives_from_the_start_of_the_service_to_its_end() -> None:
    living = Living()
    office = Office(living)
    assert living.log == ["living start"]
    office.dial()
    for _ in range(2):
        office.gateway.shut_down("stopping")

    assert living.log == ["living start", "living attach", "living shutdown"]
    assert living.witnesses[0].detached == 1


def test_a_filter_that_is_replaced_without_a_session_leaves_at_once() -> None:
    log = list[str]()
    office = Office(Living("old", log))
    replace(office, Living("new", log))
    assert log == ["old start", "new start", "old shutdown"]


def test_running_sessions_keep_their_filters_and_new_ones_get_the_new() -> None:
    old, new = Living("old"), Living("new")
    office = Office(old)
    primary = office.dial()
    binding = office.bind(primary)
    office.data_path.connect(PEER, binding.proxy_address)
    replace(office, new)
    office.dial("10.0.0.8:50002").close("done")
    other = office.dial("10.0.0.9:50000")

    assert old.witnesses[0].kinds() == ["ConnectTcp", "ConnectTcp"]
    assert new.witnesses[0].kinds() == ["ConnectTcp"]
    primary.close("done")
    assert "old shutdown" not in old.log
    office.data_path.finish(PEER)
    assert old.log == ["old start", "old attach", "old shutdown"]
    assert old.witnesses[0].detached == 1
    assert other.is_open
    assert new.log == ["new start", "new attach"]


def test_each_generation_leaves_with_its_last_session_or_with_the_service() -> None:
    log = list[str]()
    office = Office(Living("one", log))
    office.dial("10.0.0.8:50000")
    replace(office, Living("two", log))
    second = office.dial("10.0.0.9:50000")
    replace(office, Living("three", log))
    log.clear()
    second.kill()
    assert log == ["two shutdown"]
    office.gateway.shut_down("stopping")

    assert log == ["two shutdown", "one shutdown", "three shutdown"]


def test_with_transfers_running_the_service_still_detaches_and_shuts_down() -> None:
    living, caller = Living(), Witness()
    office = Office(living)
    primary = office.dial()
    binding = office.bind(primary, session_filter=living.witnesses[0])
    other = office.bind(primary, session_filter=caller)
    office.data_path.connect(PEER, binding.proxy_address)
    office.data_path.connect(PEER.with_port(21), other.proxy_address)
    office.gateway.shut_down("stopping")
    told = living.witnesses[0].kinds()

    assert living.log[-1] == "living shutdown"
    assert living.witnesses[0].detached == 1
    office.data_path.finish(PEER)
    office.data_path.finish(PEER.with_port(21))
    assert living.witnesses[0].kinds() == told
    assert living.witnesses[0].detached == 1
    assert living.log.count("living shutdown") == 1


def test_filters_that_cannot_start_change_nothing() -> None:
    log = list[str]()
    old, fine, broken = Living("old", log), Living("fine", log), Living("broken", log)
    broken.fails_at = "start"
    office = Office(old)
    policy = office.gateway.policy
    with pytest.raises(ValueError, match="start"):
        office.gateway.replace(policy, [fine, broken])

    assert log == ["old start", "fine start", "broken start", "fine shutdown"]
    office.dial()
    assert log[-1] == "old attach"


def test_a_filter_that_cannot_shut_down_harms_no_other() -> None:
    log = list[str]()
    broken, fine = Living("broken", log), Living("fine", log)
    broken.fails_at = "shutdown"
    office = Office(broken, fine)
    office.gateway.shut_down("stopping")

    assert log[-2:] == ["broken shutdown", "fine shutdown"]
    (record,) = (f for event, f in office.world.journal.records if event == "filter.failed")
    assert (record["filter"], record["error"]) == ("broken", "ValueError('shutdown')")


def test_a_protocol_is_found_among_the_filters_in_service() -> None:
    office = Office(Living())
    new = Living("new")
    new.protocols = (RTSP,)
    replace(office, new)
    assert office.gateway.roster.protocol("rtsp") is RTSP
    assert office.gateway.roster.protocol(RTSP.uuid) is RTSP


def test_two_protocols_of_one_name_are_two() -> None:
    office = Office(Living())
    session = office.dial().session
    events = office.gateway.roster.current.filters[0].hooks.events
    lookalike = ProtocolDefinition("ftp", Transport.TCP, 2121)
    (event,) = (one for one in events if one.__name__ == "ConnectTcp")
    for _ in range(2):
        told = session.filter_set.subscribers
        assert len(told(session, event, Living.protocols[0], is_secondary=False)) == 1
        assert len(told(session, event, lookalike, is_secondary=False)) == 0


def test_who_ends_the_session_while_being_attached_is_detached_again() -> None:
    class Ending(Living):
        def attach_to_session(self, session: Session) -> SessionFilter:
            session.kill("not-wanted")
            return super().attach_to_session(session)

    ending = Ending()
    conversation = Conversation(office=Office(ending))

    assert not conversation.primary.is_open
    assert ending.witnesses[0].detached == 1
    assert ending.witnesses[0].events == []
    assert conversation.faults() == []


def test_a_killed_session_opens_nothing_more_while_it_ends() -> None:
    office = Office()
    primary = office.dial()
    session, refusals = primary.session, list[str]()

    class Rebinding(Witness):
        def detach(self) -> None:
            raise AssertionError("nobody attached it")

    rebinding = Rebinding()

    def again(_event: object) -> None:
        try:
            office.bind(primary, primary=None, session_filter=rebinding)
        except Terminating as refusal:
            refusals.append(refusal.reason)

    rebinding.react = again
    office.bind(primary, session_filter=rebinding)
    session.kill("operator")

    assert refusals == ["session-is-over"]
    assert session.is_over
    assert not office.data_path.reserved
    assert not list(office.gateway.sessions)
