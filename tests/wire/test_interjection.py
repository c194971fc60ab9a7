from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire.interjection import Interjector


def test_between_two_lines_a_line_goes_in_at_once() -> None:
    stream = Interjector()

    assert stream.insert(b"first\n") == b"first\n"
    assert stream.carry(b"theirs\n") == b"theirs\n"
    assert stream.insert(b"second\n") == b"second\n"


def test_inside_a_line_it_waits_for_the_end_of_that_one() -> None:
    stream = Interjector()

    assert stream.carry(b"the") == b"the"
    assert stream.insert(b"1\n") == b""
    assert stream.insert(b"2\n") == b""
    assert stream.carry(b"irs\nnext") == b"irs\n1\n2\nnext"
    assert stream.insert(b"3\n") == b""
    assert stream.carry(b"\n") == b"\n3\n"


def test_nothing_carried_changes_nothing() -> None:
    stream = Interjector()
    stream.carry(b"the")

    assert stream.carry(b"") == b""
    assert stream.insert(b"1\n") == b""


def test_nothing_carried_after_a_line_leaves_it_ended() -> None:
    stream = Interjector()
    stream.carry(b"theirs\n")
    stream.carry(b"")

    assert stream.insert(b"1\n") == b"1\n"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([b"a", b"a\n", b"\na", b"", b"\n\n"]))))
def test_the_stream_itself_is_never_changed(steps: list[tuple[bool, bytes]]) -> None:
    stream, sent, theirs = Interjector(), b"", b""
    for is_ours, data in steps:
        sent += stream.insert(b"OURS\n") if is_ours else stream.carry(data)
        theirs += b"" if is_ours else data

    assert sent.replace(b"OURS\n", b"") == theirs
    assert all(line == b"OURS" for line in sent.split(b"\n") if b"OURS" in line)
