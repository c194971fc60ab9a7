import pytest

from sallyport.testing.conversation import (
    Conversation,
    client_closes,
    client_says,
    coalesced,
    cut,
    cut_to_bytes,
    peer_connects,
    peer_finishes,
    peer_is_sent,
    peer_sends,
    server_closes,
    server_says,
    unasked,
)


def test_what_one_side_says_in_a_row_is_coalesced_with_what_it_means() -> None:
    script = (
        client_says(b"a", asks=True, binds=1),
        client_says(b"b", binds=2, passes=True),
        server_says(b"c"),
        client_says(b"d"),
        client_closes(),
        client_says(b"e"),
    )

    assert coalesced(script) == (
        client_says(b"ab", asks=True, binds=3),
        server_says(b"c"),
        client_says(b"d"),
        client_closes(),
        client_says(b"e"),
    )


def test_a_cut_leaves_the_bytes_as_they_are() -> None:
    script = (server_says(b"abc"), client_says(b"def", asks=True), server_closes())

    assert cut(script, 1, 1) == (
        server_says(b"abc"),
        client_says(b"d", asks=True),
        client_says(b"ef", asks=True),
        server_closes(),
    )
    assert coalesced(cut(script, 1, 1)) == coalesced(script)
    assert [str(step) for step in cut_to_bytes(script)] == [
        "server says b'a'",
        "server says b'b'",
        "server says b'c'",
        "client says b'd'",
        "client says b'e'",
        "client says b'f'",
        "server closes",
    ]


def test_a_datagram_of_a_transfer_stays_whole() -> None:
    script = (peer_sends(b"ab", is_datagram=True), peer_sends(b"cd", is_datagram=True))

    assert coalesced(script) == cut_to_bytes(script) == script


def test_when_nobody_asks_nothing_is_bound_and_nobody_connects() -> None:
    script = (
        client_says(b"PASV", asks=True),
        server_says(b"227", binds=1),
        peer_connects(),
        peer_sends(b"data"),
        peer_is_sent(b"thanks"),
        peer_finishes(),
        server_closes(),
    )

    assert unasked(script) == (server_says(b"227"), server_closes())


def test_every_step_can_be_read() -> None:
    steps = [
        client_says(b"x"),
        server_closes(),
        peer_connects(),
        peer_sends(b"y"),
        peer_is_sent(b"z"),
        peer_finishes(),
    ]

    assert [str(step) for step in steps] == [
        "client says b'x'",
        "server closes",
        "a peer connects",
        "peer says b'y'",
        "protected host says b'z'",
        "the peer finishes",
    ]


def test_a_conversation_that_binds_says_who_asks() -> None:
    with pytest.raises(ValueError, match="one: it binds, so mark the step that asks"):
        Conversation("one", [server_says(b"x", binds=1)])
