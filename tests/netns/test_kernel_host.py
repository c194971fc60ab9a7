"""Host settings in a real namespace: made, kept over a crash, and put back."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.kernel_bench import POLICY, RULES

from sallyport.addresses import PortRange
from sallyport.errors import StartupError
from sallyport.kernel import host, table
from sallyport.kernel.base_table import render_base
from sallyport.kernel.host import HostSettings
from sallyport.kernel.pins_table import pins_table, render_pins
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

_NAMES = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/ip_local_reserved_ports",
    "net/netfilter/nf_conntrack_acct",
    "net/ipv6/conf/ext0/accept_ra",
)


@pytest.fixture
def gateway() -> Iterator[None]:
    with Lab.build("kdh") as lab, lab.gateway.entered():
        table.load(render_base(POLICY, RULES))
        Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text("8080\n", encoding="ascii")
        yield


def sysctls() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text(encoding="ascii").strip() for name in _NAMES}


def routing(family: str) -> str:
    argv = ["ip", family, "rule", "show"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def make(folder: Path) -> HostSettings:
    return HostSettings(PortRange(40000, 59999), ["int0", "ext0"], folder / "host.json")


@pytest.mark.usefixtures("gateway")
def test_what_is_set_is_put_back(tmp_path: Path) -> None:
    before, rules = sysctls(), routing("-6")
    settings = make(tmp_path)
    settings.apply()

    assert sysctls() == {
        "net/ipv4/ip_forward": "1",
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv4/ip_local_reserved_ports": "8080,40000-59999",
        "net/netfilter/nf_conntrack_acct": "1",
        "net/ipv6/conf/ext0/accept_ra": "2",
    }
    assert "0x10000/0x10000" in routing("-4")
    assert "0x10000/0x10000" in routing("-6")
    settings.restore()
    assert sysctls() == before
    assert routing("-6") == rules
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("gateway")
def test_x06_after_a_crash_the_successor_puts_the_true_originals_back(tmp_path: Path) -> None:
    before = sysctls()
    make(tmp_path).apply()
    successor = make(tmp_path)
    successor.apply()

    assert routing("-4").count("0x10000/0x10000") == 1
    successor.restore()
    assert sysctls() == before


@pytest.mark.usefixtures("gateway")
def test_a_failed_start_puts_everything_back(tmp_path: Path) -> None:
    before = sysctls()
    settings = make(tmp_path / "absent")

    with pytest.raises(StartupError, match=r"host\.json"):
        settings.apply()

    assert sysctls() == before


@pytest.mark.usefixtures("gateway")
def test_a_second_instance_is_told_that_the_first_runs() -> None:
    host.require()
    with table.claim(render_pins(60), pins_table(0)), pytest.raises(StartupError, match="another"):
        host.require()
