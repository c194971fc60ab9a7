"""The daemon as an operator meets it: starting, refusing to start, being asked, stopping."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp
from tests.ops.config.offered import write
from tests.shipped import KNOWN

from sallyport.errors import StartupError
from sallyport.kernel.state_file import STATE_FOLDER
from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.network import Lab
from sallyport.wire.ftp.formats import read_epsv_reply

pytestmark = [pytest.mark.netns]

TRACES = (
    ["nft", "list", "ruleset"],
    ["ip", "rule"],
    ["ip", "-6", "rule"],
    ["ip", "route", "show", "table", "all"],
    ["sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"],
    ["sysctl", "net.ipv4.conf.int0.forwarding", "net.ipv6.conf.int0.forwarding"],
    ["sysctl", "net.ipv6.conf.int0.accept_ra", "net.ipv6.conf.ext0.accept_ra"],
    ["sysctl", "net.ipv4.ip_local_reserved_ports", "net.netfilter.nf_conntrack_acct"],
)


def traces(lab: Lab) -> list[str]:
    """Return everything of the host that a gateway changes."""
    return [lab.gateway.run(argv).stdout for argv in TRACES]


def asked(gateway: RunningGateway, *verb: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(gateway.ask(*verb, "--json").stdout)


def refusal(lab: Lab, *arguments: str, before: tuple[str, ...] = (), path: str = "") -> list[str]:
    """Start a gateway that cannot run; give the exit code and what it says."""
    argv = [*before, *sallyport(), "run", "--internal", "int0", "--external", "ext0", *arguments]
    env = {"PATH": path} if path else {}
    done = lab.gateway.run(argv, check=False, env=env)
    said = [line for line in done.stderr.splitlines() if '"event"' not in line]
    return [str(done.returncode), *said]


def drain(connection: socket.socket) -> None:
    while connection.recv(1 << 20):
        pass


@pytest.fixture
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    running = RunningGateway(lab)
    yield running
    running.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_gateway_leaves_the_host_as_it_was(number: signal.Signals, lab: Lab) -> None:
    before = traces(lab)
    running = RunningGateway(lab)
    during = traces(lab)

    os.kill(running.process.pid, number)
    running.process.wait(10)

    assert running.process.returncode == 0
    assert during != before
    assert traces(lab) == before
    assert not running.control_socket.exists()


def test_a_stop_that_is_asked_for_again_and_again_is_not_an_accident(lab: Lab) -> None:
    running = RunningGateway(lab)

    while running.process.poll() is None:
        running.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(0.001)

    assert running.process.returncode == 0


def test_x06_what_a_killed_gateway_left_is_cleaned_by_one_with_another_socket(lab: Lab) -> None:
    before = traces(lab)
    RunningGateway(lab, name="first").kill()
    left = traces(lab)

    second = RunningGateway(lab, name="second")

    assert left != before
    assert second.stop() == 0
    assert traces(lab) == before
    namespace = lab.gateway.run(["stat", "-Lc", "%i", "/proc/self/ns/net"]).stdout.strip()
    assert not (STATE_FOLDER / f"netns-{namespace}.state").exists()


def test_without_nft_it_says_what_to_install(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "ip").symlink_to("/sbin/ip")

    said = refusal(lab, path=str(tmp_path))

    assert said == ["1", "sallyport: nft is not installed; install the package nftables"]


def test_without_the_capability_it_says_which_one(lab: Lab) -> None:
    said = refusal(lab, before=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))

    assert said == ["1", "sallyport: CAP_NET_ADMIN is missing; run as root or in unshare -Urnm"]


def test_a_second_gateway_on_the_same_socket_is_refused(lab: Lab, gateway: RunningGateway) -> None:
    path = str(gateway.control_socket)

    code, said = refusal(lab, "--control-socket", path)

    assert code == "1"
    assert said.startswith(f"sallyport: another instance is running on {path}")
    assert asked(gateway, "status")["data_path"] == "kernel"


def test_a_second_gateway_on_the_same_host_is_refused_and_harms_nothing(
    lab: Lab, gateway: RunningGateway, tmp_path: Path
) -> None:
    before = traces(lab)

    code, said = refusal(lab, "--control-socket", str(tmp_path / "other.sock"))

    assert code == "1"
    assert "another instance runs in this network namespace" in said
    assert traces(lab) == before


def test_a_range_with_somebodys_service_in_it_is_refused(lab: Lab) -> None:
    with lab.gateway.entered():
        service = socket.create_server(("0.0.0.0", 45_678))

    with service:
        code, said = refusal(lab)

    assert code == "1"
    assert "listens on port 45678, inside port_range 40000-59999" in said


def test_an_interface_that_is_not_there_is_named(lab: Lab) -> None:
    argv = [*sallyport(), "run", "--internal", "int0", "--external", "wan9"]

    done = lab.gateway.run(argv, check=False)

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "'wan9'" in done.stderr


def test_the_gateway_is_started_again_after_a_failed_start(lab: Lab) -> None:
    before = traces(lab)
    with lab.gateway.entered():
        service = socket.create_server(("0.0.0.0", 45_678))
    with service, pytest.raises(StartupError, match="45678"):
        RunningGateway(lab, name="unlucky")
    assert traces(lab) == before

    running = RunningGateway(lab, name="unlucky")

    assert running.stop() == 0


@pytest.mark.interop
def test_what_is_open_can_be_seen_and_killed(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "endless").write_bytes(bytes(64 * 1024 * 1024))
    with RawFtp(lab.client, server) as ftp, ftp.listening() as (listener, command):
        ftp.ask(command, b"200")
        ftp.ask(b"RETR endless", b"150")
        data, _peer = listener.accept()
        with data:
            [session] = asked(gateway, "sessions", "list")["sessions"]
            [binding] = asked(gateway, "bindings", "list")["bindings"]
            assert session["client"] == "10.0.0.8"
            assert session["bindings"] == 1
            assert binding["session"] == session["id"]
            assert binding["client_address"] == f"10.0.0.8:{listener.getsockname()[1]}"
            assert binding["peers"] == ["203.0.113.9"]
            assert (binding["state"], binding["data_path"]) == ("live", "kernel")
            assert binding["connections"][0]["peer"].startswith("203.0.113.9:")

            killed = gateway.ask("bindings", "kill", binding["id"])
            assert killed.returncode == 0
            with pytest.raises(ConnectionResetError):
                drain(data)
    assert gateway.ask("bindings", "show", binding["id"]).returncode == 4


def test_a_passive_transfer_can_be_seen_and_killed_too(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "endless").write_bytes(bytes(64 * 1024 * 1024))
    with RawFtp(lab.client, server) as ftp:
        port = read_epsv_reply(ftp.ask(b"EPSV", b"229").rstrip()).port
        with lab.client.entered():
            data = socket.create_connection((str(lab.server.address(4)), port), 10)
        with data:
            ftp.ask(b"RETR endless", b"150")
            data.recv(65536, socket.MSG_WAITALL)
            [transfer] = asked(gateway, "transfers", "list")["transfers"]
            assert (transfer["direction"], transfer["data_path"]) == ("outbound", "kernel")
            assert transfer["client"].startswith("10.0.0.8:")
            assert transfer["peer"].startswith("203.0.113.9:")
            assert transfer["to_client_bytes"] >= 65536
            assert transfer["from_client_bytes"] < 1000  # SACK blocks in answers to probes

            assert gateway.ask("transfers", "kill", transfer["id"]).returncode == 0
            with pytest.raises(ConnectionResetError):
                drain(data)
        assert asked(gateway, "transfers", "list")["transfers"] == []
        assert gateway.ask("transfers", "kill", transfer["id"]).returncode == 4
        assert len(asked(gateway, "sessions", "list")["sessions"]) == 1


# The filter of the tests in a file: says of each session which edition of it is at work.
EDITION = """
from sallyport.api import ApplicationFilter, ConnectTcp, Hooks, SessionFilter, Scope


class Edition(ApplicationFilter):
    name = "edition"
    api_version = 1
    hooks = Hooks.of(ConnectTcp, scope=Scope.ANY_PROTOCOL)

    def attach_to_session(self, session):
        return EditionSession()

    def shutdown(self):
        print("edition {edition} has left", flush=True)


class EditionSession(SessionFilter):
    async def on_event(self, event):
        event.connection.note("edition.told", edition={edition})
"""
WITH_EDITION = '[filters.edition]\npath = "edition.py"\n'


class Reloadable:
    """A gateway with a file, and a filter in a file beside it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.file = folder / "sallyport.toml"
        self.filter = folder / "edition.py"
        self.write(1)
        self.running = RunningGateway(lab, ["--config", str(self.file)])

    def write(self, edition: int, *, rest: str = WITH_EDITION, **parts: Any) -> None:  # noqa: ANN401 - of `configuration`
        self.file.write_text(configuration(rest=rest, **parts))
        write(self.filter, EDITION.format(edition=edition))

    def editions(self) -> list[int]:
        """Return which edition was told of each connection, in order."""
        events = [json.loads(line) for line in self.running.journal() if '"event"' in line]
        return [one["edition"] for one in events if one["event"] == "edition.told"]


@pytest.fixture
def reloadable(lab: Lab, tmp_path: Path) -> Iterator[Reloadable]:
    made = Reloadable(lab, tmp_path)
    yield made
    made.running.stop()


@pytest.mark.interop
def test_a_reload_leaves_running_sessions_alone_and_is_there_for_new_ones(
    lab: Lab, reloadable: Reloadable, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    gateway = reloadable.running
    (server.folder / "endless").write_bytes(bytes(64 * 1024 * 1024))
    with RawFtp(lab.client, server) as ftp, ftp.listening() as (listener, command):
        ftp.ask(command, b"200")
        ftp.ask(b"RETR endless", b"150")
        data, _peer = listener.accept()
        with data:
            reloadable.write(2)
            assert gateway.ask("reload").returncode == 0
            assert not any("has left" in line for line in gateway.journal())

            with RawFtp(lab.client, server) as same_client:
                same_client.ask(b"NOOP", b"200")
            drain(data)
        assert ftp.reply().startswith(b"226")
    gateway.settle()
    with RawFtp(lab.client, server) as later:
        later.ask(b"NOOP", b"200")

    # The session that began before the reload keeps its filters, for what it begins later too.
    assert reloadable.editions() == [1, 1, 2]
    assert [line for line in gateway.journal() if "has left" in line] == ["edition 1 has left"]


@pytest.mark.interop
def test_new_rules_are_in_force_for_the_next_connection(
    lab: Lab, reloadable: Reloadable, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    with RawFtp(lab.client, server) as before:
        reloadable.write(1, protocols=("tftp",))
        assert reloadable.running.ask("reload").returncode == 0

        before.ask(b"NOOP", b"200")  # admitted by a rule that is gone, and left alone
        [row] = [
            row
            for row in asked(reloadable.running, "filters", "list")["filters"]
            if row["name"] == "ftp"
        ]
        assert row["state"] == "off"

        reloadable.write(1)
        assert reloadable.running.ask("reload").returncode == 0
    with RawFtp(lab.client, server) as after:
        after.ask(b"NOOP", b"200")


def test_a_file_with_a_mistake_changes_nothing(lab: Lab, reloadable: Reloadable) -> None:
    gateway = reloadable.running
    before = traces(lab)
    reloadable.write(1, protocols=("fpt",))

    done = gateway.ask("reload")

    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr == (f"{reloadable.file}:20: no filter speaks 'fpt'; write one of: {KNOWN}\n")
    assert traces(lab) == before
    assert asked(gateway, "rules", "show")["access_rules"][0]["protocols"] == ["ftp"]


def test_what_only_a_start_can_do_is_refused_by_a_reload(lab: Lab, reloadable: Reloadable) -> None:
    before = traces(lab)
    reloadable.write(1, gateway='port_range = "30000-31000"')

    done = reloadable.running.ask("reload")

    assert (done.returncode, traces(lab)) == (1, before)
    assert "[gateway] port_range cannot change while the gateway runs; restart it" in done.stderr


def test_hangup_reloads_too(lab: Lab, reloadable: Reloadable) -> None:
    gateway = reloadable.running
    reloadable.write(1, protocols=("ftp", "tftp"))

    os.kill(gateway.process.pid, signal.SIGHUP)

    # The signal comes before the question: by the answer it has been dealt with.
    assert asked(gateway, "rules", "show")["access_rules"][0]["protocols"] == ["ftp", "tftp"]
    assert any('"gateway.reloaded"' in line for line in gateway.journal())


def test_a_gateway_without_a_file_says_so_when_it_is_to_reload(gateway: RunningGateway) -> None:
    done = gateway.ask("reload")

    assert done.returncode == 1
    assert "started without a file" in done.stderr


@pytest.mark.interop
@pytest.mark.parametrize("family", [4, 6])
def test_beside_a_firewall_that_drops_one_rule_on_our_mark_is_enough(
    family: int, lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    foreign = """
table inet foreign {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {rule}
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    meta l4proto 58 accept
    ct state established accept
    {rule}
  }}
}}
"""
    lab.gateway.run(["nft", "-f", "-"], stdin=foreign.format(rule=""))
    try:
        with pytest.raises(TimeoutError):
            RawFtp(lab.client, server, family, timeout=1.0)
        lab.gateway.run(["nft", "delete table inet foreign"])
        rule = "ct mark & 0x80000000 != 0 accept"
        lab.gateway.run(["nft", "-f", "-"], stdin=foreign.format(rule=rule))

        with RawFtp(lab.client, server, family) as ftp:
            active = ftp.fetch(b"small")
            passive = ftp.fetch_passively(b"small")
    finally:
        lab.gateway.run(["nft", "delete table inet foreign"])

    assert active == passive
