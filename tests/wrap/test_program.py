from ipaddress import ip_address
from pathlib import Path

import pytest

from sallyport.wrap.pcp_client import PcpClient
from sallyport.wrap.program import CannotWrap, default_gateway, gateway_of

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LOCAL = "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
DEFAULT = "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"


def test_the_gateway_is_that_of_the_default_route(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text(HEAD + LOCAL + DEFAULT, encoding="ascii")
    assert default_gateway(routes) == ip_address("10.0.0.1")


def test_without_a_default_route_the_operator_is_told_what_to_say(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text(HEAD + LOCAL, encoding="ascii")
    with pytest.raises(CannotWrap, match="say --gateway ADDRESS"):
        default_gateway(routes)


def test_what_is_neither_an_address_nor_a_path_names_no_gateway() -> None:
    with pytest.raises(ValueError, match="gateway"):
        gateway_of("gateway", (), 600)


def test_a_socket_without_a_gateway_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(CannotWrap, match="no gateway listens on"):
        gateway_of(str(tmp_path / "api.sock"), (), 600)


def test_an_address_is_asked_by_pcp() -> None:
    mapper = gateway_of("127.0.0.1", (), 600)
    try:
        assert isinstance(mapper, PcpClient)
    finally:
        mapper.close()
