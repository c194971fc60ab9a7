"""A chain of data filters: order, waiting, ends, and what each of them may do."""

import pytest
from tests.core.model.chain_bench import (
    Conversation,
    Recording,
    Upper,
)

from sallyport.core.model.chain import Priority
from sallyport.core.model.filter import DataFilter

# -- order ------------------------------------------------------------------------------------


def test_client_data_passes_by_priority_and_server_data_the_other_way() -> None:
    log = list[str]()
    placed = [(Recording(one.name, log), one) for one in reversed(Priority)]
    conversation = Conversation(*placed)
    in_order = [one.name for one in Priority]
    log.clear()

    conversation.client_says(b"c")
    assert log == [f"{name} client c" for name in in_order]
    log.clear()
    conversation.server_says(b"s")
    assert log == [f"{name} server s" for name in reversed(in_order)]
    assert conversation.heard() == (b"s", b"c")


def test_within_one_priority_the_first_attached_is_nearest_to_the_client() -> None:
    log = list[str]()
    conversation = Conversation(*(Recording(name, log) for name in "abc"))
    log.clear()
    conversation.client_says(b"x")

    assert log == ["a client x", "b client x", "c client x"]


def test_all_have_their_sockets_before_the_first_is_started() -> None:
    log = list[str]()
    Conversation(*(Recording(name, log) for name in "ab"))
    assert log == ["a set", "b set", "a started", "b started"]


def test_each_is_handed_its_connection_the_peer_and_its_context() -> None:
    data_filter = Recording()
    conversation = Conversation(data_filter, context="of the attachment")

    assert data_filter.connection is conversation.primary
    assert data_filter.peer == conversation.primary.server
    assert data_filter.context == "of the attachment"
    assert conversation.primary.chain.data_filters == (data_filter,)


def test_what_the_first_says_at_the_start_reaches_the_second_after_its_own_start() -> None:
    class Greeting(Recording):
        async def started(self) -> None:
            await super().started()
            self.server.send(b"hello")

    log = list[str]()
    conversation = Conversation(Greeting("a", log), Recording("b", log))

    assert log[2:] == ["a started", "b started", "b client hello"]
    assert conversation.heard() == (b"", b"hello")


# -- what a filter may do ---------------------------------------------------------------------


def test_a_filter_may_change_what_passes() -> None:
    conversation = Conversation(Upper())
    conversation.client_says(b"user")
    conversation.server_says(b"ok")
    assert conversation.heard() == (b"OK", b"USER")


def test_a_filter_may_say_something_of_its_own_to_either_side() -> None:
    class Injecting(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.client.send(b"refused")
            self.server.send(data + b"!")

    log = list[str]()
    conversation = Conversation(Recording("near", log), Injecting(), Recording("far", log))
    conversation.client_says(b"x")

    assert log[-3:] == ["near client x", "near server refused", "far client x!"]
    assert conversation.heard() == (b"refused", b"x!")


def test_a_filter_may_hold_back_until_its_deadline() -> None:
    class Delaying(DataFilter):
        held = b""

        async def from_client(self, data: bytes) -> None:
            self.held += data
            self.set_deadline(5)

        async def deadline_passed(self) -> None:
            self.server.send(self.held)

    conversation = Conversation(Delaying())
    conversation.client_says(b"a", b"b")
    conversation.office.pass_time(4.9)
    assert conversation.heard() == (b"", b"")
    conversation.office.pass_time(0.1)
    assert conversation.heard() == (b"", b"ab")


def test_a_filter_may_reset_the_connection() -> None:
    class Resetting(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.reset()
            self.reset()
            self.server.send(data)

    conversation = Conversation(Resetting())
    conversation.client_says(b"x")

    assert conversation.link.ended == "reset"
    assert conversation.office.reasons("connect.closed") == ["reset-by-filter"]
    assert not list(conversation.office.gateway.sessions)
    assert conversation.heard() == (b"", b"")


def test_a_filter_may_close_the_connection_and_what_was_said_before_arrives() -> None:
    class Leaving(DataFilter):
        async def from_server(self, data: bytes) -> None:
            self.client.send(data + b", bye")
            self.close("enough")
            self.close("later")

    log = list[str]()
    conversation = Conversation(Recording("a", log), Upper(), Leaving())
    log.clear()
    conversation.server_says(b"end")

    assert log == ["a server END, BYE", "a detached"]
    assert conversation.link.ended == "closed"
    assert conversation.heard() == (b"END, BYE", b"")
    assert conversation.office.reasons("connect.closed") == ["closed-by-filter"]


def test_a_kill_overtakes_a_close_that_waits_for_its_turn() -> None:
    class Leaving(DataFilter):
        async def from_server(self, data: bytes) -> None:
            self.client.send(data)
            self.close()

    slow = Recording("a")
    conversation = Conversation(slow, Leaving())
    slow.is_slow = True
    conversation.server_says(b"end")
    assert conversation.primary.is_open
    conversation.primary.kill("operator")
    conversation.office.world.resume()

    assert conversation.link.ended == "reset"
    assert conversation.office.reasons("connect.closed") == ["operator"]


# -- half-closes ------------------------------------------------------------------------------


def test_each_half_close_passes_the_whole_chain_behind_the_data() -> None:
    log = list[str]()
    conversation = Conversation(Recording("a", log), Recording("b", log))
    log.clear()
    conversation.client_says(b"x")
    conversation.primary.chain.accepted_closed()

    assert log == ["a client x", "b client x", "a client closed", "b client closed"]
    assert (conversation.client.is_shut, conversation.server.is_shut) == (False, True)
    conversation.server_says(b"y")
    log.clear()
    conversation.primary.chain.dialled_closed()
    assert log == ["b server closed", "a server closed"]
    assert conversation.heard() == (b"y", b"x")
    assert conversation.client.is_shut


def test_a_neighbour_hears_of_the_end_once_and_of_nothing_behind_it() -> None:
    class Chatty(DataFilter):
        async def client_closed(self) -> None:
            for _ in range(2):
                self.server.shutdown()
                self.server.send(b"late")

    log = list[str]()
    conversation = Conversation(Chatty(), Recording("b", log))
    log.clear()
    conversation.primary.chain.accepted_closed()

    assert log == ["b client closed"]
    assert conversation.heard() == (b"", b"")


def test_saying_nothing_is_not_told_to_the_neighbour() -> None:
    class Silent(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.server.send(b"")

    log = list[str]()
    conversation = Conversation(Silent(), Recording("b", log))
    log.clear()
    conversation.client_says(b"x")

    assert log == []


# -- waiting ----------------------------------------------------------------------------------


def test_a_neighbour_gets_the_bytes_as_they_were_when_they_were_said() -> None:
    said = bytearray(b"said")

    class Reusing(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.server.send(said)  # type: ignore[arg-type]
            said[:] = b"????"

    second = Recording("2")
    Conversation(Reusing(), second).client_says(b"x")

    assert second.log[-1] == "2 client said"


def test_x07_who_says_what_is_no_bytes_is_at_fault_and_not_its_neighbour() -> None:
    class Texting(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.server.send("text")  # type: ignore[arg-type]

    heard: list[bytes] = []

    class Hearing(DataFilter):
        async def from_client(self, data: bytes) -> None:
            heard.append(data)

    conversation = Conversation(Texting(), Hearing())
    conversation.client_says(b"x")

    assert heard == []
    assert len(conversation.faults()) == 1


@pytest.mark.parametrize("priority", ["MIDDLE", 3, None])
def test_what_is_no_priority_is_refused_when_it_is_given(priority: object) -> None:
    conversation = Conversation((DataFilter(), priority))  # type: ignore[arg-type]

    assert not conversation.primary.is_open
    assert conversation.faults() == [("watching", "InvalidArgument('wrong-type-of-priority')")]


def test_x07_a_deadline_that_is_no_time_is_refused_and_all_others_pass() -> None:
    class Nowhen(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.set_deadline(float("nan"))

    conversation = Conversation(Nowhen())
    passed: list[str] = []
    conversation.office.gateway.call_later(2, lambda: passed.append("2"))
    conversation.client_says(b"x")
    conversation.office.gateway.call_later(1, lambda: passed.append("1"))
    conversation.office.pass_time(3)

    assert passed == ["1", "2"]
    assert conversation.faults() == [("watching", "InvalidArgument('not-a-time')")]


@pytest.mark.parametrize("direction", ["client", "server"])
def test_one_direction_is_held_back_while_any_filter_says_so(direction: str) -> None:
    one, other = Recording("a"), Recording("b")
    chain = Conversation(one, other).primary.chain
    told = list[tuple[bool, bool]]()
    chain.on_idle = lambda: told.append((chain.holds_accepted, chain.holds_dialled))

    def hold(data_filter: DataFilter, *, is_held: bool) -> None:
        is_client = direction == "client"
        (data_filter.hold_client if is_client else data_filter.hold_server)(is_held=is_held)

    hold(one, is_held=True)
    hold(other, is_held=True)
    hold(one, is_held=False)
    assert told == [(True, False) if direction == "client" else (False, True)]
    hold(other, is_held=False)
    hold(other, is_held=False)
    assert told[1:] == [(False, False)]


def test_the_reader_is_told_of_a_direction_that_is_held_back_when_the_filter_has_returned() -> None:
    class Once(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.hold_client(is_held=True)
            told.append(chain.is_busy)

    told = list[bool]()
    conversation = Conversation(Once())
    chain = conversation.primary.chain
    chain.on_idle = lambda: told.append(chain.is_busy)
    conversation.client_says(b"x")

    assert told == [True, False]


def test_a_filter_without_a_flow_holds_nothing_back() -> None:
    for hold in (DataFilter().hold_client, DataFilter().hold_server):
        hold(is_held=True)


def test_a_filter_that_waits_makes_the_whole_chain_wait() -> None:
    log = list[str]()
    slow, quick = Recording("a", log), Recording("b", log)
    conversation = Conversation(slow, quick)
    chain, idle = conversation.primary.chain, list[bool]()
    chain.on_idle = lambda: idle.append(chain.is_busy)
    log.clear()
    slow.is_slow = True
    conversation.client_says(b"1")
    conversation.server_says(b"2")
    chain.accepted_closed()
    assert chain.is_busy
    assert log == ["a client 1…"]
    assert conversation.heard() == (b"", b"")

    while conversation.office.world.suspended:
        assert idle == []
        conversation.office.world.resume()
    assert idle == [False]
    assert log == [
        "a client 1",
        "b server 2",
        "a client closed",
        "b client 1",
        "a server 2",
        "b client closed",
    ]
    assert conversation.heard() == (b"2", b"1")


def test_a_deadline_that_passes_while_the_chain_waits_has_its_turn_later() -> None:
    class Timed(Recording):
        async def deadline_passed(self) -> None:
            await self._note("deadline")

    timed = Timed("a")
    conversation = Conversation(timed)
    timed.set_deadline(5)
    timed.is_slow = True
    timed.log.clear()
    conversation.client_says(b"x")
    conversation.office.pass_time(5)
    assert timed.log == ["a client x…"]
    timed.is_slow = False
    conversation.office.world.resume()

    assert timed.log == ["a client x", "a deadline"]


@pytest.mark.parametrize("is_started", [False, True], ids=["at the start", "later"])
def test_what_comes_back_after_the_end_touches_nothing(is_started: bool) -> None:
    log = list[str]()
    slow = Recording("a", log)
    slow.is_slow = not is_started
    conversation = Conversation(slow, Recording("b", log))
    slow.is_slow = True
    idle = list[str]()
    conversation.primary.chain.on_idle = lambda: idle.append("idle")
    if is_started:
        conversation.client_says(b"x", b"y")
    conversation.primary.kill("operator")
    ended = list(log)
    conversation.office.world.resume()
    conversation.client_says(b"late")
    conversation.server_says(b"late")
    conversation.primary.chain.accepted_closed()
    conversation.primary.chain.dialled_closed()

    assert ended[-2:] == ["a detached", "b detached"]
    assert len(log) == len(ended)  # the call that waited has returned; none began
    assert log.count("b started") == is_started
    assert idle == []
    assert conversation.heard() == (b"", b"")
    assert conversation.faults() == []
