"""What the guard drops is in the log: who, whereto and why, and a flood does not fill it."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.netns.kernel_bench import begin, datagrams

from sallyport.kernel.drops import GROUP
from sallyport.kernel.packet_log import PacketLog
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


# Before the others, which share a gateway: one host has one.
def test_where_another_program_has_the_group_samples_begin_when_that_has_ended(lab: Lab) -> None:
    with lab.gateway.entered():
        other = PacketLog(GROUP, 64)
    with closing(other):
        gateway = RunningGateway(lab, name="without-samples")
        limited = [json.loads(line) for line in gateway.journal() if "gateway.limited" in line]
        assert [one["to"] for one in limited] == ["no records of dropped packets"]

    def is_told() -> bool:
        with begin(lab.stranger, "203.0.113.1:40405"):
            return bool(dropped(gateway, "203.0.113.66"))

    wait_until(gateway.process, is_told, gateway.log, "nothing was told", 20)
    assert gateway.stop() == 0


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
