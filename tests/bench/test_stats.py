import pytest
from bench.stats import Spread, percentile


def test_a_spread_is_the_median_between_its_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)


def test_few_rounds_spread_from_the_least_to_the_greatest() -> None:
    assert Spread.of([3.0, 1.0]) == Spread(2.0, 1.0, 3.0, 2)


def test_one_round_has_no_spread() -> None:
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], share) == value


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert percentile([4.0], 0.999) == 4.0
