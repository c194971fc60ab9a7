import os
import subprocess
import sys

import pytest

from sallyport import lab
from sallyport.errors import StartupError
from sallyport.lab.network import Lab, standing
from sallyport.lab.servers import why_not

pytestmark = pytest.mark.netns

PREFIX = f"t{os.getpid()}-up"


def in_another_process(call: str) -> str:
    argv = [sys.executable, "-c", f"from sallyport import lab; lab.{call}({PREFIX!r})"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_a_lab_outlives_the_process_that_built_it_until_down() -> None:
    said = in_another_process("up")
    try:
        assert f"ip netns exec {PREFIX}-client curl" in said
        if why_not("vsftpd") is None:
            neighbour = Lab(PREFIX).stranger
            neighbour.run(["curl", "--silent", "--fail", "ftp://203.0.113.9/hello.txt"])
    finally:
        assert in_another_process("down") == f"The lab {PREFIX!r} is gone.\n"
    assert standing(PREFIX) == []


def test_down_without_a_lab_says_so() -> None:
    with pytest.raises(StartupError, match="no lab 'nowhere' stands here"):
        lab.down("nowhere")
