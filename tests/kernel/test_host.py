"""Preconditions and pure parts of the host settings; the rest needs a namespace: tests/netns."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sallyport.addresses import PortRange
from sallyport.errors import StartupError
from sallyport.kernel import host, sysctls
from sallyport.kernel.ruleset import Ruleset

RANGE = PortRange(40000, 59999)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("", "40000-59999"),
        ("8080", "8080,40000-59999"),
        ("8080,9000-9010", "8080,9000-9010,40000-59999"),
        ("8080,40000-59999", "8080,40000-59999"),
    ],
)
def test_our_range_joins_the_ports_that_are_reserved_already(listed: str, expected: str) -> None:
    assert host.with_ports(listed, RANGE) == expected


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "Read-only file system; tell the engine of a container"),
        (errno.EACCES, "= 1: Permission denied"),
    ],
)
def test_a_sysctl_that_cannot_be_set_says_so_and_what_to_do_in_a_container(
    number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "forwarding").write_text("0\n")
    monkeypatch.setattr(sysctls, "SYSCTL", tmp_path)
    monkeypatch.setattr(Path, "write_text", refuse)

    with pytest.raises(StartupError, match=re.escape(said)):
        sysctls.write("forwarding", "1")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything."""
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/sbin/{program}")
    monkeypatch.setattr(host, "_kernel_version", lambda _release: (6, 1))
    monkeypatch.setattr(host, "_effective_capabilities", lambda: 1 << 12)
    monkeypatch.setattr(Ruleset, "owner_of", lambda _ruleset, _table: None)


@pytest.mark.usefixtures("able")
def test_a_machine_that_has_everything_is_accepted() -> None:
    host.require()


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(
    ("module", "name", "lack", "message"),
    [
        (shutil, "which", lambda _: None, "nft is not installed; install the package nftables"),
        (host, "_kernel_version", lambda _: (5, 17), "too old"),
        (host, "_effective_capabilities", lambda: 0, "CAP_NET_ADMIN is missing"),
        (Ruleset, "owner_of", lambda *_: 4711, "netlink port 4711.*another instance"),
    ],
)
def test_each_lack_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    lack: Callable[..., object],
    message: str,
) -> None:
    monkeypatch.setattr(module, name, lack)

    with pytest.raises(StartupError, match=message) as caught:
        host.require()

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-18-amd64", (6, 1)), ("5.18", (5, 18)), ("odd", (0, 0))]
)
def test_kernel_releases_are_read(release: str, version: tuple[int, int]) -> None:
    assert host._kernel_version(release) == version


def test_this_process_has_capabilities_as_the_kernel_says() -> None:
    # Root has all of them; anybody else may have none.
    assert (host._effective_capabilities() > 0) or os.geteuid() != 0
