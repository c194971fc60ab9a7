import json
import sys
from collections.abc import Callable
from ipaddress import ip_address, ip_interface
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import replace
from tests.cli.test_observe import STATUS
from tests.shipped import UNNAMED

from sallyport import limits
from sallyport.addresses import IpInterface
from sallyport.cli import main, operate
from sallyport.errors import NotRunning, RequestRefused
from sallyport.ops import logs
from sallyport.ops.config.load import Configuration
from sallyport.ops.control.schema import Mistake, Reloaded, Status, UpgradeBegun
from sallyport.ops.logs import EventJournal, Format
from sallyport.ops.processes import source
from sallyport.ops.processes.messages import ConfigSource
from sallyport.ops.processes.source import read_source

ReadSource = Callable[[], ConfigSource]

GOOD = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(GOOD)
    return path


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host have the interfaces of GOOD."""
    ours = ip_address("203.0.113.1")
    monkeypatch.setattr(operate, "lasting_addresses", lambda: {"int0": (), "ext0": (ours,)})
    monkeypatch.setattr(operate, "local_addresses", lambda: frozenset({ours}))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text(GOOD.replace("interfaces", "interface"))
    return path


@pytest.fixture
def sources() -> list[ReadSource]:
    """What reads those in `started`."""
    return []


@pytest.fixture
def files() -> list[Path | None]:
    """The files of those in `started`."""
    return []


@pytest.fixture
def started(
    monkeypatch: pytest.MonkeyPatch, sources: list[ReadSource], files: list[Path | None]
) -> list[Configuration]:
    """Put a gateway that only notes what it is started with in the place of the real one."""
    configurations: list[Configuration] = []

    def run(
        read: ReadSource, _journal: EventJournal, file: Path | None, *, takes_over: bool
    ) -> None:
        assert not takes_over
        configurations.append(read_source(read()))
        sources.append(read)
        files.append(file)

    def addresses_of(interface: str) -> list[IpInterface]:
        return [ip_interface({"int0": "10.0.0.1/24", "ext0": "203.0.113.1/24"}[interface])]

    double = ModuleType("sallyport.ops.processes.supervisor")
    vars(double)["run"] = run
    monkeypatch.setitem(sys.modules, "sallyport.ops.processes.supervisor", double)
    monkeypatch.setattr(source, "addresses_of", addresses_of)
    monkeypatch.setattr(logs, "set_up", lambda level, form: (level, form))
    return configurations


def test_run_takes_a_file(good: Path, started: list[Configuration]) -> None:
    assert main(["run", "--config", str(good)]) == 0
    assert [network.name for network in started[0].policy.networks] == ["internal", "external"]


def test_run_takes_two_interfaces(started: list[Configuration]) -> None:
    assert main(["run", "--internal", "int0", "--external", "ext0"]) == 0
    assert str(started[0].policy.networks[0].addresses[0]) == "10.0.0.0/24"


def test_the_command_line_overrides_the_control_socket(
    good: Path, started: list[Configuration]
) -> None:
    assert main(["run", "--config", str(good), "--control-socket", "/run/other"]) == 0
    assert started[0].gateway.control_socket == Path("/run/other")


def test_a_control_socket_that_cannot_be_is_usage(good: Path, started: list[Configuration]) -> None:
    assert main(["run", "--config", str(good), "--control-socket", "/" + "x" * 200]) == 2
    assert started == []


def test_log_options_reach_the_journal(
    good: Path, started: list[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Format]] = []
    monkeypatch.setattr(logs, "set_up", lambda *options: asked.append(options))

    main(["run", "--config", str(good), "--log-level", "debug", "--log-format", "json"])

    assert asked == [("debug", Format.JSON)]
    assert len(started) == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--internal", "int0"],
        ["--external", "ext0"],
        ["--config", "x", "--internal", "int0"],
        ["--config", "x", "--internal", "int0", "--external", "ext0"],
    ],
)
def test_run_wants_either_a_file_or_both_interfaces(
    options: list[str], started: list[Configuration]
) -> None:
    assert main(["run", *options]) == 2
    assert started == []


def test_a_bad_file_is_never_run(
    bad: Path, started: list[Configuration], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config", str(bad)]) == 78
    assert started == []
    assert f"{bad}:2: unknown key 'interface'" in capsys.readouterr().err


def test_check_config_says_that_a_file_is_fine(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", str(good)]) == 0
    assert capsys.readouterr().out == (
        f"{good} is fine: 2 networks, 0 network rules, 0 access rules, 0 publishing rules\n"
        "supervised, allowed or denied by rules: ftp, tftp\n"
        f"not supervised, ordinary traffic: {', '.join(UNNAMED)}\n"
    )


def test_check_config_shows_every_mistake_as_a_line_on_stderr(
    bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", str(bad)]) == 78

    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(": ")[0] for line in captured.err.splitlines()] == [
        f"{bad}:2",
        f"{bad}:5",
    ]


def test_check_config_shows_every_mistake_in_json(
    bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--json", str(bad)]) == 78

    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["file"], document["valid"]) == (1, str(bad), False)
    assert document["errors"][0] == {
        "file": str(bad),
        "line": 2,
        "problem": "unknown key 'interface' in networks.internal; write 'interfaces'",
    }


def test_check_config_in_json_says_that_a_file_is_fine(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--json", str(good)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "file": str(good),
        "valid": True,
        "errors": [],
        "warnings": [],
        "supervised": ["ftp", "tftp"],
        "unsupervised": UNNAMED,
    }


def test_check_config_warns_of_what_hardly_means_what_was_meant(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.write_text(GOOD.replace("ext0", "wan7"))

    assert main(["check-config", str(good)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{good}:5: warning: there is no interface 'wan7' now")
    assert "is fine" in captured.out


def test_check_config_has_no_option_that_means_nothing(good: Path) -> None:
    assert main(["check-config", "--control-socket", "/run/x", str(good)]) == 2


def test_a_gateway_with_a_file_can_read_it_again(
    good: Path,
    started: list[Configuration],
    sources: list[ReadSource],
    files: list[Path | None],
) -> None:
    assert main(["run", "--config", str(good), "--control-socket", "/run/other"]) == 0
    (read,) = sources
    assert files == [good]

    good.write_text(GOOD.replace("10.0.0.0/24", "10.9.0.0/24"))
    again = read_source(read())

    assert str(again.policy.networks[0].addresses[0]) == "10.9.0.0/24"
    assert again.gateway.control_socket == started[0].gateway.control_socket == Path("/run/other")


def test_a_file_is_found_again_wherever_the_gateway_goes(
    good: Path,
    started: list[Configuration],
    sources: list[ReadSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(good.parent)
    assert main(["run", "--config", good.name]) == 0
    monkeypatch.chdir("/")

    assert read_source(sources[0]()).policy == started[0].policy


def test_a_gateway_between_two_interfaces_has_no_file(
    started: list[Configuration], files: list[Path | None]
) -> None:
    assert main(["run", "--internal", "int0", "--external", "ext0"]) == 0
    assert (len(started), files) == (1, [None])


# -- reload -------------------------------------------------------------------------------------

RELOADED = Reloaded(file="/etc/s.toml", valid=True, errors=[], filters=["ftp", "tftp"])
MISTAKEN = Reloaded(
    file="/etc/s.toml",
    valid=False,
    errors=[
        Mistake(file="/etc/s.toml", line=3, problem="one; write two"),
        Mistake(file="/etc/s.toml", line=9, problem="three; write four"),
    ],
    filters=[],
)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Reloaded | Exception) -> None:
    def request(_path: Path, command: str, *, expect: type) -> Reloaded:
        assert (command, expect) == ("reload", Reloaded)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(operate, "request", request)


def test_reload_says_what_is_in_force_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, RELOADED)

    assert main(["reload"]) == 0
    assert capsys.readouterr().out == "/etc/s.toml is in force; filters: ftp, tftp\n"


def test_reload_shows_mistakes_as_check_config_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, MISTAKEN)

    assert main(["reload"]) == 78

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "/etc/s.toml:3: one; write two\n/etc/s.toml:9: three; write four\n"


@pytest.mark.parametrize(("answer", "code"), [(RELOADED, 0), (MISTAKEN, 78)])
def test_reload_in_json_is_one_object(
    answer: Reloaded,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answering(monkeypatch, answer)

    assert main(["reload", "--json"]) == code

    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["valid"]) == (1, not document["errors"])
    assert document["filters"] == answer.filters


def test_what_needs_a_restart_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, RequestRefused("restart-needed", "[gateway] port_range; restart it"))

    assert main(["reload"]) == 1
    assert capsys.readouterr().err == "sallyport: [gateway] port_range; restart it\n"


# -- upgrade --------------------------------------------------------------------------------------

OLD, NEW = 7, 8
STARTING = replace(STATUS, pid=OLD, successor=NEW)
SERVING = replace(STATUS, pid=NEW, successor=None)
GONE_ON = replace(STATUS, pid=OLD, successor=None)


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Status | Exception]], int]:
    """Run `upgrade --json` with these answers to `status`, one after the other."""

    def act(answers: list[Status | Exception]) -> int:
        left = iter(answers)

        def request(_path: Path, command: str, *, expect: type) -> object:
            if command == "upgrade":
                return UpgradeBegun(pid=NEW)
            answer = next(left)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(operate, "request", request)
        monkeypatch.setattr(operate, "sleep", lambda _seconds: None)
        code = main(["upgrade", "--json"])
        assert list(left) == []
        return code

    return act


def test_upgrade_waits_until_the_new_one_serves(
    upgraded: Callable[[list[Status | Exception]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgraded([STARTING, NotRunning("between the two"), SERVING]) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == NEW


def test_upgrade_says_that_the_old_one_goes_on_when_the_new_one_has_failed(
    upgraded: Callable[[list[Status | Exception]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgraded([STARTING, GONE_ON]) == 1
    assert "the old one goes on" in capsys.readouterr().err


def test_upgrade_does_not_wait_for_ever(
    upgraded: Callable[[list[Status | Exception]], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter([0.0, 1.0, 2.0, limits.TAKEOVER_SECONDS + 1])
    monkeypatch.setattr(operate, "monotonic", lambda: next(times))

    assert upgraded([STARTING, STARTING]) == 1
    assert f"process {NEW} does not take over" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["up", "down", "demo"])
def test_lab_verbs_call_the_laboratory(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: called.append(name)

    for name in ("up", "down", "demo"):
        monkeypatch.setattr(f"sallyport.lab.{name}", note(name), raising=False)

    assert main(["lab", verb]) == 0
    assert called == [verb]
