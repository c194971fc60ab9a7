"""Hundreds of SIP calls at once through the gateway, of which none fails."""

import json

import pytest
from tests.interop.media_ports import wait_until_closed
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.net_sip import why_no_net_sip
from sallyport.lab.network import Lab
from sallyport.lab.sipp import AnsweringMachine, CallLoad, make_calls, why_no_sipp

pytestmark = [pytest.mark.netns, pytest.mark.interop]

# Two ports a call, of all callers: they live at one address.
_RULE = "max_bindings_per_client = 512\nmax_binds_per_minute = 20000"


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_200_calls_at_once_all_stand_and_leave_nothing_open(lab: Lab, family: int) -> None:
    if reason := why_no_sipp() or why_no_net_sip():
        pytest.skip(reason)
    file = lab.folder / "calls.toml"
    file.write_text(configuration(protocols=("sip",), rule=_RULE), encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"calls-{family}")
    machine = AnsweringMachine(lab.server, lab.folder / f"machine-{family}", family)
    try:
        load = CallLoad(lab.server.address(family), calls=200, rate=100, seconds=4)
        assert make_calls(lab.client, lab.folder / f"callers-{family}", load) == []
        wait_until_closed(running)
    finally:
        machine.stop()
        running.stop()
    closed = [json.loads(line) for line in running.journal() if "binding.closed" in line]

    # Each call has two ports, and all of them stood while the first had not ended yet.
    assert {one["reason"] for one in closed} == {"call-is-over"}
    assert len(closed) == 400
    assert min(one["seconds"] for one in closed) > 3
