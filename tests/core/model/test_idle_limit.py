"""When a binding has been silent for too long: how late it ends, and what counts."""

import math
from typing import Any

import pytest
from tests.core.office import PEER, Office
from tests.core.test_firewall_client import bind

from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, Transport

_MANY = {"flags": BindFlags.ALLOW_MULTIPLE}


def test_a_binding_ends_at_most_a_quarter_late_and_never_early() -> None:
    for spoken_at in range(1, 100, 7):
        office = Office()
        binding = bind(office, idle=100, **_MANY)
        office.data_path.connect(PEER, binding.proxy_address)
        office.pass_time(spoken_at)
        office.data_path.carry(PEER, from_peer=1)

        office.pass_time(99.9)
        assert office.reasons("binding.closed") == []
        office.pass_time(25.2)
        assert office.reasons("binding.closed") == ["idle-time-is-over"]


@pytest.mark.parametrize("passed", [{"from_peer": 1}, {"to_peer": 1}])
def test_bytes_of_either_direction_count(passed: dict[str, Any]) -> None:
    office = Office()
    binding = bind(office, idle=100, **_MANY)
    office.data_path.connect(PEER, binding.proxy_address)
    for _ in range(10):
        office.pass_time(60)
        office.data_path.carry(PEER, **passed)

    assert office.reasons("binding.closed") == []


def test_one_peer_after_the_other_counts_even_if_none_says_a_word() -> None:
    office = Office()
    binding = bind(office, idle=100, **_MANY)
    for port in range(6000, 6010):
        office.pass_time(60)
        peer = PEER.with_port(port)
        office.data_path.connect(peer, binding.proxy_address)
        office.data_path.finish(peer)

    assert office.reasons("binding.closed") == []


def test_a_rule_lets_a_binding_be_silent_no_longer_than_its_own_limit() -> None:
    office = Office(max_idle=60)
    asked_less, asked_more, asked_nothing = (
        bind(office, idle=30),
        bind(office, idle=90),
        bind(office),
    )
    assert [one.expires_in for one in (asked_less, asked_more, asked_nothing)] == [30, 60, 60]

    office.pass_time(60)
    assert sorted(map(str, office.reasons("binding.closed"))) == [
        "idle-time-is-over",
        "max-idle-reached",
        "max-idle-reached",
    ]


def test_what_is_due_first_says_when_a_binding_ends() -> None:
    office = Office()
    assert bind(office, idle=40, lifetime=100).expires_in == 40
    binding = bind(office, idle=400, lifetime=100)
    assert binding.expires_in == 100
    office.pass_time(100)

    assert office.reasons("binding.closed") == ["idle-time-is-over", "lifetime-is-over"]


def test_what_runs_is_reset_when_the_binding_has_become_idle() -> None:
    office = Office()
    binding = bind(office, idle=100)
    office.data_path.connect(PEER, binding.proxy_address)
    office.pass_time(125)

    assert [peer for _, peer in office.data_path.resets] == [PEER]
    assert list(office.gateway.bindings()) == []


@pytest.mark.parametrize("transport", Transport)
def test_no_look_outlives_its_binding(transport: Transport) -> None:
    office = Office()
    bind(office).kill()  # the session stays for a while
    waiting = len(office.gateway.deadlines)
    bind(office, idle=100, transport=transport).kill()

    assert len(office.gateway.deadlines) == waiting


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, 0.99])
def test_an_idle_time_is_a_number_that_can_pass(seconds: float) -> None:
    with pytest.raises(InvalidArgument):
        bind(Office(), idle=seconds)
