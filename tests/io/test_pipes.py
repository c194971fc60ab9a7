"""Lent pipes."""

import errno
import fcntl
import os
import resource

import pytest
from tests.relay.loopback import descriptors

from sallyport.io import pipes
from sallyport.io.pipes import Pipe, Pipes


def size(pipe: Pipe) -> int:
    return fcntl.fcntl(pipe.writer, fcntl.F_GETPIPE_SZ)


def borrowed(lender: Pipes) -> Pipe:
    pipe = lender.borrow()
    assert pipe is not None
    return pipe


def test_a_pipe_holds_a_megabyte_and_never_blocks() -> None:
    lender = Pipes()
    pipe = borrowed(lender)

    assert size(pipe) == 1024 * 1024
    assert not os.get_blocking(pipe.reader)
    assert not os.get_blocking(pipe.writer)
    lender.discard(pipe)


def test_a_pipe_that_came_back_is_lent_again() -> None:
    lender = Pipes()
    first = borrowed(lender)
    lender.give_back(first)

    assert borrowed(lender) == first
    lender.discard(first)


def test_only_so_many_pipes_are_large_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_LARGE_PIPES", 2)
    lender = Pipes()
    lent = [borrowed(lender) for _ in range(3)]

    assert [pipe.is_large for pipe in lent] == [True, True, False]
    assert size(lent[2]) < 1024 * 1024
    for pipe in lent:
        lender.discard(pipe)
    again = borrowed(lender)
    assert again.is_large
    lender.discard(again)


def test_a_host_that_grants_no_large_pipe_gives_the_default_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(errno.EPERM, "fs.pipe-user-pages-soft")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    lender = Pipes()
    pipe = borrowed(lender)

    assert not pipe.is_large
    lender.discard(pipe)


def test_few_spare_pipes_are_kept_and_none_after_close() -> None:
    before = descriptors()
    lender = Pipes()
    for pipe in [borrowed(lender) for _ in range(12)]:
        lender.give_back(pipe)

    assert descriptors() == before + 2 * 8
    lender.close()
    assert descriptors() == before


def test_without_descriptors_there_is_no_pipe() -> None:
    lender = Pipes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert lender.borrow() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
