"""Messages of the local API: each reads back as it was written."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire import api
from sallyport.wire.api import (
    AnyApiRequest,
    ApiAnswer,
    ApiArm,
    ApiBind,
    ApiBinding,
    ApiEvent,
    ApiFault,
    ApiPort,
    ApiSend,
    Lines,
)

PORT = ApiPort(
    proxy_address="203.0.113.1:40000", client_address=None, data_path="kernel", state="armed"
)
BOUND = ApiBinding(
    binding="w1.b1",
    proxy_address="203.0.113.1:40000",
    state="armed",
    expires_in=None,
    rule="office",
    connections=[PORT],
)


@pytest.mark.parametrize(
    "request_",
    [
        ApiBind(id=1, client_addresses=["10.0.0.8:80"], transport="tcp", protocol="port-mapping"),
        ApiArm(id=2, binding="w1.b1"),
        ApiSend(id=3, binding="w1.b1", peer="203.0.113.9:53", data=b"\0\xff"),
    ],
)
def test_a_request_reads_back_as_it_was_written(request_: AnyApiRequest) -> None:
    line = api.encode(request_)

    assert api.read_request(line) == request_
    assert api.id_of(line) == request_.id
    assert b"\n" not in line


@pytest.mark.parametrize(
    "message",
    [
        ApiAnswer(id=1, result=BOUND),
        ApiAnswer(id=1, result=60.0),
        ApiAnswer(id=1),
        ApiAnswer(id=None, error=ApiFault(code="c", reason="r", message="m")),
        ApiEvent(event="established", binding="w1.b1", index=0, peer="203.0.113.9:5", context=[1]),
    ],
)
def test_an_answer_and_an_event_are_told_apart(message: ApiAnswer | ApiEvent) -> None:
    assert api.read_message(api.encode(message)) == message


@given(st.lists(st.binary(max_size=20).filter(lambda part: b"\n" not in part)), st.integers(1, 7))
def test_lines_are_cut_however_they_come(parts: list[bytes], step: int) -> None:
    stream, lines, found = b"".join(part + b"\n" for part in parts), Lines(), []
    for start in range(0, len(stream), step):
        found += lines.feed(stream[start : start + step])

    assert found == [part for part in parts if part.strip()]


def test_a_line_without_an_end_is_given_up() -> None:
    lines = Lines()
    assert lines.feed(b"x" * api.MAX_LINE_BYTES) == []
    with pytest.raises(ValueError, match="a line of more"):
        lines.feed(b"x")


def test_what_is_no_message_has_no_id() -> None:
    for line in (b"", b"[]", b"{", b'{"id": "1"}', b'{"id": true}', b"\xff"):
        assert api.id_of(line) is None
        with pytest.raises(api.UNREADABLE):
            api.read_request(line)
    assert issubclass(msgspec.DecodeError, api.UNREADABLE)
