"""What clients of PCP and NAT-PMP are told unasked, by multicast, when the gateway starts."""

import socket
import sys
from contextlib import closing
from ipaddress import ip_address

import pytest
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

INSIDE = {4: "10.0.0.1", 6: "fd00:a::1"}


@pytest.mark.parametrize("family", [4, 6])
def test_section_14_1_clients_hear_of_a_new_beginning(lab: Lab, family: int) -> None:
    group, any_address = ("224.0.0.1", "0.0.0.0") if family == 4 else ("ff02::1", "::")
    with lab.client.entered():
        sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        index = socket.if_nametoindex("eth0")
    with closing(sock):
        sock.bind((any_address, 5350))
        if family == 4:
            request = ip_address(group).packed + bytes(4) + index.to_bytes(4, sys.byteorder)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.settimeout(10)
        file = lab.folder / "announcing.toml"
        text = configuration(protocols=("port-mapping",), rest="[frontends.pcp]\n")
        file.write_text(text, encoding="ascii")
        running = RunningGateway(lab, ("--config", str(file)), name="announcing")
        try:
            said = [sock.recvfrom(100) for _ in range(3)]
        finally:
            running.stop()
    assert {source[:2] for _, source in said} == {(INSIDE[family], 5351)}
    kinds = [data[0] for data, _ in said]
    assert kinds == ([2, 0, 2] if family == 4 else [2, 2, 2])
