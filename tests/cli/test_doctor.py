"""`sallyport doctor` as an operator sees it."""

import json

import pytest

from sallyport.cli import doctor as command
from sallyport.cli.app import main
from sallyport.ops.doctor.checks import DoctorFacts

BAD = DoctorFacts(lack="nft is not installed", descriptors=524_288)
GOOD = DoctorFacts(descriptors=524_288)


def said(
    facts: DoctorFacts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *more: str,
) -> tuple[int, str]:
    monkeypatch.setattr(command, "find_out", lambda _config, _socket: facts)
    code = main(["doctor", *more])
    return code, capsys.readouterr().out


def test_a_host_that_is_in_order_exits_with_0_and_says_what_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = said(GOOD, monkeypatch, capsys)

    assert code == 0
    assert "other firewalls" in out
    assert out.endswith("nothing was found\n")


def test_what_is_wrong_exits_with_6_and_says_what_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = said(BAD, monkeypatch, capsys)

    assert code == 6
    assert out.startswith("wrong: nft is not installed [host-lacks]\n  why: ")


def test_the_same_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = said(BAD, monkeypatch, capsys, "--json")

    (found,) = json.loads(out)["findings"]
    assert (code, found["code"], found["severity"]) == (6, "host-lacks", "wrong")
