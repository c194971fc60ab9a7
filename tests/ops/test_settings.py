from pathlib import Path

import pytest

from sallyport.addresses import PortRange
from sallyport.core.protocols import Direction
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.ops.settings import (
    KNOWN_FILTERS,
    KNOWN_PROTOCOLS,
    GatewaySettings,
    default_filter_settings,
)


def test_the_defaults_are_those_of_the_manual() -> None:
    settings = GatewaySettings()

    assert settings.data_path == "auto"
    assert str(settings.port_range) == "40000-59999"
    assert settings.control_socket == Path("/run/sallyport/control.sock")
    assert settings.masquerade


@pytest.mark.parametrize(
    ("ports", "masquerade", "complaint"),
    [
        (PortRange(1023, 2000), True, "reaches below 1024"),
        (PortRange(2047, 64512), True, "leaves 1023 consecutive ports"),
        (PortRange(80, 80), False, "reaches below 1024"),
    ],
)
def test_port_ranges_that_leave_no_room_are_refused(
    ports: PortRange, masquerade: bool, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        GatewaySettings(port_range=ports, masquerade=masquerade)


@pytest.mark.parametrize(
    ("ports", "masquerade"),
    [
        (PortRange(2048, 65535), True),
        (PortRange(1024, 64511), True),
        (PortRange(1024, 65535), False),
    ],
)
def test_1024_ports_on_one_side_are_enough_to_masquerade(
    ports: PortRange, masquerade: bool
) -> None:
    assert GatewaySettings(port_range=ports, masquerade=masquerade).port_range == ports


@pytest.mark.parametrize("path", ["control.sock", "/a\0b", "/" + "x" * 107])
def test_socket_paths_that_unix_cannot_bind_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="control_socket"):
        GatewaySettings(control_socket=Path(path))


def test_the_longest_socket_path_is_accepted() -> None:
    path = Path("/" + "x" * 106)

    assert GatewaySettings(control_socket=path).control_socket == path


def test_only_what_exists_is_known() -> None:
    assert KNOWN_PROTOCOLS == {
        Direction.OUTBOUND: ("ftp", "tftp"),
        Direction.INBOUND: ("ftp-server",),
    }
    assert {name for name, known in KNOWN_FILTERS.items() if known.on_by_default} == {"ftp", "tftp"}


def test_ftp_trusts_only_the_server_itself_unless_told_otherwise() -> None:
    assert default_filter_settings()["ftp"] == {
        "trust_pasv_address": "server",
        "strict_data_port": False,
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"trust_pasv_address": "server", "strict_data_port": False},
            FtpSettings(replace_foreign_passive_address=False, strict_data_port=False),
        ),
        (
            {"trust_pasv_address": "replace", "strict_data_port": True},
            FtpSettings(replace_foreign_passive_address=True, strict_data_port=True),
        ),
    ],
)
def test_the_ftp_filter_gets_what_was_configured(
    settings: dict[str, object], expected: FtpSettings
) -> None:
    made = KNOWN_FILTERS["ftp"].make(settings)

    assert isinstance(made, FtpFilter)
    assert made.settings == expected
