"""Who may do what at the control socket."""

import os
from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.ops.control.access import Rights, Tokens
from sallyport.ops.control.operations import Access

SOMEBODY = os.geteuid() + 1000
RIGHTS = Rights(control_group=10, monitor_group=20)


@pytest.mark.parametrize(
    ("uid", "groups", "access"),
    [
        (0, [], Access.CHANGE),
        (os.geteuid(), [], Access.CHANGE),
        (SOMEBODY, [], None),
        (SOMEBODY, [0, 5], None),
        (SOMEBODY, [5, 10], Access.CHANGE),
        (SOMEBODY, [20], Access.READ),
        (SOMEBODY, [20, 10], Access.CHANGE),
    ],
)
def test_root_and_the_control_group_change_and_the_monitor_group_reads(
    uid: int, groups: list[int], access: Access | None
) -> None:
    assert RIGHTS.of(uid, groups) is access


def test_where_no_group_is_named_no_group_counts() -> None:
    assert Rights().of(SOMEBODY, [0, 10, 20]) is None


def test_groups_are_found_by_their_names() -> None:
    assert Rights.named("root", None) == Rights(control_group=0)
    with pytest.raises(StartupError, match="monitor_group: this host has no group 'nobodies'"):
        Rights.named(None, "nobodies")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    for name, mode in (("control", 0o600), ("monitor", 0o640)):
        file = tmp_path / name
        file.write_text(f"{name}-0123456789abcdef\n", encoding="ascii")
        file.chmod(mode)
    return Tokens(tmp_path / "control", tmp_path / "monitor")


@pytest.mark.parametrize(
    ("header", "access"),
    [
        ("Bearer control-0123456789abcdef", Access.CHANGE),
        ("bearer  monitor-0123456789abcdef ", Access.READ),
        ("Bearer control-0123456789abcdeX", None),
        ("Bearer ", None),
        ("Basic control-0123456789abcdef", None),
        ("Bearer \xff€", None),
        ("", None),
        (None, None),
    ],
)
def test_a_token_says_what_its_holder_may_do(
    tokens: Tokens, header: str | None, access: Access | None
) -> None:
    tokens.require()
    assert tokens.of(header) is access


def test_without_files_no_token_counts() -> None:
    assert Tokens().of("Bearer ") is None


def test_a_token_can_change_while_the_gateway_runs(tokens: Tokens) -> None:
    assert tokens.control_file
    tokens.control_file.write_text("another-0123456789abcdef")

    assert tokens.of("Bearer control-0123456789abcdef") is None
    assert tokens.of("Bearer another-0123456789abcdef") is Access.CHANGE
    tokens.control_file.unlink()
    assert tokens.of("Bearer another-0123456789abcdef") is None


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("0123456789abcdef", 0o644, "chmod o="),
        ("short", 0o600, "openssl rand"),
        ("", 0o600, "at least 16 characters"),
    ],
)
def test_a_file_that_keeps_no_secret_ends_the_start(
    tokens: Tokens, content: str, mode: int, told: str
) -> None:
    assert tokens.monitor_file
    tokens.monitor_file.write_text(content)
    tokens.monitor_file.chmod(mode)

    with pytest.raises(StartupError, match=told):
        tokens.require()
    assert tokens.of(f"Bearer {content}") is None


def test_a_file_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        Tokens(tmp_path / "none").require()
