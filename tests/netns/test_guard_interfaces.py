"""Interfaces of no network are closed, whatever brought them there and whatever we switched on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.netns.kernel_bench import (
    PATIENCE,
    SYN,
    Segment,
    datagrams,
    dial,
    listen,
    send_segment,
)
from tests.netns.outsider import outsider

from sallyport.addresses import Endpoint, parse_address
from sallyport.lab.gateway import RunningGateway, forward
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

FAMILIES = pytest.mark.parametrize("family", [4, 6])
# Long enough for what passes, which takes a millisecond.
SILENCE = 0.3
# The guard asks once a second whether the host wants to forward.
NOTICED_WITHIN = 3.0


@contextmanager
def running(lab: Lab) -> Iterator[RunningGateway]:
    gateway = RunningGateway(lab)
    try:
        yield gateway
    finally:
        gateway.stop()


@contextmanager
def third_interface(lab: Lab, name: str = "third0") -> Iterator[None]:
    """Join gateway and stranger by one more interface, with networks of its own."""
    gateway, stranger = lab.gateway, lab.stranger
    peer = ["peer", "name", name, "netns", stranger.namespace]
    gateway.run(["ip", "link", "add", name, "type", "veth", *peer])
    for host, four, six in (
        (gateway, "10.9.0.1/24", "fd00:c::1/64"),
        (stranger, "10.9.0.8/24", "fd00:c::8/64"),
    ):
        host.run(["ip", "address", "add", four, "dev", name])
        host.run(["ip", "address", "add", six, "dev", name, "nodad"])
        host.run(["ip", "link", "set", name, "up"])
    stranger.run(["ip", "route", "replace", "10.0.0.0/24", "via", "10.9.0.1"])
    stranger.run(["ip", "-6", "route", "replace", "fd00:a::/64", "via", "fd00:c::1"])
    try:
        yield
    finally:
        gateway.run(["ip", "link", "del", name])
        stranger.run(["ip", "route", "replace", "10.0.0.0/24", "via", "203.0.113.1"])
        stranger.run(["ip", "-6", "route", "replace", "fd00:a::/64", "via", "2001:db8::1"])


@pytest.mark.parametrize("is_late", [False, True], ids=["there before", "late"])
@pytest.mark.parametrize("does_forward", [False, True], ids=["host", "router before"])
def test_a_third_interface_reaches_nobody_inside(
    lab: Lab, is_late: bool, does_forward: bool
) -> None:
    with router(lab, does_forward):
        if is_late:
            with running(lab), third_interface(lab), outsider(lab) as got_in:
                time.sleep(SILENCE)
        else:
            with third_interface(lab), running(lab), outsider(lab) as got_in:
                time.sleep(SILENCE)

    assert got_in == []


def test_a_vlan_of_the_outside_interface_is_not_the_outside_interface(lab: Lab) -> None:
    # By its name, which is all that rules see; this kernel may have no VLANs.
    with running(lab), third_interface(lab, "ext0.5"), outsider(lab) as got_in:
        time.sleep(SILENCE)

    assert got_in == []


def test_the_outside_interface_as_port_of_a_bridge_reaches_nobody_inside(lab: Lab) -> None:
    addresses = ("203.0.113.1/24", "2001:db8::1/64")
    gateway = lab.gateway
    lab.stranger.run(["ip", "route", "replace", "10.0.0.0/24", "via", "203.0.113.1"])
    with running(lab):
        gateway.run(["ip", "link", "add", "br0", "up", "type", "bridge"])
        try:
            gateway.run(["ip", "link", "set", "ext0", "master", "br0"])
            for address in addresses:
                gateway.run(["ip", "address", "del", address, "dev", "ext0"])
                gateway.run(["ip", "address", "add", address, "dev", "br0"])
            with outsider(lab) as got_in:
                time.sleep(SILENCE)
        finally:
            gateway.run(["ip", "link", "del", "br0"])
            for address in addresses:
                gateway.run(["ip", "address", "add", address, "dev", "ext0"])

    assert got_in == []


@contextmanager
def router(lab: Lab, does_forward: bool = True) -> Iterator[None]:
    """Let the gateway's host forward before the gateway is started."""
    if does_forward:
        forward(lab.gateway)
    try:
        yield
    finally:
        lab.gateway.sysctl("net.ipv4.ip_forward", 0)
        lab.gateway.sysctl("net.ipv6.conf.all.forwarding", 0)


def passes(lab: Lab, family: int) -> bool:
    """Return whether a client inside reaches the host behind the third interface."""
    at = {4: "10.9.0.8:8081", 6: "[fd00:c::8]:8081"}[family]
    from_any = {4: "0.0.0.0:0", 6: "[::]:0"}[family]
    with datagrams(lab.stranger, at) as behind, datagrams(lab.client, from_any) as client:
        behind.settimeout(SILENCE)
        end = Endpoint.parse(at)
        client.sendto(b"?", (str(end.address), end.port))
        try:
            return behind.recv(8) == b"?"
        except TimeoutError:
            return False


@FAMILIES
def test_nothing_passes_a_third_interface_that_did_not_pass_before(lab: Lab, family: int) -> None:
    with third_interface(lab):
        with running(lab):
            assert not passes(lab, family)
        with router(lab), running(lab):
            assert passes(lab, family)


@FAMILIES
def test_a_host_that_begins_to_forward_while_we_run_does_so(lab: Lab, family: int) -> None:
    with third_interface(lab), running(lab):
        assert not passes(lab, family)
        with router(lab):
            deadline = time.monotonic() + NOTICED_WITHIN
            while not passes(lab, family):
                assert time.monotonic() < deadline


@FAMILIES
def test_a_port_that_the_host_forwards_by_itself_goes_on_to_work(lab: Lab, family: int) -> None:
    inside = {4: "10.0.0.8:8080", 6: "[fd00:a::8]:8080"}[family]
    outside = {4: "203.0.113.1:8088", 6: "[2001:db8::1]:8088"}[family]
    ip = {4: "ip", 6: "ip6"}[family]
    script = (
        "table inet mine {\n chain pre {\n type nat hook prerouting priority dstnat;\n"
        f' iifname "ext0" tcp dport 8088 dnat {ip} to {inside}\n }}\n}}\n'
    )
    lab.gateway.run(["nft", "-f", "-"], stdin=script)
    try:
        with (
            running(lab),
            listen(lab.client, inside) as listener,
            dial(lab.stranger, outside) as caller,
        ):
            accepted, _ = listener.accept()
            with accepted:
                caller.sendall(b"x")
                assert accepted.recv(1) == b"x"
    finally:
        lab.gateway.run(["nft", "delete", "table", "inet", "mine"])


# A client, another address of the inside network, the gateway's own inside and outside.
OURS = {
    4: ("10.0.0.8", "10.0.0.77", "10.0.0.1", "203.0.113.1"),
    6: ("fd00:a::8", "fd00:a::77", "fd00:a::1", "2001:db8::1"),
}


@FAMILIES
def test_x08_what_comes_from_outside_under_an_address_of_ours_is_dropped_at_the_door(
    lab: Lab, family: int
) -> None:
    to = Endpoint.parse({4: "203.0.113.1:7", 6: "[2001:db8::1]:7"}[family])
    with running(lab):
        for number, source in enumerate(OURS[family], 1):
            spoofed = Endpoint(parse_address(source), 9)
            send_segment(lab.stranger, spoofed, to, Segment(SYN, 7))
            deadline = time.monotonic() + PATIENCE
            while dropped(lab) < number:
                assert time.monotonic() < deadline, source


def dropped(lab: Lab) -> int:
    """How many packets were dropped at the door."""
    argv = ["nft", "list", "counter", "inet", "sallyport_guard1", "spoofed"]
    return int(lab.gateway.run(argv).stdout.split("packets ")[1].split()[0])


def test_a_renamed_interface_is_closed_at_once_also_on_a_host_that_was_a_router(lab: Lab) -> None:
    gateway = lab.gateway
    with router(lab), running(lab), outsider(lab) as got_in:
        try:
            for name in ("lan0", "int0") * 5:
                gateway.run(["ip", "link", "set", {"lan0": "int0"}.get(name, "lan0"), "name", name])
        finally:
            gateway.run(["ip", "link", "set", "lan0", "name", "int0"], check=False)

    assert got_in == []


def test_another_interface_under_the_old_name_opens_nothing(lab: Lab) -> None:
    gateway = lab.gateway
    with router(lab), running(lab), outsider(lab) as got_in:
        try:
            gateway.run(["ip", "link", "set", "int0", "name", "lan0"])
            gateway.run(["ip", "link", "add", "int0", "type", "veth"])
            gateway.run(["ip", "link", "set", "int0", "up"])
            time.sleep(SILENCE)
        finally:
            gateway.run(["ip", "link", "del", "int0"])
            gateway.run(["ip", "link", "set", "lan0", "name", "int0"])

    assert got_in == []
