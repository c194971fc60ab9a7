from collections.abc import Mapping

from sallyport.lab.privileges import why_no_namespaces

STATUS = "/proc/thread-self/status"


def why(files: Mapping[str, str]) -> str | None:
    return why_no_namespaces(files.get)


def test_nothing_is_missing_with_both_capabilities() -> None:
    # Bits 12 and 21, and no others.
    assert why({STATUS: "Name:\tx\nCapEff:\t0000000000201000\n"}) is None


def test_each_missing_capability_is_named() -> None:
    assert why({STATUS: "CapEff:\t0000000000001000\n"}) == (
        "network namespaces need CAP_SYS_ADMIN: run as root,"
        " or inside unshare -Urnm (scripts/contained does that)"
    )
    assert "CAP_NET_ADMIN and CAP_SYS_ADMIN" in (why({STATUS: "CapEff:\t0\n"}) or "")


def test_the_sysctl_that_forbids_user_namespaces_is_named() -> None:
    nobody = {STATUS: "CapEff:\t0\n"}

    assert "(user.max_user_namespaces = 0)" in (
        why({**nobody, "/proc/sys/user/max_user_namespaces": "0\n"}) or ""
    )
    assert "(kernel.unprivileged_userns_clone = 0)" in (
        why({**nobody, "/proc/sys/kernel/unprivileged_userns_clone": "0\n"}) or ""
    )
    assert "(kernel.apparmor_restrict_unprivileged_userns = 1)" in (
        why({**nobody, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}) or ""
    )


def test_a_sysctl_that_allows_them_is_not_blamed() -> None:
    answer = why({STATUS: "CapEff:\t0\n", "/proc/sys/user/max_user_namespaces": "96365\n"})

    assert answer is not None
    assert "max_user_namespaces" not in answer


def test_no_status_at_all_counts_as_no_capability() -> None:
    assert "CAP_SYS_ADMIN" in (why({}) or "")
