"""What the guard drops is in the log: who, whereto and why, and a flood does not fill it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.netns.kernel_bench import begin, datagrams

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    running = RunningGateway(lab)
    yield running
    running.stop()


def dropped(gateway: RunningGateway, source: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in gateway.journal() if '"guard.dropped"' in line]
    return [one for one in records if one["peer"].startswith(source)]


@pytest.mark.parametrize(
    ("target", "host"),
    [("203.0.113.1:40404", "203.0.113.66"), ("[2001:db8::1]:40404", "[2001:db8::66]")],
)
def test_a_stranger_is_in_the_log_with_what_it_tried(
    lab: Lab, gateway: RunningGateway, target: str, host: str
) -> None:
    with begin(lab.stranger, target):
        wait_until(
            gateway.process, lambda: bool(dropped(gateway, host)), gateway.log, "nothing was told"
        )

    (record,) = dropped(gateway, host)
    assert (record["to"], record["transport"], record["interface"]) == (target, "tcp", "ext0")
    assert record["reason"] == "no-pinhole-for-this-packet"


def test_a_flood_is_one_record_of_its_source(lab: Lab, gateway: RunningGateway) -> None:
    with datagrams(lab.servers[1], "0.0.0.0:0") as flooder:
        for number in range(2000):
            flooder.sendto(b"?", ("203.0.113.1", 40000 + number))
    source = str(lab.servers[1].address4)
    wait_until(
        gateway.process, lambda: bool(dropped(gateway, source)), gateway.log, "nothing was told"
    )

    assert len(dropped(gateway, source)) == 1
    assert len(gateway.journal()) < 10
