from sallyport.testing.conversation import Says, Side, client_says, server_closes, server_says
from sallyport.testing.noise import MAX_SEGMENT, MAX_SEGMENTS, NOISES, mutants, noise

SCRIPT = (server_says(b"hello"), client_says(b"ask", asks=True), server_closes())


def test_noise_is_the_same_at_every_run_and_bounded() -> None:
    first = list(noise(()))

    assert first == list(noise(()))
    assert len(first) == NOISES
    assert all(0 < len(script) <= MAX_SEGMENTS for script in first)
    said = [step.data for script in first for step in script if isinstance(step, Says)]
    assert all(0 < len(data) <= MAX_SEGMENT for data in said)
    assert {byte for data in said for byte in data} == set(range(256))


def test_noise_comes_somewhere_in_a_conversation_or_after_it() -> None:
    begun = {
        next(n for n in range(len(SCRIPT), -1, -1) if script[:n] == SCRIPT[:n])
        for script in noise(SCRIPT)
    }

    assert begun == {0, 1, 2, 3}


def test_noise_comes_from_both_sides_that_are_named() -> None:
    sides = {
        step.side
        for script in noise((), Side.PEER, Side.PROTECTED)
        for step in script
        if isinstance(step, Says)
    }

    assert sides == {Side.PEER, Side.PROTECTED}


def test_a_mutant_differs_in_one_thing() -> None:
    changed = list(mutants(SCRIPT))

    assert changed == list(mutants(SCRIPT))
    assert (*SCRIPT[:1], *SCRIPT) in changed
    assert SCRIPT[1:] in changed
    for special in (b"\0", b"\r", b"\n", b"\xff"):
        for data in (special + b"ask", b"ask" + special):
            assert (SCRIPT[0], client_says(data, asks=True), SCRIPT[2]) in changed
    assert all(script != SCRIPT for script in changed)


def test_a_single_byte_is_not_left_out() -> None:
    assert b"" not in [
        step.data
        for script in mutants((client_says(b"x"),))
        for step in script
        if isinstance(step, Says)
    ]
