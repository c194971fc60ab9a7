"""Why nobody used an open port: told in the log and by `explain`."""

import pytest
from tests.core.office import Office
from tests.core.test_published import PublishingOffice

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Missed
from sallyport.errors import QuotaExceeded
from sallyport.flags import BindFlags
from sallyport.reasons import REASONS

DROPPED = Missed.DROPPED


def closed(office: Office, event: str = "binding.closed") -> dict[str, object]:
    """The fields of the one record of an end."""
    (fields,) = [fields for name, fields in office.world.journal.records if name == event]
    return dict(fields)


@pytest.mark.parametrize("missed", list(Missed))
def test_the_record_of_the_end_says_what_came(missed: Missed) -> None:
    office = Office()
    office.data_path.missing = missed
    office.bind(office.dial(), flags=BindFlags.TIMEOUT)
    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS)

    fields = closed(office)
    assert (fields["reason"], fields["unused"]) == ("timed-out", missed)
    assert REASONS[missed].remedy


def test_so_does_the_record_of_a_permission() -> None:
    office = Office()
    office.data_path.missing = DROPPED
    office.allow(office.dial(), "198.51.100.9:50000", flags=BindFlags.TIMEOUT)
    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS)

    assert closed(office, "connect.secondary_closed")["unused"] is DROPPED


def test_the_end_of_the_control_connection_is_an_end_as_well() -> None:
    office = Office()
    office.data_path.missing = DROPPED
    primary = office.dial()
    office.bind(primary)
    primary.close("client-closed")

    assert closed(office)["unused"] is DROPPED


def test_what_was_used_or_killed_or_never_open_is_not_asked_about() -> None:
    office = Office()
    office.data_path.missing = DROPPED
    primary = office.dial()
    used, killed = office.bind(primary), office.bind(primary)
    peer = Endpoint.parse("198.51.100.9:20")
    office.data_path.connect(peer, used.proxy_address)
    office.data_path.finish(peer)
    killed.kill("killed")
    office.bind(primary, armed=False).withdraw("withdrawn")

    records = office.world.journal.records
    ends = [fields for name, fields in records if name == "binding.closed"]
    assert len(ends) == 3
    assert not any("unused" in fields for fields in ends)


@pytest.mark.parametrize("missed", list(Missed))
def test_the_client_waits_for_a_bind_that_nobody_has_used(missed: Missed) -> None:
    office = Office()
    office.data_path.missing = missed
    primary = office.dial()
    office.bind(primary).withdraw()
    office.allow(primary, "198.51.100.9:50000").withdraw()

    assert office.world.delayed == {"10.0.0.8": 2 * limits.DELAY_FOR_A_BIND_IN_VAIN}


def test_the_client_waits_for_a_bind_that_was_refused() -> None:
    office = Office(max_bindings_per_client=1)
    primary = office.dial()
    office.bind(primary)
    with pytest.raises(QuotaExceeded):
        office.bind(primary)

    assert office.world.delayed == {"10.0.0.8": limits.DELAY_FOR_A_BIND_IN_VAIN}


def test_the_client_does_not_wait_for_a_bind_that_was_used() -> None:
    office = Office()
    office.data_path.missing = DROPPED
    used = office.bind(office.dial())
    peer = Endpoint.parse("198.51.100.9:20")
    office.data_path.connect(peer, used.proxy_address)
    office.data_path.finish(peer)

    assert office.world.delayed == {}


def test_the_client_does_not_wait_for_a_bind_that_was_open_for_a_while() -> None:
    office = Office()
    office.data_path.missing = Missed.NOTHING_CAME
    binding = office.bind(office.dial())
    office.world.pass_time(office.gateway, limits.IN_VAIN_SECONDS)
    binding.withdraw()

    assert office.world.delayed == {}


def test_of_a_published_server_the_client_outside_waits() -> None:
    office = PublishingOffice()
    office.data_path.missing = DROPPED
    office.bind_data(office.publish()).withdraw()

    assert office.world.delayed == {"198.51.100.7": limits.DELAY_FOR_A_BIND_IN_VAIN}


def test_a_range_that_is_kept_open_is_not_asked_about() -> None:
    office = Office()
    office.data_path.missing = DROPPED
    primary = office.dial()
    office.bind(primary, proxy_address=Endpoint.parse("203.0.113.1:40001"), shared=True)
    primary.close("client-closed")

    assert "unused" not in closed(office)


def test_each_client_s_last_one_is_remembered_and_the_oldest_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sallyport.core.engine.ledger.MAX_UNUSED_REMEMBERED", 2)
    office = Office()
    for number, missed in ((8, DROPPED), (9, DROPPED), (10, DROPPED), (9, Missed.NOTHING_CAME)):
        office.data_path.missing = missed
        client = Endpoint.parse(f"10.0.0.{number}:1553")
        primary = office.dial(f"10.0.0.{number}:50000")
        office.bind(primary, client)
        primary.close("client-closed")

    told = {str(client): one.missed for client, one in office.gateway.unused.items()}
    assert told == {"10.0.0.10": DROPPED, "10.0.0.9": Missed.NOTHING_CAME}


def test_a_transfer_that_the_server_refused_is_none_that_nobody_came_to() -> None:
    office = Office()
    office.data_path.missing = Missed.NOTHING_CAME
    office.bind(office.dial()).withdraw("server-refused")

    assert closed(office)["unused"] is Missed.NOTHING_CAME
    assert not office.gateway.unused
