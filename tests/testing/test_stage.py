"""What a play sees, beyond what the contract's own tests show."""

from dataclasses import replace

from tests.testing.knock import CONVERSATION, Careful, Knock, WaitsForEver

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.testing.conversation import (
    client_closes,
    client_says,
    peer_connects,
    server_says,
)
from sallyport.testing.dialogue import policy_for
from sallyport.testing.stage import Case, Play, Stage

ASK = client_says(b"OPEN 5000\n", asks=True, binds=1)


def stage(kind: type[Careful] = Careful) -> Stage:
    return Stage(Case(lambda: Knock(kind), CONVERSATION, 4, policy_for([Knock()])))


def test_an_outcome_is_all_that_can_be_seen() -> None:
    outcome = Play(stage()).run((ASK, server_says(b"thanks\n"), client_closes())).outcome()

    assert outcome.client_heard == b"thanks\n"
    assert outcome.server_heard == b"OPEN 40271\n"
    assert outcome.sent == ()
    assert outcome.pinholes == ("203.0.113.1:40271 -> 10.0.0.8:5000 from 203.0.113.9",)
    assert outcome.binds == ("bind 203.0.113.1:40271 -> 10.0.0.8:5000 from 203.0.113.9",)
    assert outcome.end == "open [] [False, True]"


def test_outcomes_that_differ_say_in_what() -> None:
    outcome = Play(stage()).run((ASK,)).outcome()

    assert outcome.difference(outcome) is None
    assert outcome.difference(replace(outcome, sent=("x",))) == "sent: (), not ('x',)"


def test_leftovers_are_named_most_visible_first() -> None:
    play = Play(stage()).run((ASK,))
    assert play.stage.leftovers() == (
        "still open: 203.0.113.1:40271 -> 10.0.0.8:5000 from 203.0.113.9"
    )

    play.do(peer_connects())
    assert play.stage.leftovers() == "sessions are left: 10.0.0.8"

    play.connection.kill()
    assert play.stage.leftovers() is None

    play.stage.paths[0].reserved.add((Transport.TCP, Endpoint.parse("203.0.113.1:40271")))
    assert play.stage.leftovers() == "ports are left reserved"


def test_a_filter_that_was_detached_twice_or_never_is_named() -> None:
    play = Play(stage())
    assert play.wrongly_detached() == "Careful was detached 0 times"

    play.connection.kill()
    assert play.wrongly_detached() is None

    play.stage.roster.detached *= 2
    assert play.wrongly_detached() == "Careful was detached 2 times"


def test_who_waits_for_ever_is_given_up_as_the_gateway_would() -> None:
    play = Play(stage(WaitsForEver)).run((server_says(b"x"), server_says(b"y")))

    assert play.stage.hangs
    assert not play.connection.is_open
    assert play.stage.leftovers() is None


def test_nothing_more_is_said_by_who_has_closed_or_is_gone() -> None:
    play = Play(stage()).run((client_closes(), client_says(b"late\n")))
    assert play.outcome().server_heard == b""

    play.connection.kill()
    play.run((server_says(b"late"), client_closes()))
    assert play.outcome().client_heard == b""
