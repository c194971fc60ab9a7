"""Which packets the program keeps, by an interpreter of the few instructions it is made of."""

import struct
from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.relay.peer_program import program

_NETWORK_HEADER = 0xFFF0_0000
_SOURCE = {4: 12, 6: 8}


def keeps(code: bytes, peer: Endpoint) -> bool:
    """Run a program on the SYN of a peer."""
    network = bytes(_SOURCE[peer.version]) + peer.address.packed
    transport = peer.port.to_bytes(2, "big")
    instructions = list(struct.iter_unpack("=HBBI", code))
    register, place = 0, 0
    while True:
        operation, if_true, if_false, constant = instructions[place]
        place += 1
        if operation == 0x20:
            begin = constant - _NETWORK_HEADER
            register = int.from_bytes(network[begin : begin + 4], "big")
        elif operation == 0x28:
            register = int.from_bytes(transport[constant : constant + 2], "big")
        elif operation == 0x54:
            register &= constant
        elif operation == 0x15:
            place += if_true if register == constant else if_false
        elif operation == 0x06:
            return bool(constant)
        else:
            raise AssertionError(f"no instruction {operation:#x}")


def pinhole(
    sources: IpFilter | None, ports: frozenset[int] | None = None, version: int = 4
) -> Pinhole:
    listen = Endpoint.parse("127.0.0.1:40000" if version == 4 else "[::1]:40000")
    return Pinhole(1, Transport.TCP, listen, listen, sources, source_ports=ports)


def addresses(version: int) -> st.SearchStrategy[IpAddress]:
    # Few of them, so that a peer often is one that is let in, or a neighbour of one.
    base = int(ip_address("198.51.100.0" if version == 4 else "2001:db8::ffff:fff0"))
    return st.integers(0, 40).map(lambda number: ip_address(base + number))


@given(st.data())
def test_it_keeps_whom_a_pinhole_lets_in_and_nobody_else(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([4, 6]))
    ends = st.tuples(addresses(version), addresses(version)).map(sorted)
    pinholes = []
    for _ in range(data.draw(st.integers(1, 3))):
        sources = IpFilter()
        for first, last in data.draw(st.lists(ends, max_size=3)):
            sources = sources.include_range(first, last)
        ports = data.draw(st.none() | st.frozensets(st.integers(1, 5), min_size=1))
        pinholes.append(pinhole(sources, ports, version))
    code = program(pinholes, version)
    assert code is not None

    for _ in range(20):
        peer = Endpoint(data.draw(addresses(version)), data.draw(st.integers(1, 6)))
        is_let_in = any(
            one.sources is not None
            and peer.address in one.sources
            and (one.source_ports is None or peer.port in one.source_ports)
            for one in pinholes
        )
        assert keeps(code, peer) is is_let_in, peer


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("198.51.100.9", "198.51.100.9", "198.51.100.8"),
        ("198.51.100.0/24", "198.51.100.255", "198.51.101.0"),
        ("128.0.0.0/1", "203.0.113.9", "10.0.0.8"),
        ("2001:db8::/32", "2001:db8:ffff::9", "2001:db9::9"),
        ("2001:db8:0:1::/65", "2001:db8:0:1:7fff::", "2001:db8:0:1:8000::"),
        ("2001:db8::9", "2001:db8::9", "2001:db8::a"),
    ],
)
def test_prefixes_of_every_length_are_compared(prefix: str, inside: str, outside: str) -> None:
    version = ip_address(inside).version
    code = program([pinhole(IpFilter.of(prefix), None, version)], version)

    assert code is not None
    assert keeps(code, Endpoint(ip_address(inside), 1))
    assert not keeps(code, Endpoint(ip_address(outside), 1))


def test_whoever_may_come_from_some_ports_is_kept_by_these_alone() -> None:
    for version, address in product((4, 6), ("198.51.100.9", "2001:db8::9")):
        if ip_address(address).version == version:
            code = program([pinhole(None, frozenset({7000, 7002}), version)], version)
            assert code is not None
            kept = [
                port
                for port in range(6999, 7004)
                if keeps(code, Endpoint(ip_address(address), port))
            ]
            assert kept == [7000, 7002]


def test_an_empty_filter_keeps_nobody() -> None:
    assert program([pinhole(IpFilter())], 4) == struct.pack("=HBBI", 0x06, 0, 0, 0)
    assert program([pinhole(IpFilter.of("2001:db8::9"))], 4) == program([pinhole(IpFilter())], 4)


def test_where_anyone_may_come_there_is_no_program() -> None:
    assert program([pinhole(IpFilter.of("198.51.100.9")), pinhole(None)], 4) is None
    assert program([pinhole(IpFilter.of("0.0.0.0/0"))], 4) is not None


def test_peers_that_are_too_many_are_left_to_the_one_who_accepts() -> None:
    many = IpFilter.of(*(f"10.0.{number}.0" for number in range(0, 256, 2)))
    assert program([pinhole(many, frozenset(range(1, 5)))], 4) is not None
    assert program([pinhole(many, frozenset(range(1, 50)))], 4) is None
