import pytest

from sallyport.lab.net_sip import why_no_net_sip
from sallyport.lab.network import Lab
from sallyport.lab.sipp import AnsweringMachine, CallLoad, make_calls, why_no_sipp

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_all_calls_are_made_or_it_says_which_caller_could_not(lab: Lab, family: int) -> None:
    if reason := why_no_sipp() or why_no_net_sip():
        pytest.skip(reason)
    there = lab.servers[0]
    machine = AnsweringMachine(there, lab.folder / f"machine-{family}", family)
    load = CallLoad(there.address(family), calls=8, rate=80, seconds=0.1, callers=2)
    assert make_calls(lab.servers[1], lab.folder / f"callers-{family}", load) == []
    machine.stop()

    (wrong,) = make_calls(
        lab.servers[1],
        lab.folder / f"nobody-{family}",
        CallLoad(there.address(family), calls=1, rate=1, seconds=0, callers=1, patience=1),
    )
    assert "caller0.log: exit" in wrong
