import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sallyport.errors import ConfigError, ConfigErrors, NotFound, RequestRefused
from sallyport.ops.processes import messages
from sallyport.ops.processes.messages import (
    Ask,
    Beat,
    Frames,
    WorkerAnswer,
    WorkerRequest,
    error_of,
    fault_of,
)


@given(st.lists(st.text(max_size=40), max_size=5), st.integers(1, 50))
def test_frames_are_the_same_however_the_stream_is_cut(texts: list[str], size: int) -> None:
    sent = [WorkerRequest(n, Ask("status", {"text": text})) for n, text in enumerate(texts)]
    stream = b"".join(map(messages.frame, sent))
    frames = Frames()

    bodies = [
        body for at in range(0, len(stream), size) for body in frames.feed(stream[at : at + size])
    ]

    assert [messages.decode_request(body) for body in bodies] == sent


def test_a_frame_that_is_too_long_is_none_of_ours() -> None:
    with pytest.raises(ValueError, match="4294967295 bytes"):
        list(Frames().feed(b"\xff\xff\xff\xff"))


def test_reports_are_told_apart() -> None:
    for report in (Beat(), WorkerAnswer(7, Raw(b'{"a":1}'))):
        (body,) = Frames().feed(messages.frame(report))
        assert messages.decode_report(body) == report


def test_mistakes_in_a_file_come_back_as_what_they_were() -> None:
    before = ConfigErrors([ConfigError("f", 3, "one"), ConfigError("f", 9, "two")])

    after = error_of(fault_of(before))

    assert isinstance(after, ConfigErrors)
    assert str(after) == str(before)


def test_other_errors_keep_their_code_and_words() -> None:
    after = error_of(fault_of(NotFound("no session w1.s9")))

    assert isinstance(after, RequestRefused)
    assert (after.refusal, str(after)) == (NotFound.code, "no session w1.s9")


def test_a_fault_of_ours_is_named_and_not_hidden() -> None:
    assert fault_of(ZeroDivisionError("x")).message == "ZeroDivisionError('x')"
