from itertools import product

import pytest

from sallyport.core.pinholes.lifecycle import TRANSITIONS, State, Step, after
from sallyport.errors import Terminating

LEGAL = {
    (State.RESERVED, Step.ARM): State.ARMED,
    (State.RESERVED, Step.WITHDRAW): State.CLOSED,
    (State.RESERVED, Step.TIMEOUT): State.CLOSED,
    (State.RESERVED, Step.KILL): State.CLOSED,
    (State.ARMED, Step.ADMIT): State.LIVE,
    (State.ARMED, Step.WITHDRAW): State.CLOSED,
    (State.ARMED, Step.TIMEOUT): State.CLOSED,
    (State.ARMED, Step.KILL): State.CLOSED,
    (State.LIVE, Step.WITHDRAW): State.LIVE,
    (State.LIVE, Step.TIMEOUT): State.LIVE,
    (State.LIVE, Step.ADMIT): State.LIVE,
    (State.LIVE, Step.END): State.CLOSED,
    (State.LIVE, Step.KILL): State.CLOSED,
    (State.CLOSED, Step.WITHDRAW): State.CLOSED,
    (State.CLOSED, Step.TIMEOUT): State.CLOSED,
    (State.CLOSED, Step.KILL): State.CLOSED,
}
EVERY_PAIR = list(product(State, Step))


@pytest.mark.parametrize(("state", "step"), EVERY_PAIR)
def test_every_pair_leads_where_the_manual_says_or_is_refused(state: State, step: Step) -> None:
    if (state, step) in LEGAL:
        assert after(state, step) is LEGAL[state, step]
    else:
        with pytest.raises(Terminating, match="not-in-this-state"):
            after(state, step)


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_killed_and_nothing_leads_out_of_the_end(state: State) -> None:
    assert after(state, Step.KILL) is State.CLOSED
    assert set(TRANSITIONS[State.CLOSED].values()) == {State.CLOSED}


def test_nothing_gets_in_that_was_not_armed() -> None:
    ways_to_live = {state for state, step in EVERY_PAIR if LEGAL.get((state, step)) is State.LIVE}
    assert ways_to_live == {State.ARMED, State.LIVE}
    ways_to_armed = {pair for pair, result in LEGAL.items() if result is State.ARMED}
    assert ways_to_armed == {(State.RESERVED, Step.ARM)}
