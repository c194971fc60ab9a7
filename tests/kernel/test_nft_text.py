"""Phrases of nft's language: what is written for networks, and what cannot be."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Network, Policy
from sallyport.flags import Transport
from sallyport.kernel import nft_text

INTERNAL = Network("internal", ("int0", "int1"), (ip_network("10.0.0.0/24"),))
EXTERNAL = Network("external", ("ext0",))


def test_a_chain_has_its_rules_and_closing_brace_on_lines_of_their_own() -> None:
    assert nft_text.chain("c", ["a", "b"]) == "    chain c {\n        a\n        b\n    }\n"


def test_overlapping_prefixes_are_merged() -> None:
    wide = replace(INTERNAL, addresses=(ip_network("10.0.0.0/8"), ip_network("10.0.0.0/24")))

    assert "ip saddr { 10.0.0.0/8 }" in (nft_text.leaving(wide, EXTERNAL, 4) or "")


def test_what_goes_between_networks_is_matched_at_both_interfaces() -> None:
    leaving = 'oifname { "ext0" } meta nfproto ipv4 ip saddr { 10.0.0.0/24 }'

    assert nft_text.leaving(INTERNAL, EXTERNAL, 4) == leaving
    assert nft_text.between(INTERNAL, EXTERNAL, 4) == f'iifname {{ "int0", "int1" }} {leaving}'


def test_nothing_is_matched_where_a_network_has_no_addresses_of_a_family() -> None:
    assert nft_text.leaving(INTERNAL, EXTERNAL, 6) is None
    assert nft_text.between(EXTERNAL, INTERNAL, 6) is None


def test_inside_and_outside_are_interfaces_or_nothing() -> None:
    both = Policy((INTERNAL, EXTERNAL))

    assert (nft_text.inside(both), nft_text.outside(both)) == ('{ "int0", "int1" }', '{ "ext0" }')
    assert nft_text.inside(Policy((EXTERNAL,))) == ""
    assert nft_text.outside(Policy((INTERNAL,))) == ""


def test_one_port_of_one_host_is_matched_in_either_family() -> None:
    v4, v6 = Endpoint.parse("10.0.0.8:21"), Endpoint.parse("[fd00:a::8]:69")

    assert nft_text.to(v4, Transport.TCP) == "ip daddr 10.0.0.8 tcp dport 21"
    assert nft_text.to(v6, Transport.UDP) == "ip6 daddr fd00:a::8 udp dport 69"


@pytest.mark.parametrize("name", ['a"; drop', "a\nb"])
def test_an_interface_name_cannot_smuggle_rules(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        nft_text.names([INTERNAL, replace(EXTERNAL, interfaces=(name,))])


def test_a_network_without_interfaces_is_refused() -> None:
    with pytest.raises(ValueError, match="without interfaces"):
        nft_text.names([replace(EXTERNAL, interfaces=())])
