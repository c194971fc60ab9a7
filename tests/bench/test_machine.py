import mmap
import os
import subprocess
import sys

from bench import machine

_SPENDS = "sum(range(3_000_000))"


def _ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_is_gone_has_used_nothing() -> None:
    gone = _ended_process()
    assert machine.seconds_of(gone) == 0.0
    assert machine.memory_of(gone) == 0


def test_a_process_has_the_command_line_that_it_was_started_with() -> None:
    argv = [sys.executable, "-c", "print(flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as process:
        # Popen() may return while execve() has not set the command line yet.
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        assert machine.command_of(process.pid).decode().split("\0") == [*argv, ""]
        process.communicate(b"\n")
    assert machine.command_of(process.pid) == b""


def test_children_that_ended_count() -> None:
    before = machine.seconds_of(os.getpid())
    subprocess.run([sys.executable, "-c", _SPENDS], check=True)
    assert machine.seconds_of(os.getpid()) > before


def test_the_machine_is_at_least_as_busy_as_one_process() -> None:
    before = machine.busy_seconds()
    subprocess.run([sys.executable, "-c", _SPENDS], check=True)
    assert machine.busy_seconds() > before


def test_a_process_weighs_at_least_what_it_holds() -> None:
    before = machine.memory_of(os.getpid())
    # Pages of its own: from the heap it could be given some that were there before.
    with mmap.mmap(-1, 8 << 20) as held:
        held.write(b"x" * (8 << 20))
        assert machine.memory_of(os.getpid()) - before >= 7 << 20
