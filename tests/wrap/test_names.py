import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.wrap import names


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("10.0.0.8:8000", socket.AF_INET),
        ("[2001:db8::9]:8000", socket.AF_INET6),
        ("10.0.0.8:8000", socket.AF_INET6),
    ],
)
def test_a_name_reads_back_as_it_was_written(text: str, family: int) -> None:
    endpoint = Endpoint.parse(text)
    assert names.parse(names.write(endpoint, family)) == endpoint


def test_an_ipv6_address_does_not_fit_into_an_ipv4_socket() -> None:
    with pytest.raises(ValueError, match="IPv4 socket"):
        names.write(Endpoint.parse("[2001:db8::9]:1"), socket.AF_INET)


@given(raw=st.binary(max_size=names.MAX_BYTES))
def test_any_bytes_are_a_name_or_none(raw: bytes) -> None:
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        names.parse(struct.pack("=H", family) + raw)
