"""What every filter promises, each promise a function of its own.

A promise yields the scripts to try, each with a function that returns what is wrong with a run of
it, or None.
"""

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

from sallyport import limits
from sallyport.core.model.filter import DataFilter, SessionFilter
from sallyport.testing.conversation import (
    Says,
    Script,
    Side,
    Step,
    coalesced,
    cut,
    cut_to_bytes,
    unasked,
)
from sallyport.testing.endings import (
    DATAGRAM_ENDINGS,
    STREAM_ENDINGS,
    Ending,
    name_of,
    the_client_resets,
    the_session_is_killed,
    trouble_after,
)
from sallyport.testing.faulty import BIND_FAILURES, PATH_FAILURES, Failure
from sallyport.testing.noise import mutants, noise
from sallyport.testing.stage import LONG, Case, Play, PlayOutcome, Stage

Wrong = Callable[[Script], str | None]


@dataclass(frozen=True, slots=True)
class Trial:
    """One script to try; `wrong` returns what is wrong with a run of it, or None."""

    script: Script
    wrong: Wrong
    is_reducible: bool = True
    """Whether `wrong` is also meaningful for the script with parts removed."""


Trials = Iterator[Trial]
Promise = Callable[[Case], Trials]

_OTHER_CLIENT = {4: "10.0.0.9:50000", 6: "[fd00:a::9]:50000"}
_OTHER_OUTSIDE = {4: "203.0.113.10:50000", 6: "[2001:db8::10]:50000"}


# Which side receives what another side says, when the filter passes it on.
_LISTENERS = {
    Side.CLIENT: Side.SERVER,
    Side.SERVER: Side.CLIENT,
    Side.PEER: Side.PROTECTED,
    Side.PROTECTED: Side.PEER,
}


# -- a good conversation--------------------------------------------------------------------------


def unrelated_bytes_pass_unchanged(case: Case) -> Trials:
    """Bytes marked `passes` come out at the other side, exactly."""

    def wrong(script: Script) -> str | None:
        play = Play(Stage(case))
        for step in script:
            before = play.outcome()
            play.do(step)
            if isinstance(step, Says) and step.passes:
                heard = play.outcome().news_since(before)
                if heard != dict.fromkeys(Side, b"") | {_LISTENERS[step.side]: step.data}:
                    said = ", ".join(f"{side} hears {data!r}" for side, data in heard.items())
                    return f"after {step} {said}"
        return None

    for script in _beginnings(case):
        yield Trial(script, wrong, is_reducible=False)


def an_ask_binds_as_often_as_told(case: Case) -> Trials:
    """A step with `binds` makes exactly so many binds."""

    def wrong(script: Script) -> str | None:
        return _miscounted(case, script, is_binding=True)

    for script in _beginnings(case):
        yield Trial(script, wrong, is_reducible=False)


def nothing_is_bound_unasked(case: Case) -> Trials:
    """Nothing is bound by connecting, nor by a step that does not ask.

    Nor when the requests are left out, when one side is silent, or before a request is complete."""

    def wrong(script: Script) -> str | None:
        return _miscounted(case, script, is_binding=False)

    for script in _beginnings(case):
        yield Trial(script, wrong, is_reducible=False)
    script = case.conversation.script
    quiet = unasked(script)
    yield Trial(quiet, wrong)
    for side in Side:
        yield Trial(tuple(one for one in quiet if _is_of(one, side)), wrong)
    for index, step in enumerate(script):
        if isinstance(step, Says) and step.asks and not Stage(case).is_udp:
            unfinished = replace(step, data=step.data[:-1], binds=0)
            yield Trial((*script[:index], unfinished), wrong, is_reducible=False)


def cuts_change_nothing(case: Case) -> Trials:
    """Where the network cuts a stream has no effect: at any place, at all places, or nowhere."""

    @cache  # All cuts of one script are compared with one uncut run.
    def whole(script: Script) -> PlayOutcome:
        return Play(Stage(case)).run(script).outcome()

    def wrong(script: Script) -> str | None:
        return Play(Stage(case)).run(script).outcome().difference(whole(coalesced(script)))

    if Stage(case).is_udp:
        return
    script = case.conversation.script
    yield Trial(script, wrong)
    yield Trial(cut_to_bytes(script), wrong)
    for index, step in enumerate(script):
        if isinstance(step, Says) and not step.is_whole:
            for at in range(1, len(step.data)):
                yield Trial(cut(script, index, at), wrong)


# -- bad conversations ----------------------------------------------------------------------------


def arbitrary_bytes_do_no_harm(case: Case) -> Trials:
    """Whatever bytes arrive, the filter neither raises nor waits for ever.

    It binds nothing without a request and leaves nothing open."""

    def wrong(script: Script) -> str | None:
        play = Play(Stage(case)).run(script)
        is_asked = any(isinstance(step, Says) and step.asks for step in script)
        if play.stage.binder.made and not is_asked:
            return f"it made a {play.stage.binder.made[0]}"
        the_client_resets(play)
        return trouble_after(play)

    script = case.conversation.script
    quiet = unasked(script)
    carried = noise(script, Side.PEER, Side.PROTECTED) if _has_transfer(script) else ()
    for said in (*noise(()), *noise(quiet), *carried, *mutants(quiet), *mutants(script)):
        yield Trial(said, wrong)


def each_side_may_vanish_at_any_step(case: Case) -> Trials:
    """After every step a side may reset or close, or an operator may kill the session.

    Then what was opened is withdrawn, the session ends, every filter is detached once."""
    script = case.conversation.script
    for ending in DATAGRAM_ENDINGS if Stage(case).is_udp else STREAM_ENDINGS:

        def wrong(script: Script, ending: Ending = ending) -> str | None:
            play = Play(Stage(case)).run(script)
            ending(play)
            if play.connection.is_open:
                # A filter may wait for a transfer that is running, or that may still begin.
                play.stage.finish_flows()
                play.dialogue.time_passes(limits.ACCEPT_TIMEOUT_SECONDS)
                play.stage.settle()
            if play.connection.is_open:
                return f"the connection goes on after {name_of(ending)}"
            trouble = trouble_after(play)
            return trouble and f"{trouble}, after {name_of(ending)}"

        for script in _beginnings(case):
            yield Trial(script, wrong)


# -- a bad gateway --------------------------------------------------------------------------------


def refused_binds_leave_nothing(case: Case) -> Trials:
    """Any bind may be refused, for any reason: the filter neither raises nor leaves a pinhole."""
    script = case.conversation.script
    calls = Play(Stage(case)).run(script).stage.binder.calls

    def wrong(script: Script, number: int, failure: Failure) -> str | None:
        stage = Stage(case)
        stage.binder.fails_at, stage.binder.failure = number, failure()
        play = Play(stage).run(script)
        the_client_resets(play)
        return trouble_after(play)

    for number in range(calls):
        for failure in BIND_FAILURES:
            yield Trial(script, partial(wrong, number=number, failure=failure))


def a_data_path_may_fail(case: Case) -> Trials:
    """Whenever the data path fails, the filter neither raises nor leaves a pinhole."""
    script = case.conversation.script

    def wrong(script: Script, at: int, failure: Failure) -> str | None:
        play = Play(Stage(case)).run(script[:at])
        for path in play.stage.paths:
            path.fail_next = failure()
        play.run(script[at:])
        the_client_resets(play)
        return trouble_after(play)

    for at in range(len(script)):
        for failure in PATH_FAILURES:
            yield Trial(script, partial(wrong, at=at, failure=failure))


def a_data_path_may_be_slow(case: Case) -> Trials:
    """Waiting changes no result; a side that ends the connection meanwhile leaves nothing open."""
    script = case.conversation.script

    def slow_play() -> Play:
        stage = Stage(case)
        for path in stage.paths:
            path.is_slow = True
        return Play(stage)

    def differs(script: Script) -> str | None:
        quick = Play(Stage(case)).run(script).outcome()
        return slow_play().run(script).outcome().difference(quick)

    def wrong(script: Script, ending: Ending) -> str | None:
        play = slow_play().run(script[:-1])
        play.do(script[-1], settles=False)
        ending(play)
        trouble = trouble_after(play)
        return trouble and f"{trouble}, after {name_of(ending)} while it waits"

    yield Trial(script, differs)
    for at, step in enumerate(script, start=1):
        if isinstance(step, Says):
            for ending in (the_client_resets, the_session_is_killed):
                yield Trial(script[:at], partial(wrong, ending=ending), is_reducible=False)


def silence_leaves_nothing(case: Case) -> Trials:
    """After every step both sides may fall silent, for longer than any limit."""

    def wrong(script: Script) -> str | None:
        play = Play(Stage(case)).run(script)
        play.dialogue.time_passes(LONG)
        play.stage.settle()
        the_client_resets(play)
        return trouble_after(play)

    for script in _beginnings(case):
        yield Trial(script, wrong)


# -- what others may expect -----------------------------------------------------------------------


def clients_are_kept_apart(case: Case) -> Trials:
    """With another client beside it, each client receives what it would receive alone."""
    others = _OTHER_CLIENT if case.conversation.published is None else _OTHER_OUTSIDE
    client = others[case.version]

    def wrong(script: Script) -> str | None:
        quiet = _unbinding(script)
        alone, other_alone = Play(Stage(case)), Play(Stage(case), client=client).run(quiet)
        stage = Stage(case)
        beside, other = Play(stage), Play(stage, client=client)
        for step in script:
            wanted, found = _effect(alone, step), _effect(beside, step)
            if found != wanted:
                return f"beside another client, {step} had another effect: {found}, not {wanted}"
            other.run(_unbinding((step,)))
        found, wanted = (str(one.outcome().client_heard) for one in (other, other_alone))
        return None if found == wanted else f"another client beside it heard {found}, not {wanted}"

    yield Trial(case.conversation.script, wrong)


def nothing_lives_after_detach(case: Case) -> Trials:
    """After a session has ended, no object of its filters is referenced any more."""

    def wrong(script: Script) -> str | None:
        # Nothing gets older meanwhile: then the youngest generation is all there is to look at. A
        # look at everything would take a hundred times as long in a large test suite.
        was_enabled = gc.isenabled()
        gc.disable()
        stage = Stage(case)
        gone = _play_and_forget(stage, script)
        gc.collect(0)
        if was_enabled:
            gc.enable()
        alive = [type(one).__name__ for one in (ref() for ref in gone) if one is not None]
        return f"still referenced: {', '.join(alive)}" if alive else None

    yield Trial(case.conversation.script, wrong)


def nothing_is_sent_after_detach(case: Case) -> Trials:
    """A filter sends nothing to the ends of a flow that has ended."""

    def wrong(script: Script) -> str | None:
        play = Play(Stage(case)).run(script)
        the_client_resets(play)
        play.stage.leftovers()
        play.dialogue.time_passes(LONG)
        late = [data for end in play.ends() for data in end.late]
        return f"it sent {late[0]!r} when everything was over" if late else None

    for script in _beginnings(case):
        yield Trial(script, wrong)


PROMISES: tuple[Promise, ...] = (
    unrelated_bytes_pass_unchanged,
    an_ask_binds_as_often_as_told,
    nothing_is_bound_unasked,
    cuts_change_nothing,
    arbitrary_bytes_do_no_harm,
    each_side_may_vanish_at_any_step,
    refused_binds_leave_nothing,
    a_data_path_may_fail,
    a_data_path_may_be_slow,
    silence_leaves_nothing,
    clients_are_kept_apart,
    nothing_lives_after_detach,
    nothing_is_sent_after_detach,
)
"""All promises, in the order in which they are checked."""


# -- inside ---------------------------------------------------------------------------------------


def _beginnings(case: Case) -> Iterator[Script]:
    """Return the conversation broken off after every step, the shortest first."""
    script = case.conversation.script
    return (script[:length] for length in range(len(script) + 1))


def _miscounted(case: Case, script: Script, *, is_binding: bool) -> str | None:
    """Return which step binds more or less often than `binds` says; None when each keeps to it.

    `is_binding`: of the steps that bind; otherwise of those that do not."""
    stage = Stage(case)
    play = Play(stage)
    if stage.binder.made and not is_binding:
        return f"it made a {stage.binder.made[0]} when the client connected"
    for step in script:
        before = len(stage.binder.made)
        play.do(step)
        made = stage.binder.made[before:]
        wanted = step.binds if isinstance(step, Says) else 0
        if (wanted > 0) is is_binding and len(made) != wanted:
            return f"after {step} it made {made or 'nothing'}"
    return None


def _unbinding(script: Script) -> Script:
    """Return the steps that another client may take without changing a port of the first."""
    return tuple(one for one in unasked(script) if one in script)


def _has_transfer(script: Script) -> bool:
    return any(isinstance(step, Says) and not step.side.is_of_control for step in script)


def _is_of(step: object, side: Side) -> bool:
    return isinstance(step, Says) and step.side is side


def _effect(play: Play, step: Step) -> str:
    """Return the effect of a step without its ports, which are drawn at random."""
    made, before = len(play.stage.binder.made), play.outcome()
    play.do(step)
    after = play.outcome()
    is_exact = isinstance(step, Says) and step.passes
    heard = [
        f"{side} hears {data if is_exact else 'something'!r}"
        for side, data in after.news_since(before).items()
        if data
    ]
    binds, sent = len(play.stage.binder.made) - made, len(after.sent) - len(before.sent)
    return ", ".join([*heard, f"{sent} datagrams sent", f"{binds} binds", after.end])


def _play_and_forget(
    stage: Stage, script: Script
) -> list["weakref.ref[DataFilter | SessionFilter]"]:
    """Play to the end; return references to what should be gone then. Only the gateway stays."""
    play = Play(stage).run(script)
    the_client_resets(play)
    stage.leftovers()
    stage.roster.detached.clear()
    return [weakref.ref(one) for one in play.attached.values()]
