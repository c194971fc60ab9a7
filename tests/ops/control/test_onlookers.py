import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.core.office import Office

from sallyport.ops.control.explain import BadQuestion
from sallyport.ops.control.onlookers import Onlookers
from sallyport.ops.logs import EventJournal, Format


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Office, EventJournal, Onlookers]]:
    """Yield an office whose gateway writes to a log at level info, and its onlookers."""
    office = Office()
    with (tmp_path / "log").open("wb") as log:
        journal = EventJournal("info", Format.JSON, log.fileno(), worker=2)
        yield office, journal, Onlookers(journal, office.gateway.tracing)


def collected(seen: list[dict[str, object]]) -> Callable[[object], None]:
    return lambda record: seen.append(json.loads(msgspec.json.encode(record)))


def test_events_are_all_records_of_any_level_as_the_log_has_them(
    gateway: tuple[Office, EventJournal, Onlookers],
) -> None:
    _office, journal, onlookers = gateway
    seen: list[dict[str, object]] = []
    end = onlookers.events({}, collected(seen))
    journal.record("binding.reserved", level="debug", session="s1")
    journal.record("connect.refused", level="warning", reason="denied-by-rule")
    end()
    journal.record("connect.accepted")

    assert [(one["event"], one["level"], one["worker"]) for one in seen] == [
        ("binding.reserved", "debug", 2),
        ("connect.refused", "warning", 2),
    ]
    assert "remedy" in seen[1]
    assert journal.listener is None


def test_each_onlooker_has_what_it_asked_for(
    gateway: tuple[Office, EventJournal, Onlookers],
) -> None:
    office, journal, onlookers = gateway
    session = office.dial().session.id
    of_one: list[dict[str, object]] = []
    of_all: list[dict[str, object]] = []
    end = onlookers.trace({"client": "10.0.0.8", "session": None}, collected(of_one))
    onlookers.events({}, collected(of_all))
    journal.record("binding.closed", session=session)
    journal.record("trace.said", level="trace", session=session)
    journal.record("binding.closed", session="other")

    assert [one["event"] for one in of_one] == ["binding.closed", "trace.said"]
    assert [one["event"] for one in of_all] == ["binding.closed"] * 2
    end()
    assert not any(one.is_traced for one in office.gateway.sessions)


def test_a_client_that_is_no_address_is_a_bad_question(
    gateway: tuple[Office, EventJournal, Onlookers],
) -> None:
    with pytest.raises(BadQuestion, match="office"):
        gateway[2].trace({"client": "office"}, lambda _record: None)
