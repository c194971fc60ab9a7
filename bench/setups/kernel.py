"""What the kernel does by itself: nothing in between, routing, masquerading, its helpers."""

from typing import ClassVar

from bench.load.jobs import Way
from bench.setups.base import Setup
from sallyport.lab.gateway import forward, plain_nat
from sallyport.lab.host import Host

_HELPER = """\
table inet helped {
  ct helper ftp4 { type "ftp" protocol tcp; l3proto ip; }
  ct helper tftp4 { type "tftp" protocol udp; l3proto ip; }
  ct helper sip4 { type "sip" protocol udp; l3proto ip; }
  chain prerouting {
    type filter hook prerouting priority filter; policy accept;
    iifname "int0" tcp dport 21 ct helper set "ftp4"
    iifname "int0" udp dport 69 ct helper set "tftp4"
    iifname "int0" udp dport 5060 ct helper set "sip4"
  }
}
"""


class Direct(Setup):
    """Client and server on one bridge: what the load itself achieves."""

    name = "direct"
    title = "direct, no gateway"

    @property
    def client(self) -> Host:
        """Outside, beside the server."""
        return self.lab.stranger

    addresses: ClassVar[tuple[str, ...]] = ()


class Routed(Setup):
    """A router: no translation, no connection tracking, no rules."""

    name = "routed"
    title = "routed, no NAT"

    def start(self) -> None:
        """Implement `Setup.start`."""
        lab = self.lab
        forward(lab.gateway)
        back = ["ip", "route", "add", "10.0.0.0/24", "via", str(lab.gateway.address4)]
        lab.server.run(back)


class PlainNat(Setup):
    """Masquerading without any help: active mode cannot work, so it is passive here."""

    name = "nat"
    title = "plain NAT (passive mode)"
    way = Way.PASSIVE

    def start(self) -> None:
        """Implement `Setup.start`."""
        plain_nat(self.lab.gateway)
        shorten(self.lab.gateway)


class Helper(Setup):
    """Masquerading with the kernel's own FTP, TFTP and SIP helpers."""

    name = "helper"
    title = "kernel helper"

    def start(self) -> None:
        """Implement `Setup.start`."""
        plain_nat(self.lab.gateway)
        self.lab.gateway.run(["nft", "-f", "-"], stdin=_HELPER)
        shorten(self.lab.gateway)


# A finished connection stays in conntrack for two minutes by default. At thousands a second the
# table would be full within one; the same in every setup.
_TIME_WAIT_SECONDS = 5


def shorten(gateway: Host) -> None:
    """Make conntrack forget finished connections soon."""
    gateway.sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", _TIME_WAIT_SECONDS)
