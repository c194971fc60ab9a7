"""Who may do what at the control socket."""

import os

import pytest

from sallyport.errors import StartupError
from sallyport.ops.control.access import Rights
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
