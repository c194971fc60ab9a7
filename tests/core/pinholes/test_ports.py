from collections import Counter
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport import limits
from sallyport.addresses import PortRange
from sallyport.core.pinholes.ports import PortPool, Ports
from sallyport.errors import AddressInUse
from sallyport.flags import Transport
from sallyport.testing import VirtualWorld

REST = limits.PORT_REST_SECONDS
ADDRESS, OTHER = ip_address("203.0.113.1"), ip_address("203.0.113.2")


def pool(first: int, last: int) -> PortPool:
    return PortPool(PortRange(first, last), VirtualWorld().random_below)


def test_every_port_of_the_range_is_drawn_once_and_then_none() -> None:
    ports = pool(40000, 40099)
    drawn = {ports.draw(1, now=0.0) for _ in range(100)}

    assert drawn == set(range(40000, 40100))
    assert ports.free == 0
    with pytest.raises(AddressInUse, match="no-free-port"):
        ports.draw(1, now=0.0)


def test_x03_every_port_is_as_likely_as_every_other() -> None:
    ports = pool(40000, 40063)
    counts: Counter[int] = Counter()
    draws = 64 * 200
    now = 0.0
    for _ in range(draws):
        port = ports.draw(1, now)
        counts[port] += 1
        ports.rest(port, now)  # rested at once: every draw is among all 64
        now += 1.0

    expected = draws / 64
    chi_square = sum((counts[port] - expected) ** 2 / expected for port in range(40000, 40064))
    # 63 degrees of freedom: 99.99 % of fair sequences lie between 28 and 112. A port that is never
    # drawn adds 200; ports in turn give 0.
    assert 28 < chi_square < 112


def test_x03_the_next_port_does_not_follow_from_the_last_two() -> None:
    ports = pool(40000, 59999)
    drawn = [ports.draw(1, now=0.0) for _ in range(500)]
    steps = Counter(b - a for a, b in pairwise(drawn))

    assert max(steps.values()) <= 3


def test_a_port_given_back_rests_before_it_is_drawn_again() -> None:
    ports = pool(40000, 40001)
    first = ports.draw(1, now=0.0)
    ports.rest(first, until=10.0)

    other = ports.draw(1, now=9.9)
    assert other != first
    ports.rest(other, until=20.0)
    assert ports.draw(1, now=10.0) == first


def test_in_need_the_longest_rested_port_is_drawn() -> None:
    ports = pool(40000, 40002)
    drawn = [ports.draw(1, now=0.0) for _ in range(3)]
    for moment, port in enumerate(drawn):
        ports.rest(port, until=100.0 + moment)

    assert [ports.draw(1, now=1.0) for _ in range(3)] == drawn


@pytest.mark.parametrize("count", [2, 3, 4, 7, 64])
def test_a_run_starts_at_a_multiple_of_its_length_and_lies_in_the_range(count: int) -> None:
    ports = pool(40001, 40200)
    taken: set[int] = set()
    for _ in range(200 // count - 2):
        base = ports.draw(count, now=0.0)
        run = set(range(base, base + count))
        assert base % count == 0
        assert run <= set(range(40001, 40201))
        assert not run & taken
        taken |= run
    assert ports.free == 200 - len(taken)


def test_a_range_without_an_aligned_run_has_none() -> None:
    ports = pool(40001, 40006)
    with pytest.raises(AddressInUse):
        ports.draw(4, now=0.0)
    assert ports.free == 6


def test_a_run_is_found_among_resting_ports_only_in_need() -> None:
    ports = pool(40000, 40063)
    resting = ports.draw(2, now=0.0)
    for port in (resting, resting + 1):
        ports.rest(port, until=REST)

    assert resting not in {ports.draw(2, now=1.0) for _ in range(31)}
    assert ports.draw(2, now=2.0) == resting


def test_a_run_that_is_refused_shortens_nobodys_rest() -> None:
    ports = pool(40000, 40005)
    ports.take(40001)
    ports.take(40002)
    ports.rest(40002, until=REST)

    with pytest.raises(AddressInUse):
        ports.draw(4, now=1.0)
    assert {ports.draw(1, now=1.0) for _ in range(4)} == {40000, 40003, 40004, 40005}


def test_a_port_can_be_taken_by_its_number_unless_it_is_drawn() -> None:
    ports = pool(40000, 40001)
    ports.take(40001)

    with pytest.raises(AddressInUse, match="port-is-bound"):
        ports.take(40001)
    assert ports.draw(1, now=0.0) == 40000

    ports.rest(40001, until=REST)
    ports.take(40001)
    assert ports.free == 0


def test_addresses_and_transports_have_pools_of_their_own() -> None:
    ports = Ports(PortRange(40000, 40000), VirtualWorld().random_below)

    for transport in Transport:
        for address in (ADDRESS, OTHER):
            assert ports.of(transport, address).draw(1, now=0.0) == 40000
    assert ports.of(Transport.TCP, ADDRESS).free == 0


def test_ports_outside_the_range_are_nobodys_to_draw() -> None:
    ports = pool(40000, 40000)
    for _ in range(2):
        ports.take(21)
    ports.rest(21, until=0.0)

    assert ports.free == 1
    assert ports.draw(1, now=REST) == 40000


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("draw"), st.integers(1, 4)),
            st.tuples(st.just("take"), st.integers(40000, 40011)),
            st.tuples(st.just("rest"), st.integers(0, 11)),
            st.tuples(st.just("wait"), st.integers(0, 200)),
        )
    )
)
def test_no_port_is_ever_held_twice_or_lost(steps: list[tuple[str, int]]) -> None:
    ports, held, now = pool(40000, 40011), list[int](), 0.0
    for step, number in steps:
        match step:
            case "draw":
                try:
                    base = ports.draw(number, now)
                except AddressInUse:
                    free = set(range(40000, 40012)) - set(held)
                    bases = [b for b in range(40000, 40012) if b % number == 0]
                    assert not any(set(range(b, b + number)) <= free for b in bases)
                else:
                    held += range(base, base + number)
            case "take":
                if number not in held:
                    ports.take(number)
                    held.append(number)
            case "rest" if number < len(held):
                ports.rest(held.pop(number), now + REST)
            case "wait":
                now += number
        assert len(set(held)) == len(held)
        assert ports.free == 12 - len(held)
