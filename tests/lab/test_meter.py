import socket

import pytest

from sallyport.lab.meter import MediaMeter
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

PORTS = range(7000, 7010)


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_a_meter_counts_what_comes_to_its_ports_by_source_whether_or_not_anybody_listens(
    lab: Lab, family: int
) -> None:
    host, first, other = lab.servers[family - 4], lab.servers[3], lab.servers[4]
    meter = MediaMeter(host, PORTS)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    for sender, port, count in ((first, 7000, 3), (other, 7009, 2), (first, 7010, 5)):
        with sender.entered(), socket.socket(kind, socket.SOCK_DGRAM) as made:
            for _ in range(count):
                made.sendto(b"sound", (str(host.address(family)), port))

    assert meter.heard(first.address(family)) == 3
    assert meter.heard(other.address(family)) == 2
    assert meter.heard() == 5
    with pytest.raises(TimeoutError, match="hears 0 datagrams, not 1"):
        meter.wait_for(1, seconds=0)
