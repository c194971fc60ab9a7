import os
from pathlib import Path

import pytest

from sallyport.addresses import PortRange
from sallyport.ops.config.settings import GatewaySettings, port_range_fault, workers_of


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


def test_each_worker_needs_ports() -> None:
    ports = PortRange(40000, 40499)

    assert port_range_fault(ports, masquerade=True, workers=3) is None
    assert port_range_fault(ports, masquerade=True, workers=4) == (
        "port_range 40000-40499 has 125 ports for each of 4 workers, which need 128; write a larger"
        " range or fewer workers"
    )


def test_auto_means_a_worker_for_each_processor_and_no_more_than_eight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for processors, workers in ((1, 1), (2, 2), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid, n=processors: set(range(n)))
        assert workers_of("auto") == workers
    assert workers_of(3) == 3
