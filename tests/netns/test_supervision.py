"""A protocol that rules know is intercepted whatever they say: the last word is deny."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host, wait_until
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

SECONDS = 20.0
DENIED = configuration(protocols=("ftp", "tftp")).replace('"allow"', '"deny"')
# FTP and TFTP stand in no rule at all.
UNNAMED = (
    configuration()
    .replace("[[access_rules]]", "[[access_rules]] # none")
    .split("[[access_rules]]")[0]
)
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@contextmanager
def running(lab: Lab, file: Path, text: str) -> Iterator[RunningGateway]:
    file.write_text(text)
    gateway = RunningGateway(lab, ["--config", str(file)])
    try:
        yield gateway
    finally:
        gateway.stop()


@contextmanager
def made_at(host: Host, family: int, kind: socket.SocketKind, port: int) -> Iterator[socket.socket]:
    with host.entered():
        made = socket.socket(FAMILIES[family], kind)
    with made:
        made.settimeout(SECONDS)
        made.bind((str(host.address(family)), port))
        yield made


def greeting(lab: Lab, family: int) -> tuple[bytes, bool]:
    """Dial the server's port 21; return what the client hears, and whether the server saw it."""
    there = str(lab.server.address(family)), 21
    with made_at(lab.server, family, socket.SOCK_STREAM, 21) as server:
        server.listen()
        with made_at(lab.client, family, socket.SOCK_STREAM, 0) as client:
            client.connect(there)
            heard = client.makefile("rb").readline()
        server.settimeout(0)
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return heard, False
        return heard, True


def refused(gateway: RunningGateway, count: int) -> list[dict[str, object]]:
    """Return what this gateway, and no earlier one of the lab, wrote down, once it is so much."""
    wait_until(gateway.process, lambda: len(_refused(gateway)) >= count, gateway.log, "no line")
    return _refused(gateway)


def _refused(gateway: RunningGateway) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in gateway.journal() if '"event"' in line]
    starts = [i for i, one in enumerate(lines) if one["event"] == "gateway.started"]
    lines = lines[starts[-1] :]
    return [one for one in lines if one["event"] == "connect.refused"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("text", "reason"), [(DENIED, "denied-by-rule"), (UNNAMED, "no-rule-matched")]
)
def test_what_no_rule_allows_is_denied_in_the_protocols_words_and_written_down(
    family: int, text: str, reason: str, lab: Lab, tmp_path: Path
) -> None:
    with running(lab, tmp_path / "sallyport.toml", text) as gateway:
        heard, has_reached_server = greeting(lab, family)

        assert heard == b"421 Refused by the gateway; its log says why.\r\n"
        assert not has_reached_server
        (line,) = refused(gateway, 1)
        assert (line["protocol"], line["reason"]) == ("ftp", reason)
        assert line.get("rule") == ("office" if text is DENIED else None)

        with (
            made_at(lab.server, family, socket.SOCK_DGRAM, 69) as server,
            made_at(lab.client, family, socket.SOCK_DGRAM, 0) as client,
        ):
            client.connect((str(lab.server.address(family)), 69))
            client.send(b"\x00\x01file\x00octet\x00")
            assert client.recv(100) == b"\x00\x05\x00\x02Refused by the gateway.\x00"
            server.settimeout(0)
            with pytest.raises(BlockingIOError):
                server.recv(100)
        assert [line["protocol"] for line in refused(gateway, 2)] == ["ftp", "tftp"]
        assert json.loads(gateway.ask("status", "--json").stdout)["supervised"] == ["ftp", "tftp"]


@pytest.mark.parametrize("family", [4, 6])
def test_a_reload_from_allow_to_deny_leaves_the_door_shut(
    family: int, lab: Lab, tmp_path: Path
) -> None:
    file = tmp_path / "sallyport.toml"
    with running(lab, file, configuration(protocols=("ftp", "tftp"))) as gateway:
        file.write_text(DENIED)
        assert gateway.ask("reload").returncode == 0

        heard, has_reached_server = greeting(lab, family)

        assert heard.startswith(b"421 ")
        assert not has_reached_server


def test_what_is_switched_off_and_stands_in_no_rule_is_ordinary_traffic(
    lab: Lab, tmp_path: Path
) -> None:
    text = UNNAMED + "[filters.ftp]\nenabled = false\n"
    with running(lab, tmp_path / "sallyport.toml", text) as gateway:
        status = json.loads(gateway.ask("status", "--json").stdout)
        assert status["supervised"] == ["tftp"]
        assert "ftp" in status["unsupervised"]

        there = str(lab.server.address4), 21
        with (
            made_at(lab.server, 4, socket.SOCK_STREAM, 21) as server,
            made_at(lab.client, 4, socket.SOCK_STREAM, 0) as client,
        ):
            server.listen()
            client.connect(there)
            server.accept()[0].close()
