import json

import pytest

from sallyport.cli import main
from sallyport.reasons import REASONS


def test_a_code_is_shown_with_what_happened_what_it_means_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reasons", "too-many-bindings"]) == 0
    answer = capsys.readouterr().out
    reason = REASONS["too-many-bindings"]
    for text in (reason.code, reason.happened, reason.means, reason.remedy, str(reason.key)):
        assert text in answer


def test_without_a_code_all_of_them_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reasons"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["CODE", "GROUP", "WHAT", "HAPPENED"]
    assert [line.split()[0] for line in lines] == list(REASONS)


def test_json_has_every_field_of_every_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reasons", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["reasons"]
    assert [row["code"] for row in rows] == list(REASONS)
    assert all(set(row) == {"code", "group", "happened", "means", "remedy", "key"} for row in rows)


def test_an_unknown_code_is_not_found_and_the_nearest_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reasons", "too-many-binding"]) == 4
    assert "too-many-bindings" in capsys.readouterr().err


def test_a_code_like_no_other_is_not_found_and_the_list_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reasons", "xyzzy"]) == 4
    assert "sallyport reasons" in capsys.readouterr().err
