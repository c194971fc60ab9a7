"""The shipped systemd unit: what it leaves the daemon, in the words of systemd's own review."""

import re
import subprocess
from pathlib import Path

SYSTEMD = Path(__file__).parents[2] / "contrib/systemd"
UNIT = SYSTEMD / "sallyport.service"

# systemd-networkd, which configures the network too, has 2.8 on Debian 12.
MAX_EXPOSURE = 2.0


def test_the_unit_leaves_the_daemon_little() -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    exposure = re.search(r"Overall exposure level for sallyport.service: (\S+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= MAX_EXPOSURE, said


def test_systemd_understands_every_line_of_the_unit() -> None:
    argv = ["systemd-analyze", "verify", "--man=no", str(UNIT)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stderr

    # The command is not installed where the tests run.
    wrong = [line for line in said.splitlines() if "is not executable" not in line]
    assert [line for line in wrong if "sallyport.service" in line] == []


def test_the_unit_has_the_capabilities_that_the_daemon_uses_and_no_other() -> None:
    text = UNIT.read_text(encoding="utf-8")
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert f"{key}=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE\n" in text
