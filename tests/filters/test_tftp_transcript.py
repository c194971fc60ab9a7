"""What an operator who traces a TFTP transfer may see: the request, and no byte of the file."""

import pytest

from sallyport.api import Hop
from sallyport.filters.tftp import TftpDialogue
from sallyport.wire.tftp import Opcode, Request


def lines(data: bytes) -> list[str]:
    dialogue = object.__new__(TftpDialogue)  # which shows the same, whatever it has been through
    transcript = dialogue.transcript(Hop.CLIENT_SAYS, is_running=False)
    return list(transcript.lines(data))


def test_a_request_is_shown_with_its_options() -> None:
    request = Request(Opcode.RRQ, b"boot/\xc3\xa9\x1b", b"octet", (b"blksize", b"1432"))

    assert lines(request.packet()) == [r"RRQ 'boot/\xe9\x1b' 'octet' 'blksize' '1432'"]


@pytest.mark.parametrize("data", [b"", b"\0\3\0\1secret"])
def test_what_is_no_request_is_counted(data: bytes) -> None:
    assert lines(data) == [f"({len(data)} bytes)"]
