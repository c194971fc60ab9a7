"""The filter of the example package, found as the gateway finds it."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sallyport.api import API_VERSION, ApplicationFilter
from sallyport.errors import OutOfResources
from sallyport.testing import Dialogue, make_policy

PACKAGE = Path(__file__).parents[2] / "examples" / "third_party"
REST = b"\0user\0secret\0make all\0"
LISTEN, PEER = "203.0.113.1:40271", "203.0.113.9:1023"
PINHOLE = {
    4: f"{LISTEN} -> 10.0.0.8:5000 from 203.0.113.9",
    6: "[fd00:a::8]:5000 -> [fd00:a::8]:5000 from 2001:db8::9",
}
TOLD = {4: b"40271", 6: b"5000"}


@pytest.fixture
def rexec(monkeypatch: pytest.MonkeyPatch) -> type[ApplicationFilter]:
    """Load what the package names as its entry point."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="ascii"))["project"]
    ((name, value),) = project["entry-points"]["sallyport.filters"].items()
    loaded = EntryPoint(name, value, "sallyport.filters").load()
    assert isinstance(loaded, type)
    assert issubclass(loaded, ApplicationFilter)
    assert loaded.name == name
    return loaded


def begin(kind: type[ApplicationFilter], version: int = 4) -> Dialogue:
    return Dialogue(kind(), version=version, policy=make_policy(protocols=frozenset({"rexec"})))


def test_it_is_written_for_this_version(rexec: type[ApplicationFilter]) -> None:
    assert rexec.api_version == API_VERSION


def test_it_has_less_than_150_lines() -> None:
    text = (PACKAGE / "sallyport_rexec.py").read_text(encoding="ascii")

    assert len(text.splitlines()) < 150


@pytest.mark.parametrize("version", [4, 6])
def test_standard_error_of_the_server_and_of_nobody_else_is_let_in(
    rexec: type[ApplicationFilter], version: int
) -> None:
    dialogue = begin(rexec, version).client_says(b"5000" + REST)

    dialogue.server_hears(TOLD[version] + REST).pinholes(PINHOLE[version])
    dialogue.server_says(b"\0done\n").client_hears(b"\0done\n").nothing_more()


def test_it_is_let_in_once(rexec: type[ApplicationFilter]) -> None:
    dialogue = begin(rexec).client_says(b"5000" + REST)

    dialogue.connects(PEER, LISTEN).cannot_connect(PEER, LISTEN)


def test_nobody_is_waited_for_longer_than_a_minute(rexec: type[ApplicationFilter]) -> None:
    begin(rexec).client_says(b"5000" + REST).time_passes(60).pinholes()


def test_the_number_is_read_whole_wherever_segments_cut_it(
    rexec: type[ApplicationFilter],
) -> None:
    for cut in range(1, 6):
        said = b"5000" + REST
        dialogue = begin(rexec).client_says(said[:cut], said[cut:], b"more")
        dialogue.server_hears(b"40271" + REST + b"more").pinholes(PINHOLE[4])


@pytest.mark.parametrize("number", [b"", b"0", b"000"])
def test_without_a_port_everything_passes_as_it_is(
    rexec: type[ApplicationFilter], number: bytes
) -> None:
    begin(rexec).client_says(number + REST).server_hears(number + REST).pinholes()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"22" + REST, "client-port-below-minimum"),
        (b"65558" + REST, "not-a-port"),
        (b"123456", "not-a-port"),
        (b"+5" + REST, "not-a-port"),
        (b"POST / HTTP/1.1\r\n", "not-a-port"),
    ],
)
def test_what_is_no_free_port_is_refused_as_a_server_would(
    rexec: type[ApplicationFilter], said: bytes, reason: str
) -> None:
    dialogue = begin(rexec).client_says(said)

    dialogue.client_hears(b"\x01sallyport: " + reason.encode() + b"\n").server_hears(b"")
    dialogue.pinholes().ended(reason)


def test_a_gateway_without_room_refuses_too(rexec: type[ApplicationFilter]) -> None:
    dialogue = begin(rexec).next_bind_fails(OutOfResources("sets-are-full"))

    dialogue.client_says(b"5000" + REST).client_hears(b"\x01sallyport: sets-are-full\n")
    dialogue.server_hears(b"").ended("sets-are-full")


def test_a_number_that_is_never_finished_is_passed_on_with_the_end(
    rexec: type[ApplicationFilter],
) -> None:
    begin(rexec).client_says(b"50").client_closes().server_hears(b"50").server_hears_end()


def test_the_end_after_a_number_is_passed_on(rexec: type[ApplicationFilter]) -> None:
    begin(rexec).client_says(b"\0").client_closes().server_hears(b"\0").server_hears_end()
