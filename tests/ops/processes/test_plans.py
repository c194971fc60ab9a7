import pytest
from tests.ops.processes.fleet_bench import plan

from sallyport.errors import StartupError
from sallyport.ops.processes.plans import places, require_same


def test_what_the_supervisor_does_not_hold_may_differ() -> None:
    require_same(plan(2), plan(2, filters=["tftp"], drain_seconds=5.0), has_same_rules=True)


@pytest.mark.parametrize(
    "change", [{"port_range": "50000-50999"}, {"intercepting": []}, {"workers": 3}]
)
def test_what_it_was_set_up_for_may_not(change: dict[str, object]) -> None:
    with pytest.raises(StartupError, match="reload it first"):
        require_same(plan(), plan(**change), has_same_rules=True)  # type: ignore[arg-type]


def test_neither_may_the_rules_of_the_guard() -> None:
    with pytest.raises(StartupError, match="reload it first"):
        require_same(plan(), plan(), has_same_rules=False)


def test_places_are_those_of_interception_and_of_publishing() -> None:
    place = "udp 203.0.113.1:69"
    rule = {"owner": "ours", "listen": "203.0.113.1:69", "transport": "UDP"}

    assert places(plan(published={place: rule})) == {"tcp4", place}
