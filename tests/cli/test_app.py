import json

import pytest

from sallyport import __version__
from sallyport.cli import main, operate
from sallyport.cli.app import app
from sallyport.errors import StartupError

VERBS = [
    "explain",
    "run",
    "check-config",
    "reload",
    "doctor",
    "drain",
    "upgrade",
    "status",
    "sessions",
    "bindings",
    "top",
    "transfers",
    "rules",
    "filters",
    "reasons",
    "events",
    "trace",
    "passwd",
    "wrap",
    "lab",
]


def test_exactly_the_verbs_that_are_built_exist() -> None:
    assert set(app.commands) == set(VERBS)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sallyport {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "Usage: sallyport " + verb in capsys.readouterr().out


@pytest.mark.parametrize("line", [["restart"], ["status", "--bogus"], ["bindings", "show"]])
def test_a_wrong_command_line_is_usage(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: sallyport" in captured.err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["restart", "--json"], "restart"),
        (["--json", "status"], "--json"),
        (["status", "--bogus", "--json"], "--bogus"),
        (["bindings", "show", "--json"], "ID"),
        (["passwd", "--json", "one", "two"], "one two"),
        # That is an option of curl, or no option at all.
        (["wrap", "--lifetime", "never", "curl", "--json"], None),
        (["status", "--", "--json"], None),
    ],
)
def test_where_an_answer_would_be_json_so_is_a_mistake_in_the_command_line(
    line: list[str], named: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 2
    captured = capsys.readouterr()
    assert "Usage: sallyport" in captured.err
    if named is None:
        assert captured.out == ""
    else:
        problem = json.loads(captured.out)
        assert problem["code"] == "wrong-command-line"
        assert named in problem["message"]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main([])

    # click 8.1 calls this help (stdout), click 8.2 a usage error (stderr).
    assert "Usage: sallyport" in "".join(capsys.readouterr())


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(operate, "interface_source", fail)


RUN = ["run", "--internal", "a", "--external", "b"]


def test_what_the_operator_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, StartupError("nft is missing; install nftables"))

    assert main(RUN) == 1
    assert capsys.readouterr().err == "sallyport: nft is missing; install nftables\n"


def test_the_unexpected_is_one_line_that_says_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))

    assert main(RUN) == 1
    assert capsys.readouterr().err == (
        "sallyport: unexpected ZeroDivisionError: a bug;"
        " sallyport --debug, or SALLYPORT_DEBUG=1, shows where\n"
    )


def test_with_debug_the_traceback_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))

    with pytest.raises(ZeroDivisionError):
        main(["--debug", *RUN])


def test_the_environment_asks_for_the_traceback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))
    monkeypatch.setenv("SALLYPORT_DEBUG", "1")

    with pytest.raises(ZeroDivisionError):
        main(RUN)


def test_an_interruption_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    assert main(RUN) == 1
    assert capsys.readouterr().err.strip() == "sallyport: interrupted"
