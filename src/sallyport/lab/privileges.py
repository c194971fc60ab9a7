"""Why this process cannot make network namespaces, in one line that names what is missing."""

from collections.abc import Callable
from pathlib import Path

# Bit numbers from linux/capability.h.
_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}

# Each sysctl that can forbid unprivileged user namespaces, with the value that does: the kernel's
# own limit, Debian's older switch, and Ubuntu's AppArmor restriction.
_FORBIDDING = {
    "user.max_user_namespaces": "0",
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
}


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return None


def why_no_namespaces(read: Callable[[str], str | None] = _read) -> str | None:
    """Return what keeps this process from making network namespaces; None when nothing does.

    `read` returns the text of a file under `/proc`, or None when there is no such file.
    """
    missing = _missing_capabilities(read("/proc/thread-self/status") or "")
    if not missing:
        return None
    needs = f"network namespaces need {' and '.join(missing)}: run as root"
    for name, forbidding in _FORBIDDING.items():
        value = read("/proc/sys/" + name.replace(".", "/"))
        if value is not None and value.strip() == forbidding:
            return f"{needs}; unprivileged user namespaces are off ({name} = {forbidding})"
    return f"{needs}, or inside unshare -Urnm (scripts/contained does that)"


def _missing_capabilities(status: str) -> list[str]:
    held = 0
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
    return [name for name, bit in _NEEDED.items() if not held >> bit & 1]
