"""Lists with parameters: written back as they were read, whatever is quoted in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.errors import ProtocolError
from sallyport.wire.parameters import Parameters, split


def test_a_separator_inside_quotes_or_brackets_separates_nothing() -> None:
    text = b'"a,\\"b" <sip:x,y>;q=1 , c'

    assert split(text, b",") == [b'"a,\\"b" <sip:x,y>;q=1 ', b" c"]


@pytest.mark.parametrize("text", [b'a,"b', b"a<b", b'"a\\'])
def test_a_quote_that_is_not_closed_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="open-quote"):
        split(text, b",")


def test_parameters_are_found_by_name_with_blanks_around_them() -> None:
    said = Parameters.read(b' RTP/AVP ; unicast;Client_Port = 1-2 ;mode="PLAY;x"')

    assert said.head == b"RTP/AVP"
    assert said.names() == (b"unicast", b"client_port", b"mode")
    assert said.get(b"client_port") == b"1-2"
    assert said.get(b"unicast") == b""
    assert said.get(b"ttl") is None
    assert said.get(b"mode") == b'"PLAY;x"'


def test_a_parameter_is_replaced_where_it_stands() -> None:
    said = Parameters.read(b"a; p = 1 ;q;p2=3")

    assert bytes(said.saying(b"p", b"22")) == b"a; p = 22 ;q;p2=3"
    assert bytes(said.saying(b"q", b"4")) == b"a; p = 1 ;q=4;p2=3"
    assert bytes(said.saying(b"z", b"4")) == bytes(said)
    assert bytes(said.without(b"p")) == b"a;q;p2=3"


def test_a_parameter_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(ProtocolError, match="parameter-twice"):
        Parameters.read(b"a;p=1;P=1").get(b"p")


@given(
    st.text(alphabet='a=;, "\\<>1\t', max_size=40).map(str.encode), st.sampled_from([b",", b";"])
)
def test_what_is_read_is_written_back_the_same(text: bytes, separator: bytes) -> None:
    try:
        pieces = split(text, separator)
    except ProtocolError:
        return

    assert separator.join(pieces) == text
    if separator == b";":
        assert bytes(Parameters.read(text)) == text
