"""What the rules would say (`HostAccessCheck`)."""

from ipaddress import ip_address

import pytest
from tests.core.office import FTP, Office
from tests.core.test_published import FTP_SERVER, OUTSIDE, RULE, SERVER, PublishingOffice

from sallyport.addresses import IpAddress
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import InvalidArgument
from sallyport.flags import Transport

HOST = ip_address("198.51.100.9")
HOST_6 = ip_address("2001:db8::9")
TFTP = ProtocolDefinition("tftp", Transport.UDP, 69)


@pytest.mark.parametrize(
    ("client", "host", "port", "allowed", "reason"),
    [
        ("10.0.0.8", HOST, None, True, "allowed-by-rule"),
        ("fd00:a::8", HOST_6, None, True, "allowed-by-rule"),
        ("10.0.0.8", HOST, 21, True, "allowed-by-rule"),
        ("10.0.0.8", HOST, 1024, True, "allowed-by-rule"),
        ("10.0.0.8", HOST, 1023, False, "server-port-below-minimum"),
        ("10.0.0.8", HOST_6, None, False, "addresses-of-two-families"),
        ("10.0.0.8", ip_address("10.0.0.9"), None, False, "no-network-rule"),
        ("10.0.0.8", ip_address("203.0.113.1"), None, False, "peer-is-gateway"),
    ],
)
def test_the_access_rules_answer_for_the_sessions_client(
    client: str, host: IpAddress, port: int | None, allowed: bool, reason: str
) -> None:
    session = Office().gateway.client_session(ip_address(client))
    verdict = session.host_access_check(FTP, host, port)

    assert (verdict.allowed, verdict.reason) == (allowed, reason)


def test_the_rule_that_answered_is_named() -> None:
    session = Office().gateway.client_session(ip_address("10.0.0.8"))

    for port in (None, 80):
        rule = session.host_access_check(FTP, HOST, port).rule
        assert rule is not None
        assert rule.name == "test rule"
    assert session.host_access_check(TFTP, HOST).reason == "no-rule-matched"


def test_a_protocol_can_be_asked_about_by_its_uuid() -> None:
    office = PublishingOffice()
    session = office.gateway.client_session(ip_address("10.0.0.8"))

    assert session.host_access_check(FTP.uuid, HOST).allowed
    with pytest.raises(InvalidArgument):
        session.host_access_check(TFTP.uuid, HOST)


@pytest.mark.parametrize(
    ("protocol", "host", "port", "reason"),
    [
        (FTP_SERVER, OUTSIDE.address, None, "allowed-by-rule"),
        (FTP_SERVER, OUTSIDE.address, 21, "allowed-by-rule"),
        (FTP_SERVER, OUTSIDE.address, 22, "no-rule-matched"),
        (FTP, OUTSIDE.address, None, "no-rule-matched"),
        (FTP_SERVER, ip_address("10.0.0.1"), None, "peer-is-gateway"),
    ],
)
def test_the_publishing_rules_answer_who_may_reach_the_client(
    protocol: ProtocolDefinition, host: IpAddress, port: int | None, reason: str
) -> None:
    session = PublishingOffice().gateway.client_session(SERVER.address)
    verdict = session.host_access_check(protocol, host, port, check_publishing=True)

    assert (verdict.allowed, verdict.reason) == (reason == "allowed-by-rule", reason)
    assert not verdict.allowed or verdict.rule is RULE


def test_a_client_that_publishes_nothing_cannot_be_reached() -> None:
    session = PublishingOffice().gateway.client_session(ip_address("10.0.0.8"))
    verdict = session.host_access_check(FTP_SERVER, OUTSIDE.address, check_publishing=True)

    assert verdict.reason == "no-rule-matched"


def test_asking_has_no_effect() -> None:
    office = Office()
    session = office.gateway.client_session(ip_address("10.0.0.8"))
    before, records = office.holdings(), len(office.world.journal.records)

    session.host_access_check(FTP, HOST, 3000)
    session.host_access_check(FTP, HOST, 80)

    assert office.holdings() == before
    assert len(office.world.journal.records) == records
