"""What one host may hold, and all together: quotas count hosts and not addresses."""

from dataclasses import replace

import pytest
from tests.core.office import Office

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import PolicyDenied, QuotaExceeded
from sallyport.testing.world import make_policy

SERVER_6 = "[2001:db8::9]:21"


def of_one_host(number: int) -> str:
    """Return one of the many addresses of one IPv6 host, with a port of its own."""
    return f"[fd00:a::{number:x}]:50000"


def test_the_addresses_of_one_ipv6_host_share_the_quota_of_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 3)
    office = Office()
    held = [office.admit(of_one_host(number), SERVER_6) for number in range(8, 11)]

    with pytest.raises(QuotaExceeded, match="too-many-controls"):
        office.admit(of_one_host(20), SERVER_6)
    office.admit("10.0.0.8:50000")  # another host is not concerned
    office.gateway.end_primary(held[0], "over", abort=True)
    office.admit(of_one_host(20), SERVER_6)


def test_the_addresses_of_one_ipv6_host_share_the_quota_of_bindings() -> None:
    office = Office(max_bindings_per_client=2)
    for number in (8, 9):
        primary = office.dial(of_one_host(number), SERVER_6)
        office.bind(primary, Endpoint.parse(f"[fd00:a::{number:x}]:2000"))

    primary = office.dial(of_one_host(10), SERVER_6)
    with pytest.raises(QuotaExceeded, match="too-many-bindings"):
        office.bind(primary, Endpoint.parse("[fd00:a::a]:2000"))


def test_how_much_of_an_address_is_one_host_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 1)
    office = Office(policy=replace(make_policy(), ipv6_host_prefix=128))

    for number in (8, 9):
        office.admit(of_one_host(number), SERVER_6)
    with pytest.raises(QuotaExceeded):
        office.admit("[fd00:a::8]:50001", SERVER_6)


def test_all_hosts_together_have_a_bound_and_one_has_a_part_of_it() -> None:
    office = Office(max_controls=8)
    held = [office.admit(f"10.0.0.8:{port}") for port in (50000, 50001)]
    with pytest.raises(QuotaExceeded, match="too-many-controls"):
        office.admit("10.0.0.8:50002")
    held += [office.admit(f"10.0.0.{host}:{port}") for host in (9, 10, 11) for port in (1025, 1026)]

    with pytest.raises(QuotaExceeded, match="too-many-connections"):
        office.admit("10.0.0.12:50000")
    assert office.world.journal.reasons("connect.refused")[-1] == "too-many-connections"
    for primary in held:
        primary.kill()
    office.admit("10.0.0.12:50000")


def test_all_bindings_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BINDINGS", 2)
    office = Office()
    primary = office.dial()
    bindings = [office.bind(primary) for _ in range(2)]

    with pytest.raises(QuotaExceeded, match="too-many-bindings-of-all"):
        office.bind(primary)
    bindings[0].withdraw("over")
    office.bind(primary)


def test_what_policy_refuses_counts_for_nobody() -> None:
    office = Office(max_controls=4)
    for _ in range(5):
        with pytest.raises(PolicyDenied):
            office.admit(server="10.0.0.9:21")
    office.admit()
