import sys

import pytest

from sallyport.cli.render import align, color_wanted, duration, size


def test_columns_begin_at_the_same_place_and_nothing_trails() -> None:
    assert align([("ID", "CLIENT", "X"), ("1", "10.0.0.8", ""), ("12345", "-", "y")]) == [
        "ID     CLIENT    X",
        "1      10.0.0.8",
        "12345  -         y",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m 0s"),
        (3600, "1h 0m"),
        (7500, "2h 5m"),
        (90000, "1d 1h"),
        (86400 * 400, "400d 0h"),
    ],
)
def test_durations_show_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (1024**5 * 3, "3072.0 TiB"),
    ],
)
def test_sizes_are_in_binary_units(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("terminal", "refused", "environment", "wanted"),
    [
        (True, False, {}, True),
        (True, True, {}, False),
        (True, False, {"NO_COLOR": "1"}, False),
        (True, False, {"NO_COLOR": ""}, True),
        (True, False, {"TERM": "dumb"}, False),
        (False, False, {}, False),
    ],
)
def test_colour_is_for_terminals_whose_user_did_not_refuse_it(
    monkeypatch: pytest.MonkeyPatch,
    *,
    terminal: bool,
    refused: bool,
    environment: dict[str, str],
    wanted: bool,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert color_wanted(refused=refused) is wanted
