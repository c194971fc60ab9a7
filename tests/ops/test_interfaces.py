from ipaddress import ip_address, ip_interface

import pytest

from sallyport.errors import StartupError
from sallyport.ops.interfaces import addresses_of, local_addresses


def test_the_loopback_interface_has_its_address() -> None:
    assert ip_interface("127.0.0.1/8") in addresses_of("lo")


def test_an_interface_that_is_not_there_is_told_with_how_to_see_the_others() -> None:
    with pytest.raises(StartupError, match="there is no interface 'none0'; `ip link`"):
        addresses_of("none0")


def test_a_machine_without_ip_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(StartupError, match="install iproute2"):
        addresses_of("lo")


def test_the_hosts_addresses_include_those_of_every_interface() -> None:
    assert {ip_address("127.0.0.1"), *(item.ip for item in addresses_of("lo"))} <= local_addresses()
