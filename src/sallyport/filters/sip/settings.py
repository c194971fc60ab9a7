"""The keys of `[filters.sip]`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SipSettings:
    """The keys of `[filters.sip]`."""

    media_peers: Literal["answered", "signalling"] = "answered"
    """From which host media may come: the one that the far side names in its session description,
    where the rules let the telephone reach it, or the SIP server alone."""
    ice: Literal["alone", "default-candidate"] = "alone"
    """What becomes of a description with ICE candidates: both ends find a way themselves, and
    nothing is changed or opened; or the addresses outside the candidates are told as those of the
    gateway, for telephones whose far side has no ICE."""
    max_registration: int = 3600
    """Seconds for which a registration keeps the way to the telephone open; longer ones are kept as
    long as this, and telephones renew them before (attack P02)."""
