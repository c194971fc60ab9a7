"""What a start would cut is said before: by `check-config`, and by the start itself."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.docs.console import NETWORKS
from tests.netns.kernel_bench import dial, listen

from sallyport.lab.gateway import RunningGateway, forward
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

FAMILIES = pytest.mark.parametrize("family", [4, 6])
INSIDE = {4: "10.0.0.8:8080", 6: "[fd00:a::8]:8080"}
FORWARDED = {4: "203.0.113.1:8088", 6: "[2001:db8::1]:8088"}
# Long enough for what passes, which takes a millisecond.
SILENCE = 0.3

# A router with a port forward, whose rules ask conntrack: otherwise it would track nothing.
ROUTER = """\
table inet mine {
 chain pre {
  type nat hook prerouting priority dstnat;
  iifname "ext0" ip daddr 203.0.113.1 tcp dport 8088 dnat ip to 10.0.0.8:8080
  iifname "ext0" ip6 daddr 2001:db8::1 tcp dport 8088 dnat ip6 to [fd00:a::8]:8080
 }
 chain forward {
  type filter hook forward priority 0;
  ct state invalid drop
 }
}
"""


@contextmanager
def router(lab: Lab) -> Iterator[None]:
    forward(lab.gateway)
    lab.stranger.run(["ip", "route", "replace", "10.0.0.0/24", "via", "203.0.113.1"])
    lab.gateway.run(["nft", "-f", "-"], stdin=ROUTER)
    try:
        yield
    finally:
        lab.gateway.run(["nft", "delete", "table", "inet", "mine"])
        lab.gateway.sysctl("net.ipv4.ip_forward", 0)
        lab.gateway.sysctl("net.ipv6.conf.all.forwarding", 0)


@FAMILIES
def test_what_a_start_cuts_is_said_before_and_the_hosts_port_forwards_are_not_cut(
    lab: Lab, family: int
) -> None:
    file = lab.folder / "cuts.toml"
    file.write_text(NETWORKS, encoding="utf-8")
    with router(lab), listen(lab.client, INSIDE[family]) as listener, ExitStack() as stack:
        routed = stack.enter_context(dial(lab.stranger, INSIDE[family]))
        stack.enter_context(listener.accept()[0])
        translated = stack.enter_context(dial(lab.stranger, FORWARDED[family]))
        server_end = stack.enter_context(listener.accept()[0])

        checked = lab.gateway.run(["sallyport", "check-config", "--json", str(file)])
        gateway = RunningGateway(lab, ("--config", str(file)))
        stack.callback(gateway.stop)

        # Conntrack may still know of the other family's test.
        reached = f"{INSIDE[family]} (TCP) in internal is reached from external now, by 1 conn"
        told = [one["problem"] for one in json.loads(checked.stdout)["warnings"]]
        records = [json.loads(line) for line in gateway.journal() if '"guard.cuts"' in line]
        [cut] = [one for one in told if one.startswith(reached)]
        assert cut in [one["found"] for one in records]

        # What was there goes on, of both kinds; new ones of the second kind alone come.
        translated.sendall(b"x")
        assert server_end.recv(1) == b"x"
        routed.sendall(b"x")
        with pytest.raises(TimeoutError):
            dial(lab.stranger, INSIDE[family], SILENCE)
        dial(lab.stranger, FORWARDED[family]).close()
