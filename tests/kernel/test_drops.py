"""What of the dropped packets gets into the log; the kernel's part: tests/netns/test_drops.py."""

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.kernel.drops import DropLog
from sallyport.testing.world import MemoryJournal
from sallyport.wire.nflog import DroppedPacket

TO = Endpoint.parse("203.0.113.1:22")


def sample(source: str, prefix: str = "strangers") -> DroppedPacket:
    return DroppedPacket(prefix, 3, 6, Endpoint.parse(f"{source}:40001"), TO)


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def log(journal: MemoryJournal) -> DropLog:
    return DropLog(journal, lambda number: f"ext{number}")


def test_the_first_packet_of_a_source_is_told_with_whom_whereto_and_why(
    log: DropLog, journal: MemoryJournal
) -> None:
    log.note(sample("203.0.113.66", "spoofed"))
    log.note(sample("203.0.113.66"))

    ((event, fields),) = journal.records
    assert (event, fields["reason"]) == ("guard.dropped", "source-address-is-forged")
    assert (str(fields["peer"]), fields["to"]) == ("203.0.113.66:40001", TO)
    assert (fields["transport"], fields["interface"]) == ("tcp", "ext3")


def test_a_minute_ends_with_the_whole_by_source_and_a_new_one_begins(
    log: DropLog, journal: MemoryJournal
) -> None:
    for _ in range(3):
        log.note(sample("203.0.113.66"))
    log.note(sample("203.0.113.67"))
    log.minute_is_over()
    log.note(sample("203.0.113.66"))

    assert journal.events() == ["guard.dropped"] * 2 + ["guard.drops", "guard.dropped"]
    fields = journal.records[2][1]
    assert (fields["sampled"], fields["sources"]) == (4, 2)
    assert fields["most"] == ["203.0.113.66 3", "203.0.113.67 1"]


def test_a_quiet_minute_and_one_that_was_told_already_have_no_end(
    log: DropLog, journal: MemoryJournal
) -> None:
    log.minute_is_over()
    log.note(sample("203.0.113.66"))
    log.minute_is_over()

    assert journal.events() == ["guard.dropped"]


def test_forged_sources_do_not_make_the_log_grow(log: DropLog, journal: MemoryJournal) -> None:
    for number in range(10_000):
        log.note(sample(f"198.18.{number // 256}.{number % 256}"))
    log.minute_is_over()

    assert len(journal.records) == limits.MAX_DROP_RECORDS + 1
    most = journal.records[-1][1]["most"]
    assert isinstance(most, list)
    assert most[0] == f"others {10_000 - limits.MAX_DROP_SOURCES}"
