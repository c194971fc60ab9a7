import errno
import subprocess
from ipaddress import ip_address, ip_interface
from pathlib import Path

import msgspec
import pytest

from sallyport.errors import StartupError
from sallyport.ops.interfaces import (
    LinkFacts,
    addresses_of,
    lasting_addresses,
    local_addresses,
    vrfs,
    vrfs_among,
)


def test_the_loopback_interface_has_its_address() -> None:
    assert ip_interface("127.0.0.1/8") in addresses_of("lo")


def test_an_interface_that_is_not_there_is_told_with_how_to_see_the_others() -> None:
    with pytest.raises(StartupError, match="there is no interface 'none0'; `ip link`"):
        addresses_of("none0")


def test_a_machine_without_ip_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(StartupError, match="install iproute2"):
        addresses_of("lo")


def test_the_hosts_addresses_include_those_of_every_interface() -> None:
    assert {ip_address("127.0.0.1"), *(item.ip for item in addresses_of("lo"))} <= local_addresses()


LINKS = """[{"ifname": "ext0", "addr_info": [
  {"local": "203.0.113.1", "prefixlen": 24, "scope": "global"},
  {"local": "2001:db8::1", "prefixlen": 64, "scope": "global"},
  {"local": "2001:db8::2", "prefixlen": 64, "scope": "global", "temporary": true},
  {"local": "2001:db8::3", "prefixlen": 64, "scope": "global", "tentative": true},
  {"local": "2001:db8::4", "prefixlen": 64, "scope": "global", "deprecated": true},
  {"local": "fe80::1", "prefixlen": 64, "scope": "link"}]}, {}]"""


def test_others_may_know_the_addresses_that_work_and_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ip").write_text(f"#!/bin/sh\necho '{LINKS}'\n")
    (tmp_path / "ip").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    found = lasting_addresses()

    assert [str(one) for one in found["ext0"]] == ["203.0.113.1", "2001:db8::1"]


def test_the_ports_of_a_vrf_and_itself_have_its_name_and_those_of_a_bridge_have_none() -> None:
    links = msgspec.json.decode(
        """[{"ifname": "blue", "linkinfo": {"info_kind": "vrf"}},
        {"ifname": "int0", "master": "blue", "linkinfo": {"info_kind": "veth"}},
        {"ifname": "br0", "linkinfo": {"info_kind": "bridge"}},
        {"ifname": "tap0", "master": "br0"}, {"ifname": "ext0"}, {}]""",
        type=list[LinkFacts],
    )

    assert vrfs_among(links) == {"blue": "blue", "int0": "blue"}


def test_this_host_can_be_asked_for_its_vrfs() -> None:
    assert "lo" not in vrfs()


def test_a_program_that_fails_is_no_host_without_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\nexit 2\n")
    (tmp_path / "ip").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    for ask in (lasting_addresses, local_addresses):
        with pytest.raises(StartupError, match="cannot tell the addresses"):
            ask()


def test_a_program_that_the_process_has_no_room_for_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(*_arguments: object, **_keys: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "run", no_room)

    with pytest.raises(StartupError, match="ip does not run: Too many open files"):
        lasting_addresses()
