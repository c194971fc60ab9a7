"""Every reason code: what happened, what it means for the user, and what to do about it.

A code stands in errors, log records, refusals and ends of connections. It is a promise: a code
keeps its meaning, and a new meaning gets a new code. The text of a refusal in the log, in the
answers of the command line and in the documentation comes from here and from nowhere else.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sallyport.reasons import calls, endings, operation, peers, policy, resources, signalling
from sallyport.reasons.reason import Group, Reason

__all__ = ["REASONS", "Group", "Reason", "nearest"]


def _registered() -> Mapping[str, Reason]:
    registered: dict[str, Reason] = {}
    for module in (policy, resources, peers, signalling, endings, calls, operation):
        for reason in module.REASONS:
            if reason.code in registered:
                raise ValueError(f"the reason {reason.code!r} is registered twice")
            registered[reason.code] = reason
    return MappingProxyType(registered)


REASONS: Final = _registered()
"""Each reason by its code, in the order of the groups."""


def nearest(code: str) -> list[str]:
    """Return up to three registered codes that resemble `code`, the most similar first."""
    # 0.5: "client-port-to-low" finds its code; words that share a few letters are not guessed.
    return difflib.get_close_matches(code, REASONS, n=3, cutoff=0.5)
