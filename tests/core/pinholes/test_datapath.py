from ipaddress import ip_address

import pytest
from tests.core.office import CLIENT

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.flags import Transport


@pytest.mark.parametrize(
    ("listen", "is_translated"),
    [
        (Endpoint(ip_address("203.0.113.1"), 40000), True),
        (CLIENT.with_port(40000), True),
        (CLIENT, False),
    ],
)
def test_a_pinhole_translates_unless_it_listens_where_it_leads(
    listen: Endpoint, is_translated: bool
) -> None:
    pinhole = Pinhole(1, Transport.TCP, listen, CLIENT, sources=None)
    assert pinhole.is_translated is is_translated
    assert pinhole.single
