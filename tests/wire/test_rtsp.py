"""The Transport header of RTSP, in the words of version 1.0 and of 2.0."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire import rtsp
from sallyport.wire.rtsp import HostPort, TransportSpec

OLD = b"RTP/AVP;unicast;client_port=4588-4589;destination=10.0.0.8, RTP/AVP/TCP;interleaved=0-1"
NEW = b'RTP/AVP;unicast;dest_addr=":8000"/"10.0.0.8:8001";RTCP-mux;src_addr="[2001:db8::9]:6970"'


def spec(text: bytes) -> TransportSpec:
    return TransportSpec.read(text)


def test_a_list_is_read_in_its_order_and_written_back() -> None:
    specs = rtsp.read_transports(OLD)

    assert [one.is_udp for one in specs] == [True, False]
    assert [one.is_interleaved for one in specs] == [False, True]
    assert specs[0].ports(b"client_port") == (4588, 4589)
    assert specs[0].address(b"destination") == ip_address("10.0.0.8")
    assert specs[0].address(b"source") is None
    assert rtsp.write_transports(specs) == OLD


def test_addresses_of_version_2_may_lack_each_part() -> None:
    one = spec(NEW)

    assert one.addresses(b"dest_addr") == (
        HostPort(None, 8000),
        HostPort(ip_address("10.0.0.8"), 8001),
    )
    assert one.addresses(b"src_addr") == (HostPort(ip_address("2001:db8::9"), 6970),)
    assert spec(b'RTP/AVP;dest_addr=""').addresses(b"dest_addr") == (HostPort(None, None),)
    assert one.addresses(b"other") == ()


@pytest.mark.parametrize(
    ("text", "is_udp"),
    [
        (b"RTP/AVP", True),
        (b"rtp/avp/udp", True),
        (b"RTP/SAVPF/UDP", True),
        (b"MP2T/H2221/UDP", True),
        (b"RAW/RAW/UDP", True),
        (b"RTP/AVP/TCP", False),
        (b"RTP/AVP;interleaved=0-1", False),
        (b"x-real-rdt/udp", False),
        (b"D-ICE/RTP/AVP", False),
    ],
)
def test_what_comes_in_datagrams_is_told_by_its_name(text: bytes, is_udp: bool) -> None:
    assert spec(text).is_udp is is_udp


def test_groups_and_candidates_are_told_from_unicast() -> None:
    assert spec(b"RTP/AVP;multicast;port=5000-5001").is_multicast
    assert spec(b'D-ICE/RTP/AVP;candidates="1 1 UDP"').is_ice
    assert not spec(b"RTP/AVP;unicast").is_multicast


@pytest.mark.parametrize("said", [b"x", b"0-1", b"1-65536", b"1-2-3", b"", b"-5", b"99999"])
def test_r02_ports_that_are_none_are_refused(said: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-rtsp-ports"):
        spec(b"RTP/AVP;client_port=" + said).ports(b"client_port")


@pytest.mark.parametrize("said", [b'"host.example:1"', b"10.0.0.8:1", b'"[::1"', b'":99999"'])
def test_r07_addresses_that_are_none_are_refused(said: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-rtsp"):
        spec(b"RTP/AVP;dest_addr=" + said).addresses(b"dest_addr")


def test_r01_a_destination_by_name_is_refused() -> None:
    with pytest.raises(ProtocolError, match="bad-rtsp-address"):
        spec(b"RTP/AVP;destination=victim.example").address(b"destination")


def test_ports_and_addresses_are_written_as_each_version_reads_them() -> None:
    both = Endpoint.parse("203.0.113.1:40000"), Endpoint.parse("[2001:db8::1]:40001")

    assert rtsp.write_ports((40000, 40001)) == b"40000-40001"
    assert rtsp.write_ports((40000,)) == b"40000"
    assert rtsp.write_addresses(both) == b'"203.0.113.1:40000"/"[2001:db8::1]:40001"'


def test_a_session_has_a_name_and_perhaps_a_timeout() -> None:
    assert rtsp.read_session(b"12ab;timeout=90") == (b"12ab", 90)
    assert rtsp.read_session(b"12ab ; timeout = x") == (b"12ab", None)
    assert rtsp.read_session(b"12ab") == (b"12ab", None)
    assert rtsp.read_session(None) == (b"", None)


def test_a_sequence_number_is_a_number() -> None:
    assert rtsp.read_cseq(b"0012") == 12
    assert rtsp.read_cseq(b"x") is None
    assert rtsp.read_cseq(None) is None


@given(st.text(alphabet='a=;, "/:1-<>', max_size=40).map(str.encode))
def test_every_header_that_is_read_is_written_back_the_same(text: bytes) -> None:
    try:
        specs = rtsp.read_transports(text)
    except ProtocolError:
        return

    assert rtsp.write_transports(specs) == text
