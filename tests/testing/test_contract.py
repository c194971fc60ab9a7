"""The contract finds planted bugs, each by the promise it breaks, and nothing in a good filter."""

from functools import partial

import pytest
from tests.testing import knock, scanner
from tests.testing.knock import CONVERSATION, Careful, Knock

from sallyport.api import DataFilter
from sallyport.testing import (
    ContractBroken,
    Conversation,
    check_filter,
    client_says,
    contract_checks,
    make_policy,
    peer_connects,
    peer_finishes,
    server_says,
)
from sallyport.testing.contract import Check
from sallyport.testing.promises import PROMISES

# As little as it takes to find the planted bugs.
SHORT = Conversation(
    "short",
    [
        server_says(b"hi\n", passes=True),
        client_says(b"bye\n", passes=True),
        client_says(b"OPEN 5000\n", asks=True, binds=1),
        server_says(b"ok\n", passes=True),
        peer_connects(),
        peer_finishes(),
    ],
)

PLANTED: dict[type[Careful], set[str]] = {
    knock.KeepsAReference: {"nothing_lives_after_detach"},
    knock.KeepsAReferenceToItsSession: {"nothing_lives_after_detach"},
    knock.SwallowsTheLastByteOfASegment: {"unrelated_bytes_pass_unchanged", "cuts_change_nothing"},
    knock.LosesWhatComesInOneByte: {"cuts_change_nothing"},
    knock.ForgetsTheBegunLine: {"cuts_change_nothing"},
    knock.InventsABlank: {"unrelated_bytes_pass_unchanged"},
    knock.BindsWhenTheClientConnects: {"nothing_is_bound_unasked", "arbitrary_bytes_do_no_harm"},
    knock.BindsWhenTheServerSpeaks: {"nothing_is_bound_unasked", "arbitrary_bytes_do_no_harm"},
    knock.BindsBeforeTheLineIsComplete: {"nothing_is_bound_unasked", "cuts_change_nothing"},
    knock.BindsTwice: {"an_ask_binds_as_often_as_told"},
    knock.RaisesOnNul: {"arbitrary_bytes_do_no_harm"},
    knock.LeavesItOpen: {
        "arbitrary_bytes_do_no_harm",
        "each_side_may_vanish_at_any_step",
        "a_data_path_may_be_slow",
        "silence_leaves_nothing",
    },
    knock.KeepsTheEndToItself: {"each_side_may_vanish_at_any_step"},
    knock.LetsARefusalThrough: {"refused_binds_leave_nothing", "a_data_path_may_fail"},
    knock.DoesNotWait: {"a_data_path_may_be_slow"},
    knock.TripsOverItsDeadline: {"silence_leaves_nothing"},
    knock.MixesUpSessions: {"clients_are_kept_apart"},
    knock.SendsAfterDetach: {"nothing_is_sent_after_detach"},
}


def failing(checks: list[tuple[str, Check]], promise: str = "") -> list[ContractBroken]:
    """Return what the checks of one promise, or of all, say that find something."""
    found = []
    for name, check in checks:
        if name.startswith(promise):
            try:
                check()
            except ContractBroken as broken:
                found.append(broken)
    return found


def broken_by(kind: type[Careful], promise: str = "") -> list[ContractBroken]:
    found = failing(contract_checks(partial(Knock, kind), [SHORT]), promise)
    knock.HOARD.clear()
    return found


@pytest.mark.parametrize(("name", "check"), contract_checks(Knock, [CONVERSATION]))
def test_a_careful_filter_keeps_every_promise(name: str, check: Check) -> None:
    assert name.endswith(("one port, IPv4", "one port, IPv6"))

    check()


@pytest.mark.parametrize(
    ("kind", "promises"), PLANTED.items(), ids=[kind.__name__ for kind in PLANTED]
)
def test_a_planted_bug_is_found_by_exactly_the_promises_it_breaks(
    kind: type[Careful], promises: set[str]
) -> None:
    assert {broken.promise for broken in broken_by(kind)} == promises


@pytest.mark.parametrize(
    ("kind", "promises"),
    [
        (scanner.Passes, set()),
        (scanner.DropsShortSegments, {"cuts_change_nothing"}),
        (
            scanner.HoldsTheEndBack,
            {
                "each_side_may_vanish_at_any_step",
                "arbitrary_bytes_do_no_harm",
                "a_data_path_may_be_slow",
                "a_data_path_may_fail",
                "silence_leaves_nothing",
            },
        ),
        (scanner.FearsLineFeeds, {"arbitrary_bytes_do_no_harm"}),
        (scanner.SpeaksToTheGone, {"nothing_is_sent_after_detach"}),
    ],
)
def test_a_filter_of_transfers_is_checked_beside_the_one_that_makes_them(
    kind: type[DataFilter], promises: set[str]
) -> None:
    checks = contract_checks(partial(scanner.Scanner, kind), [scanner.CARRIED], others=[Knock])

    assert {broken.promise for broken in failing(checks)} == promises


def test_every_promise_can_be_broken() -> None:
    assert set.union(*PLANTED.values()) == {promise.__name__ for promise in PROMISES}


def test_a_filter_that_waits_for_ever_is_found_and_the_check_ends() -> None:
    (broken,) = broken_by(knock.WaitsForEver, "arbitrary_bytes_do_no_harm")

    assert broken.found == "it waits for something that never comes"
    assert len(broken.script) == 1


def test_what_is_reported_names_promise_and_conversation_and_the_smallest_input() -> None:
    (broken,) = broken_by(knock.RaisesOnNul, "arbitrary_bytes_do_no_harm")

    assert str(broken) == (
        "arbitrary_bytes_do_no_harm (short): it raised ValueError('NUL'), when\n"
        "  client says b'\\x00'"
    )
    assert broken.conversation == "short"
    assert [str(step) for step in broken.script] == ["client says b'\\x00'"]


def test_the_smallest_cut_is_two_bytes() -> None:
    (broken,) = broken_by(knock.LosesWhatComesInOneByte, "cuts_change_nothing")

    assert [str(step) for step in broken.script] == ["server says b'k'", "server says b'\\n'"]
    assert broken.found == "client heard: b'', not b'k\\n'"


def test_a_conversation_is_shown_up_to_the_step_that_went_wrong() -> None:
    (broken,) = broken_by(knock.BindsTwice, "an_ask_binds_as_often_as_told")

    assert broken.script == SHORT.script[:3]


def test_what_is_wrong_without_a_word_is_said_to_be_so() -> None:
    (broken,) = broken_by(knock.BindsWhenTheClientConnects, "nothing_is_bound_unasked")

    assert str(broken) == (
        "nothing_is_bound_unasked (short): it made a bind 203.0.113.1:40271 -> 10.0.0.8:6000 "
        "from 203.0.113.9 when the client connected, when\n  nothing is said"
    )


def test_the_first_broken_promise_ends_the_check() -> None:
    with pytest.raises(ContractBroken, match=r"^unrelated_bytes_pass_unchanged"):
        check_filter(partial(Knock, knock.SwallowsTheLastByteOfASegment), [SHORT])


def test_a_conversation_that_says_more_binds_than_there_are_is_wrong_itself() -> None:
    quiet = Conversation("quiet", [client_says(b"hello\n", asks=True, binds=1)])

    with pytest.raises(ContractBroken, match="it made nothing, when\n  client says b'hello"):
        check_filter(Knock, [quiet])


def test_a_policy_may_be_given() -> None:
    policy = make_policy(protocols=frozenset({"knock"}), max_bindings_per_client=0)
    refused = Conversation(
        "refused", [client_says(b"OPEN 5000\n", asks=True), server_says(b"hello\n", passes=True)]
    )

    check_filter(Knock, [refused], policy=policy)
