"""Interception as text: what comes to us, and what happens to it while nobody listens."""

from dataclasses import replace

from tests.kernel.test_base_table import EXTERNAL, RULES, guard_lines, published

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Policy
from sallyport.flags import Transport
from sallyport.kernel.interception import Interception


def test_intercepted_ports_go_to_the_listener_or_nowhere() -> None:
    text = guard_lines(rules=replace(RULES, interceptions=(Interception(4, 21, (2121,)),)))

    assert (
        'tcp dport 21 meta nfproto ipv4 iifname { "int0" } fib daddr type != local'
        " tproxy ip to 127.0.0.1:2121 meta mark set meta mark | 0x10000"
        " ct mark set ct mark | 0x80000000 accept"
    ) in text
    refuse = 'iifname { "int0" } meta nfproto ipv4 tcp dport 21 reject with tcp reset'
    assert text.index(refuse) < text.index('iifname { "int0" } oifname { "int0" } accept')


def test_datagrams_are_intercepted_by_a_listener_of_their_own() -> None:
    both = (
        Interception(6, 69, (1069,), Transport.UDP),
        Interception(6, 69, (2069,), Transport.TCP),
    )
    text = guard_lines(rules=replace(RULES, interceptions=both))

    assert [line for line in text if "udp dport 69" in line and "tproxy ip6 to [::1]:1069" in line]
    assert 'iifname { "int0" } meta nfproto ipv6 udp dport 69 reject' in text


def test_datagrams_find_their_listener_before_any_transparent_socket() -> None:
    both = (Interception(4, 21, (2121,)), Interception(4, 69, (1069,), Transport.UDP))
    text = guard_lines(rules=replace(RULES, interceptions=both))

    sockets = next(n for n, line in enumerate(text) if "17 } socket transparent 1" in line)
    datagrams = next(n for n, line in enumerate(text) if ":1069" in line)
    streams = next(n for n, line in enumerate(text) if ":2121" in line)
    assert datagrams < sockets < streams


def test_intercepted_datagrams_are_tracked_apart_both_ways() -> None:
    both = (Interception(4, 21, (2121,)), Interception(4, 69, (1069,), Transport.UDP))
    text = guard_lines(rules=replace(RULES, interceptions=both))

    assert [line for line in text if "ct zone set 23057" in line] == [
        'udp dport 69 meta nfproto ipv4 iifname { "int0" } fib daddr type != local'
        " ct zone set 23057",
        'oifname { "int0" } udp sport { 69 } fib saddr type != local ct zone set 23057',
    ]
    assert not [line for line in guard_lines() if "ct zone set 23057" in line]


def test_datagrams_for_a_published_server_are_tracked_apart_wherever_they_arrive() -> None:
    nat = published("203.0.113.2:69", "10.0.0.20:6969", Transport.UDP)
    place = Endpoint.parse("[fd00:a::8]:69")
    item = Interception(6, 69, (1069,), Transport.UDP, server=place.address)
    routed = published(str(place), str(place), Transport.UDP)

    assert [line for line in guard_lines(nat) if "ct zone set 23057" in line] == [
        'iifname { "ext0" } ip daddr 203.0.113.2 udp dport 69 ct zone set 23057',
        'oifname { "ext0" } ip saddr 203.0.113.2 udp sport 69 ct zone set 23057',
    ]
    text = guard_lines(routed, replace(RULES, interceptions=(item,)))
    assert [line for line in text if "ct zone set 23057" in line] == [
        'iifname { "ext0" } ip6 daddr fd00:a::8 udp dport 69 ct zone set 23057',
        'oifname { "ext0" } ip6 saddr fd00:a::8 udp sport 69 ct zone set 23057',
    ]
    (delivery,) = (line for line in text if "tproxy ip6 to [::1]:1069" in line)
    assert delivery.startswith('iifname { "ext0" } ip6 daddr fd00:a::8 udp dport 69 ')


def test_a_leg_towards_a_client_is_tracked_apart_where_nothing_is_translated() -> None:
    text = guard_lines()

    assert [line for line in text if "ct zone set 23058" in line] == [
        'meta nfproto ipv6 meta l4proto { 6, 17 } iifname { "int0" }'
        " socket mark & 0x40000 == 0x40000 ct zone set 23058",
        'meta mark & 0x40000 != 0 oifname { "int0" } ct zone set 23058',
    ]


def test_a_routed_published_server_is_intercepted_from_outside_and_nobody_beside_it() -> None:
    place = Endpoint.parse("[fd00:a::8]:21")
    item = Interception(6, 21, (2121,), server=place.address)
    text = guard_lines(published(str(place), str(place)), replace(RULES, interceptions=(item,)))

    assert [line for line in text if "tproxy" in line] == [
        'iifname { "ext0" } ip6 daddr fd00:a::8 tcp dport 21 tproxy ip6 to [::1]:2121'
        " meta mark set meta mark | 0x10000 ct mark set ct mark | 0x80000000 accept"
    ]
    assert not [line for line in text if "reject with tcp reset" in line and "dport" in line]


def test_without_clients_inside_nothing_of_theirs_is_intercepted_or_refused() -> None:
    item = Interception(4, 69, (1069,), Transport.UDP)
    text = guard_lines(Policy((EXTERNAL,)), replace(RULES, interceptions=(item,)))

    assert not [line for line in text if "dport 69" in line]


def test_each_client_goes_to_the_chain_of_its_worker() -> None:
    item = Interception(4, 21, (2121, 3121))
    text = "\n".join(guard_lines(rules=replace(RULES, interceptions=(item,))))

    assert "vmap { 0-31 : goto tcp4_worker1, 32-63 : goto tcp4_worker2 }" in text
    assert "chain tcp4_worker2 {" in text
    assert "meta l4proto tcp tproxy ip to 127.0.0.1:3121 meta mark set" in text
