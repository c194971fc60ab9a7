from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import MAX_PORT, Endpoint, IpAddress, PortRange, parse_address

ENDPOINTS = st.builds(Endpoint, st.ip_addresses(), st.integers(0, MAX_PORT))


@given(ENDPOINTS)
def test_what_an_endpoint_writes_it_reads(endpoint: Endpoint) -> None:
    assert Endpoint.parse(str(endpoint)) == endpoint


@given(st.text(max_size=30))
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.8:1553", "10.0.0.8", 1553),
        ("10.0.0.8:0", "10.0.0.8", 0),
        ("10.0.0.8:00021", "10.0.0.8", 21),
        ("[fd00::8]:65535", "fd00::8", 65535),
        ("[::]:0", "::", 0),
    ],
)
def test_an_endpoint_is_read_as_it_is_written(text: str, address: str, port: int) -> None:
    assert Endpoint.parse(text) == Endpoint(ip_address(address), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "10.0.0.8",
        "10.0.0.8:",
        ":21",
        "10.0.0.8:65536",
        "10.0.0.8:-1",
        "10.0.0.8:+1",
        "10.0.0.8: 21",
        "10.0.0.8:000021",
        "10.0.0.8:２１",
        "10.0.0:21",
        "010.0.0.8:21",
        "[10.0.0.8]:21",
        "fd00::8:21",
        "[fd00::8]",
        "[fd00::8:21",
        "[fe80::1%eth0]:21",
        "host.example:21",
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has a zone"):
        Endpoint.parse(text)


@pytest.mark.parametrize("port", [-1, 65536])
def test_no_endpoint_has_a_port_outside_16_bits(port: int) -> None:
    with pytest.raises(ValueError, match="is not in 0-65535"):
        Endpoint(ip_address("10.0.0.8"), port)
    with pytest.raises(ValueError, match="is not in 0-65535"):
        Endpoint.parse("10.0.0.8:21").with_port(port)


def test_only_address_and_port_together_can_be_not_known_yet() -> None:
    texts = ["0.0.0.0:0", "[::]:0", "0.0.0.0:21", "10.0.0.8:0"]
    assert [Endpoint.parse(text).is_zero for text in texts] == [True, True, False, False]


def test_an_endpoint_knows_its_family_and_its_neighbours() -> None:
    endpoint = Endpoint.parse("[fd00::8]:21")
    assert endpoint.version == 6
    assert Endpoint.parse("10.0.0.8:21").version == 4
    assert endpoint.with_port(20) == Endpoint.parse("[fd00::8]:20")


@given(st.ip_addresses())
def test_an_address_is_read_as_it_is_written(address: IpAddress) -> None:
    assert parse_address(str(address)) == address


def test_an_address_with_a_zone_is_refused_with_a_hint() -> None:
    with pytest.raises(ValueError, match="give the address alone"):
        parse_address("fe80::1%eth0")


@pytest.mark.parametrize("text", ["", "10.0.0.8/24", "10.0.0.256", "fd00:::8", "localhost"])
def test_what_is_no_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not an IP address"):
        parse_address(text)


def test_a_port_range_includes_both_ends() -> None:
    ports = PortRange.parse("40000-40009")

    assert ports == PortRange(40000, 40009)
    assert len(ports) == 10
    assert [port in ports for port in (39999, 40000, 40009, 40010)] == [False, True, True, False]
    assert str(ports) == "40000-40009"
    assert len(PortRange(1, 65535)) == 65535


@pytest.mark.parametrize("text", ["", "-", "1", "1-", "-1", "a-b", "1-2-3", "1.0-2", "+1-2"])
def test_what_is_no_port_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not FIRST-LAST"):
        PortRange.parse(text)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 1), (1, 65536)])
def test_no_port_range_is_empty_or_leaves_the_ports_there_are(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="is not a port range"):
        PortRange(first, last)
