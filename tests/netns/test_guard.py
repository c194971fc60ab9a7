"""What others do to the host while the gateway runs must not open it, nor stop it for long."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.rawftp import RawFtp
from tests.netns.kernel_bench import dial, listen
from tests.netns.outsider import outsider

from sallyport.kernel.guard import LOOK_SECONDS
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

FAMILIES = pytest.mark.parametrize("family", [4, 6])
# What others do to the base table is noticed at once, the rest twice a second, and nft needs 20 ms;
# a loaded machine needs more.
REPAIRED_WITHIN = 10.0


# One of its interfaces is not there yet.
LATE = """\
[networks.internal]
interfaces = ["int0", "late0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
"""


@pytest.fixture
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    lab.stranger.run(["ip", "route", "replace", "10.0.0.0/24", "via", "203.0.113.1"])
    running = RunningGateway(lab)
    yield running
    running.stop()


def status(gateway: RunningGateway) -> tuple[int, dict[str, object]]:
    done = gateway.ask("status", "--json")
    return done.returncode, json.loads(done.stdout)


def until_repaired(gateway: RunningGateway, times: int) -> None:
    """Wait for so many repairs; fails when they do not come in time."""
    deadline = time.monotonic() + REPAIRED_WITHIN
    while status(gateway)[1]["repairs"] != times:
        assert time.monotonic() < deadline, status(gateway)
        time.sleep(LOOK_SECONDS / 5)


def events(gateway: RunningGateway, name: str) -> list[dict[str, str]]:
    read = [json.loads(line) for line in gateway.journal() if f'"{name}"' in line]
    return [event for event in read if event["event"] == name]


def flush(gateway: Host, script: Path) -> None:
    """Load a ruleset as Debian's /etc/nftables.conf does: it begins with a flush."""
    script.write_text("flush ruleset\ntable inet filter {\n chain input {\n }\n}\n")
    gateway.run(["nft", "-f", str(script)])


@pytest.mark.interop
@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_transfers_go_on_and_nobody_gets_in_while_the_ruleset_is_flushed(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer, seconds: int, tmp_path: Path
) -> None:
    server = server_of("vsftpd")
    (server.folder / "some").write_bytes(bytes(4 * 1024 * 1024))
    over, failed, done = threading.Event(), [], [0]

    def transfer(family: int) -> None:
        while not over.is_set():
            try:
                with RawFtp(lab.client, server, family) as ftp:
                    assert ftp.fetch(b"some") == ftp.fetch_passively(b"some")
                done[0] += 2
            except (OSError, AssertionError, ValueError) as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=transfer, args=(family,)) for family in (4, 6)]
    with outsider(lab) as got_in:
        for thread in threads:
            thread.start()
        for _ in range(seconds):
            time.sleep(1)
            flush(lab.gateway, tmp_path / "nftables.conf")
        until_repaired(gateway, seconds)
        over.set()
        for thread in threads:
            thread.join()

    assert (got_in, failed) == ([], [])
    assert done[0] > seconds
    assert status(gateway)[0] == 0
    reports = events(gateway, "guard.repaired")[-seconds:]
    assert [report["level"] for report in reports] == ["error"] * seconds
    assert all("table sallyport was removed by nft (pid " in report["found"] for report in reports)


DAMAGE = {
    "deleted": "delete table inet sallyport",
    "emptied": "flush table inet sallyport",
    "edited": "insert rule inet sallyport forward accept",
    "made of another policy": "add chain inet sallyport forward { policy drop; }",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_whatever_is_done_to_the_base_table_is_undone(
    lab: Lab, gateway: RunningGateway, damage: str
) -> None:
    argv = ["nft", "--stateless", "--terse", "list", "table", "inet", "sallyport"]
    before = lab.gateway.run(argv).stdout

    with outsider(lab) as got_in:
        nft = lab.gateway.popen(["nft", damage])
        nft.wait()
        until_repaired(gateway, 1)

    assert got_in == []
    assert lab.gateway.run(argv).stdout == before
    report = events(gateway, "guard.repaired")[-1]
    assert report["found"].endswith(f" by nft (pid {nft.pid})")


def test_a_repair_follows_the_damage_within_a_second(lab: Lab, gateway: RunningGateway) -> None:
    argv = ["nft", "list", "table", "inet", "sallyport"]
    lab.gateway.run(["nft", "delete", "table", "inet", "sallyport"])
    deadline = time.monotonic() + 1
    while lab.gateway.run(argv, check=False).returncode:
        assert time.monotonic() < deadline


def test_who_changes_tables_of_the_host_is_no_culprit(lab: Lab, gateway: RunningGateway) -> None:
    for number in range(20):
        lab.gateway.run(["nft", f"add table inet mine{number}"])
    lab.gateway.run(["nft", "delete table inet sallyport"])
    until_repaired(gateway, 1)

    report = events(gateway, "guard.repaired")[-1]
    assert report["found"].count("nft (pid") == 1


def test_what_the_host_lost_comes_back(lab: Lab, gateway: RunningGateway) -> None:
    for argv in (
        ["ip", "-4", "rule", "del", "pref", "23057"],
        ["ip", "-6", "route", "flush", "table", "23057"],
        ["sysctl", "-w", "net.ipv4.ip_local_reserved_ports="],
        ["sysctl", "-w", "net.ipv6.conf.all.forwarding=0"],
        ["sysctl", "-w", "net.ipv4.conf.int0.forwarding=0"],
    ):
        lab.gateway.run(argv)

    missing = {
        "ip rule and route",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv6.conf.all.forwarding",
        "net.ipv4.conf.int0.forwarding",
    }
    deadline = time.monotonic() + REPAIRED_WITHIN
    # A look in between may have found the first of them alone.
    while missing:
        assert time.monotonic() < deadline, missing
        found = "; ".join(report["found"] for report in events(gateway, "guard.repaired"))
        missing = {name for name in missing if name not in found}
    assert lab.gateway.run(["sysctl", "-n", "net.ipv6.conf.all.forwarding"]).stdout == "1\n"
    assert "23057" in lab.gateway.run(["ip", "-4", "rule"]).stdout
    assert (
        "local default" in lab.gateway.run(["ip", "-6", "route", "show", "table", "23057"]).stdout
    )


def test_what_cannot_be_repaired_is_said_by_status_and_its_exit_code(
    lab: Lab, gateway: RunningGateway
) -> None:
    # A table that somebody owns cannot be replaced.
    squatter = subprocess.Popen(
        ["ip", "netns", "exec", lab.gateway.namespace, "nft", "-i"],
        stdin=subprocess.PIPE,
        text=True,
    )
    assert squatter.stdin is not None
    with squatter:
        squatter.stdin.write(
            "delete table inet sallyport; add table inet sallyport { flags owner; }\n"
        )
        squatter.stdin.flush()
        deadline = time.monotonic() + REPAIRED_WITHIN
        while status(gateway)[0] != 6:
            assert time.monotonic() < deadline
        assert "sallyport" in str(status(gateway)[1]["degraded"])
        assert gateway.ask("status").returncode == 6
        squatter.stdin.close()
        squatter.wait()
    until_repaired(gateway, 1)
    assert status(gateway)[0] == 0


@FAMILIES
@pytest.mark.parametrize("name", ["int0", "ext0"])
def test_a_renamed_interface_opens_nothing_and_stays_in_its_network(
    lab: Lab, gateway: RunningGateway, family: int, name: str
) -> None:
    outside = {4: "203.0.113.9:8080", 6: "[2001:db8::9]:8080"}[family]
    try:
        with outsider(lab) as got_in:
            lab.gateway.run(["ip", "link", "set", name, "name", "other0"])
            with listen(lab.server, outside):
                dial(lab.client, outside).close()
    finally:
        lab.gateway.run(["ip", "link", "set", "other0", "name", name])

    assert got_in == []
    assert events(gateway, "guard.followed")
    with listen(lab.server, outside):
        dial(lab.client, outside).close()


def test_a_renamed_interface_has_its_settings_back_at_the_stop(lab: Lab) -> None:
    names = [f"net.ipv{version}.conf.{{}}.forwarding" for version in (4, 6)]

    def forwarding(interface: str) -> str:
        return lab.gateway.run(["sysctl", "-n", *(n.format(interface) for n in names)]).stdout

    before = forwarding("ext0")
    running = RunningGateway(lab)
    try:
        assert forwarding("ext0") == "1\n1\n" != before
        lab.gateway.run(["ip", "link", "set", "ext0", "name", "other0"])
        deadline = time.monotonic() + REPAIRED_WITHIN
        while "other0" not in lab.gateway.run(["nft", "list", "table", "inet", "sallyport"]).stdout:
            assert time.monotonic() < deadline
        running.stop()
        assert forwarding("other0") == before
    finally:
        lab.gateway.run(["ip", "link", "set", "other0", "name", "ext0"])


@FAMILIES
def test_what_cannot_be_delivered_any_more_is_said_and_not_repaired_for_ever(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    rule = ["pref", "1", "fwmark", "0x10000/0x10000", "unreachable"]
    lab.gateway.run(["ip", f"-{family}", "rule", "add", *rule])
    try:
        deadline = time.monotonic() + REPAIRED_WITHIN
        while status(gateway)[0] != 6:
            assert time.monotonic() < deadline
        assert "are not delivered here" in str(status(gateway)[1]["degraded"])
        assert status(gateway)[1]["repairs"] == 0
    finally:
        lab.gateway.run(["ip", f"-{family}", "rule", "del", *rule])
    deadline = time.monotonic() + REPAIRED_WITHIN
    while status(gateway)[0] != 0:
        assert time.monotonic() < deadline


@FAMILIES
def test_an_interface_that_comes_late_and_comes_again_is_served(lab: Lab, family: int) -> None:
    file = lab.folder / "late.toml"
    file.write_text(LATE, encoding="utf-8")
    running = RunningGateway(lab, ("--config", str(file)))
    try:
        for _ in range(2):
            lab.gateway.run(["ip", "link", "add", "late0", "type", "veth"])
            deadline = time.monotonic() + REPAIRED_WITHIN
            name = f"net.ipv{family}.conf.late0.forwarding"
            while lab.gateway.run(["sysctl", "-n", name]).stdout != "1\n":
                assert time.monotonic() < deadline
            lab.gateway.run(["ip", "link", "del", "late0"])
        assert status(running)[0] == 0
    finally:
        running.stop()
