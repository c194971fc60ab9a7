"""Calls of real telephones by real providers through the gateway, media counted at both ends."""

import time
from collections.abc import Iterator

import pytest
from tests.interop.telephones import KINDS, Gateways, Office, Places, places

from sallyport.lab.network import Lab
from sallyport.lab.sip import Kind, Transport, why_no_sip

pytestmark = [pytest.mark.netns, pytest.mark.interop]

Cell = tuple[str, Transport, Kind, int]
"""Data path, transport, what the provider believes, IP version."""

CELLS: list[Cell] = [
    *(("kernel", "udp", kind, family) for kind in KINDS for family in (4, 6)),
    ("kernel", "tcp", "plain", 4),
    ("kernel", "tcp", "nat", 6),
    # What the provider believes makes no difference to the data path.
    ("user", "udp", "plain", 4),
    ("user", "tcp", "plain", 6),
]
LONG_CELLS: list[Cell] = [
    ("kernel", "tcp", "plain", 6),
    ("kernel", "tcp", "nat", 4),
    ("user", "udp", "plain", 6),
    ("user", "tcp", "plain", 4),
]
PARAMETERS = [
    pytest.param(cell, id="-".join(map(str, cell)), marks=marks)
    for cells, marks in ((CELLS, ()), (LONG_CELLS, pytest.mark.soak))
    for cell in cells
]


@pytest.fixture(scope="module")
def there(lab: Lab) -> Iterator[Places]:
    """Run the providers."""
    if reason := why_no_sip():
        pytest.skip(reason)
    with places(lab) as standing:
        yield standing


@pytest.fixture(scope="module")
def gateways(there: Places) -> Iterator[Gateways]:
    """Hold the gateway that runs."""
    made = Gateways(there)
    yield made
    made.stop()


@pytest.fixture(scope="module", params=PARAMETERS)
def cell(request: pytest.FixtureRequest, there: Places, gateways: Gateways) -> Iterator[Office]:
    """Yield an office whose telephones are registered."""
    data_path, transport, kind, family = request.param
    gateway = gateways.with_path(data_path)
    folder = there.lab.folder / f"office-{'-'.join(map(str, request.param))}"
    made = Office(there, gateway, kind, family, folder, transport=transport)
    yield made
    made.close()


@pytest.fixture
def office(cell: Office) -> Iterator[Office]:
    """Yield the office without a call, before and after."""
    yield cell
    cell.end_calls()


def test_a_call_out_is_heard_both_ways_also_after_a_hold_until_it_ends(office: Office) -> None:
    office.call("alice", "bob")
    office.hear_each_other("alice", "bob")

    office.phones["alice"].hold()
    office.phones["alice"].resume()
    office.hear_each_other("alice", "bob")

    openings = office.openings()
    assert openings
    office.phones["alice"].hang_up()
    office.phones["bob"].hears("CALL_CLOSED")
    office.wait_until_closed()
    assert office.arrives_late(openings, "bob", "alice") == 0


def test_a_call_in_is_heard_both_ways_also_after_a_hold_until_it_ends(office: Office) -> None:
    office.call("bob", "alice")
    office.hear_each_other("alice", "bob")

    office.phones["bob"].hold()
    office.phones["bob"].resume()
    office.hear_each_other("alice", "bob")

    openings = office.openings()
    assert openings
    office.phones["bob"].hang_up()
    office.phones["alice"].hears("CALL_CLOSED")
    office.wait_until_closed()
    assert office.arrives_late(openings, "bob", "alice") == 0


@pytest.mark.parametrize(
    ("caller", "callee", "who_ends"),
    [
        ("alice", "bob", "alice"),
        ("alice", "bob", "bob"),
        ("bob", "alice", "bob"),
        ("bob", "alice", "alice"),
    ],
    ids=["cancelled inside", "refused outside", "cancelled outside", "refused inside"],
)
def test_a_call_that_nobody_answers_leaves_nothing_open(
    office: Office, caller: str, callee: str, who_ends: str
) -> None:
    office.phones[caller].dial(office.number(callee))
    office.phones[callee].hears("CALL_INCOMING")
    office.phones[caller].hears("CALL_RINGING")
    openings = office.openings()

    office.phones[who_ends].hang_up()
    office.phones[callee if who_ends == caller else caller].hears("CALL_CLOSED")

    office.wait_until_closed()
    assert office.arrives_late(openings, "bob", "alice") == 0


def test_two_telephones_with_the_same_ports_have_each_their_own_call(office: Office) -> None:
    office.call("alice", "bob")
    office.call("dave", "carol")

    office.hear_each_other("alice", "bob")
    office.hear_each_other("carol", "dave")
    office.phones["alice"].hang_up()
    office.phones["bob"].hears("CALL_CLOSED")
    office.hear_each_other("carol", "dave")


def test_two_calls_of_one_telephone_are_heard_both(office: Office) -> None:
    office.call("alice", "bob")
    office.call("dave", "alice")

    office.hear_each_other("alice", "dave")
    office.phones["dave"].hang_up()
    office.phones["alice"].hears("CALL_CLOSED")
    # A telephone goes on by itself with the call that it had put on hold for this one.
    office.phones["alice"].hears("CALL_REMOTE_SDP", saying="answer")
    office.hear_each_other("alice", "bob")


def test_two_telephones_inside_hear_each_other_by_a_provider_outside(office: Office) -> None:
    office.call("alice", "carol")
    office.hear_each_other("alice", "carol")

    office.phones["carol"].hang_up()
    office.phones["alice"].hears("CALL_CLOSED")
    office.wait_until_closed()


def test_a_telephone_that_registers_every_two_seconds_stays_within_reach(office: Office) -> None:
    number = office.number("erin")
    office.phones["alice"].register(number, seconds=2)
    for _ in range(2):
        office.phones["alice"].hears("REGISTER_OK")

    office.phones["bob"].dial(number)
    office.phones["alice"].answer()
    office.hear_each_other("alice", "bob")


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_call_comes_in_after_150_seconds_of_silence_and_lasts_longer_than_32(
    office: Office,
) -> None:
    # UDP is forgotten after two minutes; a call whose ACK was lost ends after 32 seconds.
    time.sleep(150)
    office.call("bob", "alice")
    office.hear_each_other("alice", "bob")
    time.sleep(40)
    office.hear_each_other("alice", "bob")

    office.phones["alice"].hang_up()
    office.phones["bob"].hears("CALL_CLOSED")
    office.wait_until_closed()
