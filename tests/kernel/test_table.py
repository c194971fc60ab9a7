"""Running nft and sending batches, with a false nft and a false socket."""

import errno
import os
import socket
from pathlib import Path
from typing import cast

import pytest

from sallyport.errors import KernelError, StartupError
from sallyport.kernel import table
from sallyport.kernel.table import OwnedTable
from sallyport.wire import netlink, nftset
from sallyport.wire.netlink import Family

CHANGES = [("once", [nftset.element(nftset.mark_value(1))])]


class Answers:
    """A socket that takes batches and has its answers ready, as netlink has."""

    def __init__(self, *answers: bytes, refuse: int = 0) -> None:
        self.waiting = list(answers)
        self.sent: list[bytes] = []
        self.refuse = refuse

    def send(self, data: bytes) -> int:
        if self.refuse:
            raise OSError(self.refuse, "refused")
        self.sent.append(data)
        return len(data)

    def recv(self, _size: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0)


def answer(number: int, count: int = 1) -> bytes:
    """Answer to the batch of that number, counted from the first."""
    sequence = nftset.SEQUENCES.start + count
    body = (-number).to_bytes(4, "little", signed=True) + bytes(16)
    whole = netlink.message(netlink.TYPE_ERROR, 0, sequence, Family.UNSPEC, body[4:])
    return whole[:16] + body + bytes(-len(body) & 3)


def owned(answers: Answers) -> OwnedTable:
    return OwnedTable("sallyport_pins", cast("socket.socket", answers))


def test_an_acknowledged_batch_is_done() -> None:
    answers = Answers(answer(0))
    owned(answers).change((), CHANGES)

    assert answers.sent == [nftset.batch("sallyport_pins", (), CHANGES, nftset.SEQUENCES.start + 1)]


def test_a_refusal_is_raised_although_the_last_message_was_fine() -> None:
    with pytest.raises(KernelError) as caught:
        owned(Answers(answer(errno.EEXIST), answer(0))).change((), CHANGES)

    assert caught.value.errno == errno.EEXIST


def test_every_answer_to_a_refused_batch_is_taken_so_that_the_next_is_not_misled() -> None:
    answers = Answers(answer(errno.ENOENT), answer(errno.ENOENT), answer(0))
    pins = owned(answers)
    with pytest.raises(KernelError):
        pins.change(CHANGES, ())
    answers.waiting = [answer(0, count=2)]

    pins.change(CHANGES, ())


def test_answers_to_somebody_else_are_skipped() -> None:
    owned(Answers(answer(errno.EPERM, count=77), answer(0))).change((), CHANGES)


def test_batches_are_numbered_within_what_the_guard_knows_for_ours() -> None:
    first, last = nftset.SEQUENCES.start, nftset.SEQUENCES.stop - 1
    answers = Answers()
    pins = owned(answers)
    for count in range(1, len(nftset.SEQUENCES) + 1):
        answers.waiting = [answer(0, count if first + count <= last else 0)]
        pins.change((), CHANGES)

    numbers = [next(netlink.messages(batch)).sequence for batch in answers.sent]
    assert numbers == [*range(first + 1, last + 1), first]


def test_no_change_asks_nothing_of_the_kernel() -> None:
    answers = Answers()
    owned(answers).change((), ())

    assert answers.sent == []


def test_silence_is_an_error() -> None:
    with pytest.raises(KernelError, match="no answer"):
        owned(Answers()).change((), CHANGES)


def test_a_batch_that_is_not_taken_keeps_its_errno() -> None:
    with pytest.raises(KernelError) as caught:
        owned(Answers(refuse=errno.EMSGSIZE)).change((), CHANGES)

    assert caught.value.errno == errno.EMSGSIZE


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def false_nft(folder: Path, script: str) -> None:
    (folder / "nft").write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    (folder / "nft").chmod(0o755)


def test_nft_reads_the_script_from_its_input(bin_folder: Path) -> None:
    false_nft(bin_folder, f"cat > {bin_folder}/script")
    table.load("table inet x {\n}\n")

    assert (bin_folder / "script").read_text(encoding="ascii") == "table inet x {\n}\n"


def test_the_first_complaint_of_nft_is_passed_on_in_one_line(bin_folder: Path) -> None:
    false_nft(bin_folder, "echo 'In file x:' >&2; echo '-:1: Error: no such' >&2; exit 1")

    with pytest.raises(StartupError, match=r"^nft refused our table: -:1: Error: no such$"):
        table.load("")


def test_a_missing_nft_is_one_line(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bin_folder))

    with pytest.raises(StartupError, match="nft does not run"):
        table.load("")
    with pytest.raises(StartupError, match="nft does not run"):
        table.claim("", "x")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("read l; echo '/dev/x:1:1-2: Error: not permitted'", "Error: not permitted"),
        ("read l; printf 'Error: '; sleep 0.05; echo 'in two pieces'", "Error: in two pieces"),
        ("read l; exit 0", "made no table x: no reason given"),
        ("read l; read l; echo 'table inet x'; cat", "0 sockets, not one"),
    ],
)
def test_a_claim_that_fails_says_why(bin_folder: Path, script: str, message: str) -> None:
    false_nft(bin_folder, script)

    with pytest.raises(StartupError, match=message):
        table.claim("table inet x {\n}\n", "x")


def test_a_claimed_script_is_read_from_a_file_with_its_lines(bin_folder: Path) -> None:
    script = "table inet x {\n    flags owner;\n}\n"
    false_nft(
        bin_folder,
        f"read word file; eval cat $file > {bin_folder}/script; read l; echo Error: enough",
    )

    with pytest.raises(StartupError, match="enough"):
        table.claim(script, "x")

    assert (bin_folder / "script").read_text(encoding="ascii") == script
