import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.policy.schedules import (
    DAYS,
    MINUTES_OF_WEEK,
    Schedule,
    minute_of_week,
    read_minute,
)


def holds(texts: list[str], moment: str) -> bool:
    return Schedule.parse("office", texts).holds(read_minute(moment))


@pytest.mark.parametrize(
    ("texts", "moment", "expected"),
    [
        (["mon-fri 08:00-18:00"], "mon 08:00", True),
        (["mon-fri 08:00-18:00"], "fri 17:59", True),
        (["mon-fri 08:00-18:00"], "fri 18:00", False),
        (["mon-fri 08:00-18:00"], "sat 12:00", False),
        (["mon-fri 08:00-18:00"], "mon 07:59", False),
        (["sat,sun 10:00-12:00"], "sun 11:00", True),
        (["sat,sun 10:00-12:00"], "fri 11:00", False),
        (["fri-mon 00:00-24:00"], "sun 23:59", True),
        (["fri-mon 00:00-24:00"], "tue 00:00", False),
        (["tue 22:00-06:00"], "tue 23:00", True),
        (["tue 22:00-06:00"], "wed 05:59", True),
        (["tue 22:00-06:00"], "wed 06:00", False),
        (["tue 22:00-06:00"], "tue 05:00", False),
        (["sun 22:00-06:00"], "mon 05:59", True),
        (["mon 08:00-09:00", "tue 08:00-09:00"], "tue 08:30", True),
        ([], "mon 08:00", False),
    ],
)
def test_a_schedule_holds_in_its_minutes_and_in_no_other(
    texts: list[str], moment: str, expected: bool
) -> None:
    assert holds(texts, moment) is expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("monday 08:00-18:00", "has no days; write days from mon to sun"),
        ("mon-fri 8:00-18:00", 'write one like "mon-fri 08:00-18:00"'),
        ("mon-fri", 'write one like "mon-fri 08:00-18:00"'),
        ("mon 08:60-18:00", "write times from 00:00 to 24:00"),
        ("mon 08:00-24:01", "write times from 00:00 to 24:00"),
        ("mon- 08:00-18:00", "has no days"),
    ],
)
def test_what_is_no_schedule_is_told_with_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        Schedule.parse("office", [text])
    assert problem in str(caught.value)


@pytest.mark.parametrize("day", range(7))
def test_midnight_at_the_end_of_a_day_is_the_beginning_of_the_next(day: int) -> None:
    tomorrow = DAYS[(day + 1) % 7]

    assert read_minute(f"{DAYS[day]} 24:00") == read_minute(f"{tomorrow} 00:00")


@pytest.mark.parametrize("text", ["now", "tue", "tue 25:00", "tue 9:00", "day 09:00"])
def test_what_is_no_moment_is_told_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        read_minute(text)


@given(st.integers(0, 6), st.integers(0, 23), st.integers(0, 59))
def test_a_moment_is_read_as_the_clock_has_it(day: int, hour: int, minute: int) -> None:
    found = minute_of_week(day, hour, minute)

    assert read_minute(f"{DAYS[day]} {hour:02}:{minute:02}") == found
    assert 0 <= found < MINUTES_OF_WEEK


@given(st.integers(0, 1439), st.integers(0, 1439), st.sampled_from(DAYS))
def test_a_span_is_as_long_as_it_says_whatever_midnight_is_in_it(
    first: int, end: int, day: str
) -> None:
    text = f"{day} {first // 60:02}:{first % 60:02}-{end // 60:02}:{end % 60:02}"
    schedule = Schedule.parse("x", [text])

    held = sum(map(schedule.holds, range(MINUTES_OF_WEEK)))

    assert held == ((end - first) % 1440 or 1440)
