"""X01 and X07: the rule is in before its news is out; a filter that fails, fails alone."""

import pytest
from tests.filters.talk import (
    IPV4,
    OK,
    READY,
    Family,
    agreed,
    both_families,
    forwarded,
    greeted,
)

from sallyport import limits
from sallyport.api import (
    ApplicationFilter,
    ConnectTcp,
    DataFilter,
    Event,
    Hooks,
    Session,
    SessionFilter,
)
from sallyport.errors import KernelError
from sallyport.filters.ftp import FTP, FtpFilter
from sallyport.testing import Dialogue, pause


@both_families
def test_x01_neither_side_goes_on_before_the_rule_is_in(family: Family) -> None:
    dialogue = greeted(family)
    dialogue.data_path.is_slow = True
    dialogue.client_says(family.ask + b"RETR a\r\n").nothing_more().pinholes()

    dialogue.waiting_ends().pinholes(family.pinhole)
    dialogue.server_hears(family.heard + b"RETR a\r\n").client_hears(b"")


@both_families
def test_x01_the_client_hears_of_a_passive_port_when_it_may_connect(family: Family) -> None:
    dialogue = greeted(family).client_says(family.ask_passive)
    dialogue.data_path.is_slow = True
    dialogue.server_says(family.reply_passive).client_hears(b"").pinholes()

    dialogue.waiting_ends().pinholes(family.passive_pinhole).client_hears(family.reply_passive)


@both_families
def test_x01_what_both_say_meanwhile_is_kept_in_order(family: Family) -> None:
    dialogue = greeted(family)
    dialogue.data_path.is_slow = True
    dialogue.client_says(family.ask).client_says(b"RETR a\r\n").server_says(b"421 Bye.\r\n")

    dialogue.waiting_ends().server_hears(family.heard + b"RETR a\r\n")
    dialogue.client_hears(b"421 Bye.\r\n")


@both_families
def test_x01_an_end_while_the_rule_goes_in_leaves_nothing_open(family: Family) -> None:
    for active in (True, False):
        dialogue = greeted(family)
        dialogue.data_path.is_slow = True
        dialogue.client_says(family.ask if active else family.ask_passive)
        if not active:
            dialogue.server_says(family.reply_passive)
        dialogue.client_resets().waiting_ends().pinholes()

        assert not list(dialogue.gateway.sessions)
        assert "filter.failed" not in dialogue.world.journal.events()


class _Broken(ApplicationFilter, SessionFilter, DataFilter):
    """Passes everything until the client says `BREAK`, then fails in its own way."""

    name = "broken"
    api_version = 1
    protocols = (FTP,)
    hooks = Hooks.of(ConnectTcp)

    def __init__(self, failure: Exception | None) -> None:
        self._failure = failure

    def attach_to_session(self, session: Session) -> SessionFilter:
        return self

    async def on_event(self, event: Event) -> None:
        if isinstance(event, ConnectTcp):
            event.connection.attach_data_filter(_Broken(self._failure))

    def detach(self) -> None:
        if isinstance(self._failure, OSError):
            raise self._failure

    async def from_client(self, data: bytes) -> None:
        if data != b"BREAK":
            self.server.send(data)
        elif self._failure is not None:
            raise self._failure
        else:
            while True:
                await pause()


FAILURES = [ValueError("bug"), MemoryError(), RecursionError(), OSError("detach fails as well")]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_x07_a_filter_that_raises_ends_one_connection(failure: Exception) -> None:
    bystander = Dialogue(_Broken(failure))
    same_client = Dialogue(_Broken(failure), client="10.0.0.9:50009", beside=bystander)
    broken = Dialogue(_Broken(failure), client="10.0.0.9:50000", beside=bystander)

    broken.client_says(b"BREAK").was_reset("filter-failed")

    for other in (same_client, bystander):
        other.client_says(b"still here").server_hears(b"still here").still_open()


def test_x07_a_filter_that_waits_forever_ends_one_connection() -> None:
    bystander = Dialogue(_Broken(None))
    stuck = Dialogue(_Broken(None), client="10.0.0.9:50000", beside=bystander)
    stuck.client_says(b"BREAK").client_says(b"unheard").server_hears(b"").still_open()
    bystander.client_says(b"still here").server_hears(b"still here")

    stuck.time_passes(limits.FILTER_WAIT_SECONDS).was_reset("filter-failed")

    stuck.waiting_ends().nothing_more()
    bystander.client_says(b"and here").server_hears(b"and here").still_open()


def test_x07_a_filter_that_waits_and_goes_on_is_not_stuck() -> None:
    dialogue = greeted()
    dialogue.data_path.is_slow = True
    dialogue.client_says(IPV4.ask).time_passes(1).waiting_ends().time_passes(58).still_open()

    dialogue.server_hears(IPV4.heard).server_says(OK)
    forwarded(dialogue.client_hears(OK), b"NOOP\r\n")


def test_x07_what_the_ended_connection_had_opened_is_closed() -> None:
    dialogue = agreed().next_bind_fails(RuntimeError("planted")).client_says(b"PASV\r\n")

    dialogue.server_says(IPV4.reply_passive).was_reset("filter-failed").pinholes()

    assert dialogue.data_path.reserved == set()


def test_x07_a_fault_ends_one_clients_connection_and_spares_another() -> None:
    other = agreed()
    broken = Dialogue(FtpFilter(), client="10.0.0.9:50000", beside=other).server_says(READY)
    broken.client_hears(READY).next_bind_fails(RuntimeError("planted"))

    broken.client_says(b"PORT 10,0,0,9,6,17\r\n").was_reset("filter-failed")

    other.pinholes(IPV4.pinhole).still_open()


@both_families
def test_what_the_kernel_refuses_is_answered_in_the_protocol(family: Family) -> None:
    dialogue = greeted(family).next_bind_fails(KernelError("open", 5)).client_says(family.ask)

    dialogue.server_hears(b"").client_hears(
        b"425 Can't open data connection.\r\n"
    ).pinholes().still_open()
