"""The contract of a filter: what it must keep to, whatever protocol it speaks.

`check_filter(FtpFilter, conversations)` tries every promise of
`sallyport.testing.promises` on a filter. The conversations are examples of its protocol.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sallyport.core.policy.rules import Policy
from sallyport.testing.conversation import Conversation, Says, Script
from sallyport.testing.dialogue import policy_for
from sallyport.testing.promises import PROMISES, Promise, Wrong
from sallyport.testing.stage import Case, Make

Check = Callable[[], None]

# How many runs the search for a smaller script may take: a fraction of a second.
MAX_SEARCH = 500


class ContractBroken(AssertionError):
    """A filter broke a promise.

    `promise` is the name of the promise, `conversation` the example that was played, `script` the
    smallest input that shows the fault, `found` what was observed.
    """

    def __init__(self, promise: str, conversation: str, script: Script, found: str) -> None:
        steps = "".join(f"\n  {step}" for step in script) or "\n  nothing is said"
        super().__init__(f"{promise} ({conversation}): {found}, when{steps}")
        self.promise = promise
        self.conversation = conversation
        self.script = script
        self.found = found


def check_filter(
    make: Make,
    conversations: Sequence[Conversation],
    *,
    policy: Policy | None = None,
    others: Sequence[Make] = (),
) -> None:
    """Check every promise with every conversation; raise ContractBroken at the first broken one.

    `make` builds a new filter at each call; `others` build more filters for the same gateway. The
    conversations speak the first protocol of the first filter that has a protocol. `policy`
    replaces the default policy, which allows the protocols of all these filters from inside to
    outside.
    """
    for _, check in contract_checks(make, conversations, policy=policy, others=others):
        check()


def contract_checks(
    make: Make,
    conversations: Sequence[Conversation],
    *,
    policy: Policy | None = None,
    others: Sequence[Make] = (),
) -> list[tuple[str, Check]]:
    """Return the checks of `check_filter` one by one, with names, for `pytest.mark.parametrize`."""
    policy = policy or policy_for([each() for each in (make, *others)])
    return [
        (
            f"{promise.__name__}: {conversation.name}, IPv{version}",
            partial(_check, promise, Case(make, conversation, version, policy, tuple(others))),
        )
        for promise in PROMISES
        for conversation in conversations
        for version in conversation.versions
    ]


def _check(promise: Promise, case: Case) -> None:
    for trial in promise(case):
        if (found := trial.wrong(trial.script)) is not None:
            failing = _Failing(trial.script, found, trial.wrong)
            if trial.is_reducible:
                failing.reduce()
            name = case.conversation.name
            raise ContractBroken(promise.__name__, name, failing.script, failing.found)


class _Failing:
    """A script that shows a fault, and is made smaller."""

    def __init__(self, script: Script, found: str, wrong: Wrong) -> None:
        self.script = script
        self.found = found
        self._wrong = wrong
        self._budget = MAX_SEARCH

    def reduce(self) -> None:
        """Remove steps, then bytes, as long as the script still shows a fault."""
        index = 0
        while index < len(self.script):
            if not self._still_fails((*self.script[:index], *self.script[index + 1 :])):
                index += 1
        for index, step in enumerate(self.script):
            if isinstance(step, Says):
                self._shorten(index, step)

    def _shorten(self, index: int, step: Says) -> None:
        """Remove halves of what a side says, then quarters, … then bytes; never all of it."""
        size = len(step.data) // 2
        while size:
            at = 0
            while at < len(step.data) > size:
                shorter = replace(step, data=step.data[:at] + step.data[at + size :])
                if self._still_fails((*self.script[:index], shorter, *self.script[index + 1 :])):
                    step = shorter
                else:
                    at += size
            size //= 2

    def _still_fails(self, script: Script) -> bool:
        if not self._budget:
            return False
        self._budget -= 1
        found = self._wrong(script)
        if found is None:
            return False
        self.script, self.found = script, found
        return True
