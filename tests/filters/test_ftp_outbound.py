"""A client inside: what its PORT and its PASV become; the dialogue itself: test_ftp_control."""

import pytest
from tests.filters.talk import IPV4, Family, asked, both_families, greeted

from sallyport.filters.ftp import FTP, FtpSettings
from sallyport.flags import BindFlags


@both_families
def test_port_becomes_a_binding_that_ends_with_its_control_connection(family: Family) -> None:
    dialogue = asked(family)
    (binding,) = dialogue.gateway.bindings()

    assert (binding.protocol, binding.primary) == (FTP, dialogue.connection)
    assert binding.flags == BindFlags.TIMEOUT


@both_families
def test_passive_mode_becomes_a_permission_and_no_port_of_the_gateway(family: Family) -> None:
    dialogue = greeted(family).client_says(family.ask_passive).server_says(family.reply_passive)

    assert not list(dialogue.gateway.bindings())
    assert not dialogue.data_path.reserved
    dialogue.pinholes(family.passive_pinhole)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(FtpSettings(), None), (FtpSettings(strict_data_port=True), frozenset({20}))],
)
def test_f27_the_servers_port_counts_only_when_asked_for(
    settings: FtpSettings, expected: frozenset[int] | None
) -> None:
    dialogue = asked(IPV4, greeted(IPV4, settings))
    (binding,) = dialogue.gateway.bindings()

    assert binding.connections[0].pinhole.source_ports == expected
