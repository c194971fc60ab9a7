"""The life of a secondary connection, as a table. No transition is decided anywhere else.

    reserved --arm--> armed --admit--> live --end--> closed
        |               |               |  ^
        +--withdraw-----+--timeout      |  +--admit (UDP: the one source comes back)
        +--kill---------+--kill---------+

*Withdraw* is the gentle end (the control connection closed, a second PORT came): no new flow gets
in, a transfer under way may finish (attack F22). *Kill* is the hard end: it resets what runs.
"""

from enum import StrEnum
from typing import Final

from sallyport.errors import Terminating


class State(StrEnum):
    """Where a secondary connection is in its life."""

    RESERVED = "reserved"
    """The port is held; nothing can connect."""
    ARMED = "armed"
    """The pinhole is open; with ALLOW_MULTIPLE it stays so while flows come and go."""
    LIVE = "live"
    """No new peer gets in. TCP: an admitted flow is running. UDP: the pinhole belongs to one
    source, which may fall silent and come back as long as the binding lives."""
    CLOSED = "closed"
    """The pinhole is gone and no flow runs."""


class Step(StrEnum):
    """What can happen to a secondary connection."""

    ARM = "arm"
    ADMIT = "admit"
    END = "end"
    WITHDRAW = "withdraw"
    TIMEOUT = "timeout"
    KILL = "kill"


# In Python 3.11 `State.ARMED` costs more than a function call, and one transfer uses some twenty
# members. A module's global costs a dictionary look-up.
RESERVED, ARMED, LIVE, CLOSED = State
ARM, ADMIT, END, WITHDRAW, TIMEOUT, KILL = Step

TRANSITIONS: Final[dict[State, dict[Step, State]]] = {
    RESERVED: {
        ARM: ARMED,
        WITHDRAW: CLOSED,
        TIMEOUT: CLOSED,
        KILL: CLOSED,
    },
    ARMED: {
        ADMIT: LIVE,
        WITHDRAW: CLOSED,
        TIMEOUT: CLOSED,
        KILL: CLOSED,
    },
    LIVE: {
        # The time limit is about accepting (SDK: "nothing was accepted for about a minute").
        TIMEOUT: LIVE,
        WITHDRAW: LIVE,
        ADMIT: LIVE,
        END: CLOSED,
        KILL: CLOSED,
    },
    CLOSED: {
        # To end it twice is harmless, so callers need not check first.
        WITHDRAW: CLOSED,
        TIMEOUT: CLOSED,
        KILL: CLOSED,
    },
}


def after(state: State, step: Step) -> State:
    """Return the state after `step`; raises Terminating when the table has no such transition."""
    try:
        return TRANSITIONS[state][step]
    except KeyError:
        raise Terminating("not-in-this-state") from None
