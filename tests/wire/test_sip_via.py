"""The Via header of SIP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire.sip import via
from sallyport.wire.sip.via import Via

TEXT = b"SIP/2.0/UDP 10.0.0.8:5062;rport;branch=z9hG4bK77, SIP / 2.0 / tcp  [fd00:a::8] ;x=1"


def test_hops_are_read_in_their_order_and_written_back() -> None:
    first, second = via.read_vias(TEXT)

    assert (first.transport, first.endpoint) == (b"UDP", Endpoint.parse("10.0.0.8:5062"))
    assert (second.transport, second.endpoint) == (b"TCP", Endpoint.parse("[fd00:a::8]:5060"))
    assert (first.branch, second.branch) == (b"z9hG4bK77", None)
    assert (first.has_rport, second.has_rport) == (True, False)
    assert via.write_vias([first, second]) == TEXT


def test_another_endpoint_is_written_where_the_old_one_stood() -> None:
    first, second = via.read_vias(TEXT)
    ours = Endpoint.parse("203.0.113.1:40000")

    assert bytes(first.at(ours)) == b"SIP/2.0/UDP 203.0.113.1:40000;rport;branch=z9hG4bK77"
    assert bytes(second.at(ours)) == b" SIP / 2.0 / tcp  203.0.113.1:40000 ;x=1"


def test_a_name_is_no_endpoint_and_an_old_branch_names_nothing() -> None:
    hop = Via.read(b"SIP/2.0/UDP phone.example.org;branch=7")

    assert hop.endpoint is None
    assert hop.branch is None


@pytest.mark.parametrize("text", [b"", b"SIP/2.0/UDP", b"SIP/3.0/UDP a", b"SIP/2.0/UDP a:0"])
def test_what_is_no_hop_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-via"):
        Via.read(text)


@given(st.lists(st.sampled_from([b"SIP/2.0/UDP a:1", b" SIP/2.0/TCP b ;x", b';y="1,2"'])))
def test_every_header_that_is_read_is_written_back_the_same(parts: list[bytes]) -> None:
    for text in (b",".join(parts), b"".join(parts)):
        try:
            hops = via.read_vias(text)
        except ProtocolError:
            continue
        assert via.write_vias(hops) == text
