"""Records stand alone: who asked whom by which rule, and what was named, in each of them."""

from collections.abc import Mapping

import pytest
from tests.core.office import CLIENT, FTP, PEER, Office, run

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import BindError, OutOfResources, QuotaExceeded
from sallyport.flags import BindFlags, Transport


def records(office: Office, event: str) -> list[Mapping[str, object]]:
    return [fields for name, fields in office.world.journal.records if name == event]


def test_a_refused_bind_names_who_asked_whom_by_which_rule_and_what_for() -> None:
    office = Office()
    primary = office.dial()
    victim = Endpoint.parse("10.0.0.9:25610")

    with pytest.raises(BindError) as refusal:
        office.bind(primary, victim)

    (record,) = records(office, "binding.refused")
    assert record["client"] == primary.client
    assert record["server"] == primary.server
    assert record["connection"] == primary.id
    assert record["rule"] == primary.rule.name
    assert record["named"] == "10.0.0.9:25610"
    assert (record["code"], record["reason"]) == (refusal.value.code, refusal.value.reason)


def test_so_does_one_that_a_client_asked_for_itself_without_a_server() -> None:
    office = Office(max_bindings_per_client=0)
    session = office.gateway.client_session(CLIENT.address, Asker(None, Frontend.PCP))

    with pytest.raises(QuotaExceeded):
        run(
            session.bind_for_client(
                (CLIENT,), transport=Transport.TCP, protocol=FTP, frontend=Frontend.PCP
            )
        )

    (record,) = records(office, "binding.refused")
    (rule,) = office.gateway.policy.access_rules
    assert (record["client"], record["rule"]) == (CLIENT.address, rule.name)


def test_a_refusal_that_was_recorded_says_so_to_who_asked() -> None:
    office = Office()

    with pytest.raises(BindError) as refusal:
        office.bind(office.dial(), Endpoint.parse("10.0.0.9:25610"))

    assert refusal.value.is_recorded
    assert not OutOfResources("no-mark-left").is_recorded


def test_a_transfer_is_one_summary_with_both_sides_its_rule_and_its_bytes() -> None:
    office = Office()
    primary = office.dial()
    binding = office.bind(primary, CLIENT, flags=BindFlags.TIMEOUT)
    (connection,) = binding.connections
    office.gateway.registry.flow_established(connection.pinhole.id, PEER)
    primary.kill("test")
    binding.kill("test")

    (record,) = records(office, "binding.closed")
    assert (record["client"], record["server"]) == (primary.client, primary.server)
    assert (record["peer"], record["flows"]) == (PEER, 1)
    assert record["rule"] == primary.rule.name
    assert {"seconds", "from_peer_bytes", "to_peer_bytes", "protocol"} <= set(record)
    (session,) = records(office, "connect.closed")
    assert (session["client"], session["transfers"]) == (primary.client, 1)


def test_a_transfer_that_a_filter_ended_with_a_reason_is_a_warning_with_that_reason() -> None:
    office = Office()
    binding = office.bind(office.dial(), CLIENT)
    (connection,) = binding.connections
    connection.explanation = "a virus was found"
    binding.withdraw("finished")

    (record,) = records(office, "binding.closed")
    assert record["level"] == "warning"
    assert record["reason"] == "closed-by-filter"
    assert record["explanation"] == "a virus was found"


def test_a_warning_about_a_control_connection_names_both_sides_and_the_rule() -> None:
    office = Office()
    primary = office.dial()

    primary.note("command.refused", level="warning", reason="unknown-mechanism")
    primary.note("stream.clear_again")

    (warning,) = records(office, "command.refused")
    assert (warning["client"], warning["server"]) == (primary.client, primary.server)
    assert (warning["rule"], warning["protocol"]) == (primary.rule.name, primary.protocol.name)
    (normal,) = records(office, "stream.clear_again")
    assert set(normal) == {"level", "session", "connection"}
