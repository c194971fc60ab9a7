"""Host settings in a real namespace: made, kept over a crash, put back as far as they are ours."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.kernel_bench import POLICY, RULES, both_guards

from sallyport.addresses import PortRange
from sallyport.errors import StartupError
from sallyport.kernel import host, state_file, table
from sallyport.kernel.base_table import GUARD_TABLES, render_guard
from sallyport.kernel.guard import Guard
from sallyport.kernel.host import HostSettings
from sallyport.kernel.pins_table import pins_table, render_pins
from sallyport.kernel.ruleset import Ruleset
from sallyport.lab.network import Lab
from sallyport.testing.world import MemoryJournal

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("gateway")]

_NAMES = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/int0/forwarding",
    "net/ipv4/conf/ext0/forwarding",
    "net/ipv4/conf/third0/forwarding",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/ipv6/conf/int0/forwarding",
    "net/ipv6/conf/third0/forwarding",
    "net/ipv4/ip_local_reserved_ports",
    "net/netfilter/nf_conntrack_acct",
    "net/ipv6/conf/int0/accept_ra",
    "net/ipv6/conf/ext0/accept_ra",
    "net/ipv6/conf/third0/accept_ra",
)


@pytest.fixture
def gateway() -> Iterator[None]:
    with Lab.build("kdo") as lab, lab.gateway.entered():
        lab.gateway.run(["ip", "link", "add", "third0", "type", "veth"])
        table.load(both_guards(POLICY, RULES))
        table.load("delete table inet sallyport_guard1")
        write("net/ipv4/ip_local_reserved_ports", "8080")
        yield


def write(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(f"{value}\n", encoding="ascii")


def values() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text(encoding="ascii").strip() for name in _NAMES}


def routing(family: str) -> str:
    argv = ["ip", family, "rule", "show"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def make(folder: Path, ports: str = "40000-59999") -> HostSettings:
    return HostSettings(PortRange.parse(ports), ["int0"], ["ext0"], folder / "host.state")


def test_only_what_we_need_is_set_and_it_is_put_back(tmp_path: Path) -> None:
    before, rules = values(), routing("-6")
    settings = make(tmp_path / "run")
    settings.apply()

    changed = {name: value for name, value in values().items() if value != before[name]}
    assert changed == {
        "net/ipv4/conf/int0/forwarding": "1",
        "net/ipv4/conf/ext0/forwarding": "1",
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv6/conf/int0/forwarding": "1",
        "net/ipv4/ip_local_reserved_ports": "8080,40000-59999",
        "net/netfilter/nf_conntrack_acct": "1",
        "net/ipv6/conf/ext0/accept_ra": "2",
    }
    assert "0x10000/0x10000" in routing("-4")
    assert "0x10000/0x10000" in routing("-6")
    settings.restore()
    assert values() == before
    assert routing("-6") == rules
    assert list((tmp_path / "run").iterdir()) == []


def test_x06_after_a_crash_the_successor_puts_the_true_originals_back(tmp_path: Path) -> None:
    before = values()
    make(tmp_path).apply()
    successor = make(tmp_path, "30000-30999")
    successor.apply()

    assert routing("-4").count("0x10000/0x10000") == 1
    assert values()["net/ipv4/ip_local_reserved_ports"] == "8080,30000-30999"
    successor.restore()
    assert values() == before


def test_the_originals_are_found_by_the_namespace_and_not_by_the_socket() -> None:
    file = HostSettings(PortRange(40000, 59999), [], [])._changes._file
    assert file == state_file.of_namespace("state")
    assert state_file.of_namespace("state").name.startswith("netns-")


def test_what_a_failed_start_has_made_is_put_back_when_nobody_else_needs_it(tmp_path: Path) -> None:
    before, rules = values(), routing("-6")
    running = make(tmp_path / "run")
    running.apply()
    ours = values(), routing("-6")
    (tmp_path / "run" / "host.new").mkdir()  # as a full disk does, it lets nothing be written

    second = make(tmp_path / "run")
    with pytest.raises(StartupError, match=r"host\.state"):
        second.apply()
    assert (values(), routing("-6")) == ours

    running.restore()
    assert (values(), routing("-6")) == (before, rules)


def test_who_wants_forwarding_meanwhile_keeps_it(tmp_path: Path) -> None:
    settings = make(tmp_path)
    settings.apply()
    assert settings.forwarded == frozenset()

    write("net/ipv4/ip_forward", "1")
    write("net/ipv6/conf/all/forwarding", "1")

    assert settings.forwarded == {4, 6}
    settings.restore()
    after = values()
    assert after["net/ipv4/ip_forward"] == after["net/ipv4/conf/int0/forwarding"] == "1"
    assert after["net/ipv6/conf/all/forwarding"] == after["net/ipv6/conf/third0/forwarding"] == "1"


def test_what_others_changed_meanwhile_is_left_as_they_want_it(tmp_path: Path) -> None:
    settings = make(tmp_path)
    settings.apply()
    write("net/ipv4/ip_local_reserved_ports", "8080,9090,40000-59999")
    write("net/ipv6/conf/ext0/accept_ra", "0")

    settings.restore()

    after = values()
    assert after["net/ipv4/ip_local_reserved_ports"] == "8080,9090"
    assert after["net/ipv6/conf/ext0/accept_ra"] == "0"


def test_router_advertisements_are_believed_from_outside_alone_and_only_where_they_were(
    tmp_path: Path,
) -> None:
    write("net/ipv6/conf/ext0/accept_ra", "0")
    settings = make(tmp_path)
    settings.apply()

    after = values()
    assert after["net/ipv6/conf/ext0/accept_ra"] == "0"
    assert after["net/ipv6/conf/int0/accept_ra"] == "1"  # of a forwarding interface: not believed
    assert after["net/ipv6/conf/int0/forwarding"] == "1"
    settings.restore()


def test_a_state_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "host.state"
    file.write_text('{"net/ipv4/conf/int0/forwarding": ["1", "0"]}')
    file.chmod(0o666)

    with pytest.raises(StartupError, match="others than this user can write it"):
        make(tmp_path)
    file.chmod(0o600)
    (tmp_path / "link.state").symlink_to(file)
    with pytest.raises(StartupError, match="cannot read"):
        HostSettings(PortRange(40000, 59999), [], [], tmp_path / "link.state")


def test_a_state_file_reaches_only_the_sysctls_that_are_ours(tmp_path: Path) -> None:
    file = tmp_path / "host.state"
    victim = tmp_path / "victim"
    victim.write_text("1")
    escape = "../" * 3 + str(victim)
    file.write_text(f'{{"{escape}": ["0", "1"], "kernel/hostname": ["x", "y"], "net": 1}}')
    file.chmod(0o600)

    make(tmp_path).restore()

    assert victim.read_text() == "1"


def test_a_second_instance_is_told_that_the_first_runs() -> None:
    host.require()
    text = render_pins(60, 3)
    with table.claim(text, pins_table(3)), pytest.raises(StartupError, match="another"):
        host.require()


@pytest.mark.parametrize("name", GUARD_TABLES)
def test_a_second_guard_is_refused_and_the_first_one_stands(tmp_path: Path, name: str) -> None:
    first = table.claim(render_guard(POLICY, RULES, name), name)
    with first, Ruleset() as ruleset:
        before = ruleset.contents("sallyport")
        second = Guard(make(tmp_path), POLICY, MemoryJournal())
        with pytest.raises(StartupError, match="another instance"):
            second.install(POLICY, RULES)
        second.remove()

        assert ruleset.contents("sallyport") == before != b""
        assert ruleset.owner_of(name) == first.getsockname()[0]
