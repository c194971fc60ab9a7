from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.policy.rates import Rates
from sallyport.core.policy.trail import Outcome, Trail, TrailStep


def take(rates: Rates, now: float, *, account: str = "a", rate: int = 6, count: int = 1) -> bool:
    if not rates.has_room(account, "rule", rate, count, now):
        return False
    rates.spend(account, "rule", rate, count, now)
    return True


def test_a_minutes_worth_may_be_taken_at_once_and_then_it_goes_on_at_the_rate() -> None:
    rates = Rates("max_binds_per_minute")

    assert [take(rates, 0.0) for _ in range(7)] == [True] * 6 + [False]
    assert [take(rates, 10.0), take(rates, 10.0)] == [True, False]
    assert [take(rates, 19.9), take(rates, 20.0)] == [False, True]


def test_one_clients_use_costs_another_nothing() -> None:
    rates = Rates("max_binds_per_minute")
    while take(rates, 0.0, account="flooder"):
        pass

    assert take(rates, 0.0, account="neighbour")


def test_several_ports_of_one_call_count_each() -> None:
    rates = Rates("max_binds_per_minute")

    assert not take(rates, 0.0, count=7)
    assert take(rates, 0.0, count=6)
    assert rates.used("a", "rule", 6, 0.0) == 6
    assert rates.used("a", "rule", 6, 30.0) == 3
    assert rates.used("a", "rule", 6, 90.0) == 0


def test_a_trail_is_told_the_key_the_value_and_the_use() -> None:
    rates, trail = Rates("max_binds_per_minute"), Trail()
    rates.spend("a", "office", 2, 2, 0.0)

    assert not rates.has_room("a", "office", 2, 1, 0.0, trail=trail)
    assert rates.has_room("b", "office", 2, 1, 0.0, trail=trail)
    assert trail.steps == [
        TrailStep("max_binds_per_minute", Outcome.REFUSED, "2 of 2", "office", "2", "2"),
        TrailStep("max_binds_per_minute", Outcome.WITHIN, "0 of 2", "office", "2", "0"),
    ]


def test_buckets_that_are_full_again_are_forgotten() -> None:
    rates = Rates("max_binds_per_minute")
    for i in range(1000):
        take(rates, i * 1.0, account=str(i))

    # Each is full again after 10 seconds, and each use looks at two.
    assert len(rates) <= 12


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10)), max_size=200),
)
def test_no_minute_ever_has_more_than_two_minutes_worth(
    rate: int, asked: list[tuple[float, int]]
) -> None:
    rates, now, granted = Rates("max_binds_per_minute"), 0.0, list[tuple[float, int]]()
    for pause, count in asked:
        now += pause
        if take(rates, now, rate=rate, count=count):
            granted.append((now, count))
    for moment, _ in granted:
        within = sum(count for when, count in granted if moment <= when < moment + 60)
        assert within <= 2 * rate
