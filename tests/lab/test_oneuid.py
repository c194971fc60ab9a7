import subprocess
import sys

import pytest

BECOME_AND_LOOK = "import os; os.setgroups([1]); os.setgid(1); os.setuid(1); print(os.getuid())"


def test_a_program_believes_it_became_another_user_and_did_not() -> None:
    argv = [sys.executable, "-m", "sallyport.lab.oneuid", sys.executable, "-c", BECOME_AND_LOOK]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "seccomp filter" in result.stderr:
        pytest.skip("this machine lets nobody install a seccomp filter")

    assert result.stderr == ""
    assert result.stdout != "1\n"
    assert result.stdout.strip().isdigit()
