"""Records as the journal of systemd reads them, by its own socket."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.ops.journald import JournalSocket, entry, is_journal
from sallyport.ops.logs import EventJournal, Format


def read(datagram: bytes) -> dict[str, str]:
    """Read an entry as systemd does."""
    found: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, end, datagram = (
                rest[8 : 8 + length],
                rest[8 + length : 9 + length],
                rest[9 + length :],
            )
            assert end == b"\n"
        else:
            datagram = rest
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(5)
        yield sock


def test_a_record_has_its_fields_its_priority_and_a_line_for_people() -> None:
    made = read(
        entry("warning", "bind.refused", "bind.refused client=10.0.0.8", {"client": "10.0.0.8"})
    )

    assert made == {
        "MESSAGE": "bind.refused client=10.0.0.8",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "sallyport",
        "SALLYPORT_EVENT": "bind.refused",
        "SALLYPORT_CLIENT": "10.0.0.8",
    }


@given(st.text(st.characters(codec="utf-8")))
def test_whatever_a_peer_says_adds_no_field(text: str) -> None:
    made = read(entry("info", "x", text, {"line": text}))

    assert len(made) == 5
    assert (made["MESSAGE"], made["SALLYPORT_LINE"]) == (text, text)


def test_the_journal_of_a_gateway_is_sent_there(
    journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sallyport.ops.journald.SOCKET", journal.getsockname())
    ours = EventJournal("info", Format.JOURNAL, worker=2)

    ours.record("client.refused", level="error", reason="no-rule-matched", client="10.0.0.8")
    ours.record("client.seen", level="debug")

    made = read(journal.recv(1 << 16))
    assert made["PRIORITY"] == "3"
    assert made["SALLYPORT_WORKER"] == "2"
    assert made["SALLYPORT_REASON"] == "no-rule-matched"
    assert made["MESSAGE"].startswith("client.refused ")
    assert ours.lost == 0


def test_a_journal_that_is_not_there_or_does_not_read_costs_records_and_no_time(
    journal: socket.socket, tmp_path: Path
) -> None:
    nowhere, full = JournalSocket(str(tmp_path / "none")), JournalSocket(journal.getsockname())
    for _ in range(1000):
        full.add(b"MESSAGE=x\n")
    nowhere.add(b"MESSAGE=x\n")

    assert nowhere.lost == 1
    assert 0 < full.lost < 1000


def test_the_stream_of_the_journal_is_known_by_its_numbers(tmp_path: Path) -> None:
    with open(tmp_path / "stream", "wb") as stream:
        status = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        assert is_journal(named, stream.fileno())
        assert not is_journal({}, stream.fileno())
        assert not is_journal({"JOURNAL_STREAM": "1:1"}, stream.fileno())
    assert not is_journal(named, 1_000_000)
