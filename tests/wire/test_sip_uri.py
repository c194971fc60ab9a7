"""SIP URIs and the headers that carry one: host and port are replaced, the rest stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire.sip import uri
from sallyport.wire.sip.uri import NameAddress, SipUri

OURS = Endpoint.parse("203.0.113.1:40000")


@pytest.mark.parametrize(
    ("text", "endpoint", "replaced"),
    [
        (b"sip:kim@10.0.0.8", "10.0.0.8:5060", b"sip:kim@203.0.113.1:40000"),
        (b"SIPS:10.0.0.8:5061;lr", "10.0.0.8:5061", b"SIPS:203.0.113.1:40000;lr"),
        (
            b"sip:kim;x=1:p%40w@[fd00:a::8]:5070;transport=tcp?h=v",
            "[fd00:a::8]:5070",
            b"sip:kim;x=1:p%40w@203.0.113.1:40000;transport=tcp?h=v",
        ),
    ],
)
def test_only_host_and_port_are_replaced(text: bytes, endpoint: str, replaced: bytes) -> None:
    read = SipUri.read(text)

    assert read.endpoint == Endpoint.parse(endpoint)
    assert bytes(read) == text
    assert bytes(read.at(OURS)) == replaced


def test_a_name_leads_to_no_endpoint() -> None:
    assert SipUri.read(b"sip:kim@phone.example.org:5070").endpoint is None
    assert SipUri.read(b"sip:kim@phone.example.org:5070").port == 5070


@pytest.mark.parametrize(
    "text",
    [b"tel:+123", b"http://a", b"sip:", b"sip:a@b@c", b"sip:a@b:0", b"sip:a@b:65536", b"sip:a b@c"],
)
def test_what_is_no_sip_uri_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-sip-uri"):
        SipUri.read(text)


@pytest.mark.parametrize(
    ("text", "target", "expires"),
    [
        (
            b'"Kim, \\"K\\"" <sip:kim@10.0.0.8;ob>;expires=3600;q=0.5',
            b"sip:kim@10.0.0.8;ob",
            b"3600",
        ),
        (b" sip:kim@10.0.0.8 ;expires=60", b"sip:kim@10.0.0.8", b"60"),
        (b"<sip:kim@10.0.0.8?a=b,c>", b"sip:kim@10.0.0.8?a=b,c", None),
        (b"*", b"*", None),
    ],
)
def test_parameters_after_the_bracket_are_those_of_the_header(
    text: bytes, target: bytes, expires: bytes | None
) -> None:
    read = NameAddress.read(text)

    assert read.target == target
    assert read.get(b"expires") == expires
    assert bytes(read) == text


def test_a_contact_is_moved_with_everything_else_as_it_was() -> None:
    read = NameAddress.read(b'Kim <sip:kim@10.0.0.8:5062;ob>;+sip.instance="<urn:uuid:1>"')

    assert bytes(read.at(OURS)) == (
        b'Kim <sip:kim@203.0.113.1:40000;ob>;+sip.instance="<urn:uuid:1>"'
    )


def test_a_star_and_a_telephone_number_have_no_uri_of_sip() -> None:
    assert NameAddress.read(b"*").uri() is None
    assert NameAddress.read(b"<tel:+123>").uri() is None


@pytest.mark.parametrize("text", [b'"Kim <sip:kim@10.0.0.8>', b"a<b<c>", b"sip:a>"])
def test_a_bracket_or_quote_out_of_place_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-name-address"):
        NameAddress.read(text)


@given(st.text(alphabet='sip:a@b<>;=" ,1\\', max_size=40).map(str.encode))
def test_every_list_that_is_read_is_written_back_the_same(text: bytes) -> None:
    try:
        read = uri.read_name_addresses(text)
    except ProtocolError:
        return

    assert uri.write_name_addresses(read) == text


@pytest.mark.parametrize(
    ("text", "transport"),
    [
        (b"sip:kim@10.0.0.8;Transport=TCP;ob", b"tcp"),
        (b"sip:kim;transport=tcp@10.0.0.8", b""),
        (b"sips:kim@10.0.0.8;transport=tcp", b"tls"),
        (b"sip:10.0.0.8;transport=ws?transport=tcp", b"ws"),
    ],
)
def test_what_it_is_spoken_over_is_a_parameter_behind_the_host(
    text: bytes, transport: bytes
) -> None:
    assert SipUri.read(text).transport == transport
