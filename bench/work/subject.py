"""The gateway in a process of its own that `bench.api` is, and how it is talked to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import msgspec

from bench.api import Answer, Order
from bench.errors import Absent
from bench.setups.base import answer_of, running
from sallyport.lab.network import Lab

TITLES = {"kernel": "Sallyport, kernel path", "user": "Sallyport, user path"}

# Several may stand at once.
_numbers = count(1)

# Sixty thousand binds at the slowest rate seen, twice over.
_PATIENCE_SECONDS = 300.0


class Subject:
    """Asks the process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, verb: str, number: int = 0, block: int = 1) -> Answer:
        """Return an order, wait for its answer; raises Absent when it fails."""
        assert self._process.stdin is not None  # noqa: S101 - `running` made a pipe of it
        try:
            self._process.stdin.write(
                msgspec.json.encode(Order(verb, number, block)).decode() + "\n"
            )
            self._process.stdin.flush()
        except OSError as error:
            raise Absent(f"the process died: {error}") from error
        answer = answer_of(self._process, Answer, _PATIENCE_SECONDS)
        if answer.problem:
            raise Absent(answer.problem)
        return answer


@contextmanager
def subject(path: str) -> Iterator[Subject]:
    """Run a gateway with one data path in a lab of its own."""
    with Lab.build(f"bench{os.getpid()}-api-{path}{next(_numbers)}") as lab:
        argv = [sys.executable, "-m", "bench.api", path, str(lab.folder)]
        with running(lab.gateway, argv, lab.folder / "api.log") as process:
            talker = Subject(process)
            try:
                talker.ask("weigh")
            except Absent as error:
                said = (lab.folder / "api.log").read_text(errors="replace").strip().splitlines()
                raise Absent(f"{error}: {' '.join(said[-1:])}") from error
            yield talker
