"""No parser raises anything but what it declares, works without bound, or depends on segments.

Each target of `tests.fuzz.targets` reads its corpus, tests/corpus/NAME, and what hypothesis makes
of it. `pytest tests/fuzz --fuzz 600` gives each ten minutes; an input that fails goes into the
corpus, where every run reads it again.
"""

import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parents[1] / "corpus"
EVERY = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)

_T = TypeVar("_T")

# A regular expression that backtracks makes no calls that could be counted. An honest parser reads
# an input of this length in some hundredths of a second, with the tracer of the coverage in tenths;
# one that backtracks takes minutes.
MOST_BYTES = 16_384
MOST_SECONDS = 3.0


def corpus(target: Target) -> dict[str, bytes]:
    """Return the stored inputs of a target by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target.name).iterdir())}


@st.composite
def inputs(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw parts of stored inputs and noise, put together, with single bytes changed."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        seed = draw(st.sampled_from(seeds) | st.binary(max_size=40))
        start = draw(st.integers(0, len(seed)))
        part = seed[start : draw(st.integers(start, len(seed)))] if draw(st.booleans()) else seed
        parts.append(part * draw(st.sampled_from((1, 1, 1, 2, 17))))
    data = bytearray(b"".join(parts))
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[:MOST_BYTES])


cuts = st.lists(st.integers(0, 64), max_size=6)


@EVERY
def test_what_is_stored_is_read_as_promised(target: Target) -> None:
    stored = corpus(target)

    for name, data in stored.items():
        for steps in ([], [1] * len(data), [3, 1, 7]):
            _hold_promises(target, data, steps, name)

    read = [outcome for data in stored.values() if (outcome := _outcome(target, [data]))[1] is None]
    assert read, "some stored input has to be accepted, or mutations of it test the first line only"


@EVERY
def test_what_is_made_of_it_is_read_as_promised(
    target: Target, pytestconfig: pytest.Config
) -> None:
    made = given(data=inputs(list(corpus(target).values())), steps=cuts)

    def read(data: bytes, steps: list[int]) -> None:
        _hold_promises(target, data, steps)

    example(data=b"", steps=[])(made(read))()
    end = time.monotonic() + pytestconfig.getoption("--fuzz")
    while time.monotonic() < end:
        settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])(made(read))()


def test_every_folder_of_the_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {target.name for target in TARGETS}


def _hold_promises(
    target: Target, data: bytes, steps: Sequence[int], name: str = "made up"
) -> None:
    _outcome(target, [b""])  # What is kept from the first time to later ones counts for none.
    most_calls = target.calls_at_rest + target.calls_per_byte * len(data)
    seconds, (came_out, fault) = _bounded(lambda: _outcome(target, [data]), most_calls)

    assert seconds < MOST_SECONDS, name
    cut_out, cut_fault = _outcome(target, _segments(data, steps))
    assert cut_fault == fault, name
    # What came out before a fault may differ by segments: the fault ends the connection.
    assert fault is not None or cut_out == came_out, name


def _outcome(target: Target, segments: Sequence[bytes]) -> tuple[object, str | None]:
    """Return what came out, as text, and the declared fault; other exceptions pass through."""
    try:
        return repr(target.run(segments)), None
    except target.raises as fault:
        return None, getattr(fault, "reason", type(fault).__name__)


def _segments(data: bytes, steps: Sequence[int]) -> list[bytes]:
    """Cut `data` into segments as long as `steps` say, and the rest; no segment is empty."""
    edges = [0]
    for step in steps:
        edges.append(min(edges[-1] + step, len(data)))
    return [data[a:b] for a, b in pairwise([*edges, len(data)]) if a < b] or [data]


def _bounded(work: Callable[[], _T], most_calls: int) -> tuple[float, _T]:
    """Return how many seconds of this thread `work` took, and what it returned.

    Raises AssertionError in the middle of it at one call more than `most_calls`: a loop without
    end is a failure too.
    """
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}
        if calls > most_calls:
            raise AssertionError(f"more than {most_calls} calls")

    before, started = sys.getprofile(), time.thread_time()
    sys.setprofile(count)
    try:
        result = work()
    finally:
        sys.setprofile(before)
    return time.thread_time() - started, result
