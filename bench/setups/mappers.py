"""Peers that give out ports when asked: miniupnpd by PCP, coturn by TURN. Neither knows FTP."""

from bench.setups.base import Setup
from sallyport.lab.gateway import forward

# Addresses for documentation, as the lab has them, are too private for it: hence ext_ip.
_MINIUPNPD = """\
ext_ifname=ext0
listening_ip=int0
enable_natpmp=yes
enable_upnp=no
ext_ip=203.0.115.1
secure_mode=yes
system_uptime=yes
uuid=00000000-0000-4000-8000-000000000000
upnp_table_name=bench
upnp_nat_table_name=bench
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
allow 1024-65535 10.0.0.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""

# What its own nft_init.sh makes.
_TABLE = """\
table inet bench {
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain forward {
    type filter hook forward priority 0; policy drop;
    jump miniupnpd
    ct state established,related accept
    iifname "int0" accept
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    oifname "ext0" meta nfproto ipv4 masquerade
  }
}
"""


# It goes into the background once it serves.
_START_SECONDS = 10.0


class MiniUpnpd(Setup):
    """A mapping is a rule that it adds to its nftables chains."""

    name = "miniupnpd"
    title = "miniupnpd, PCP MAP"
    programs = ("miniupnpd",)

    def start(self) -> None:
        """Implement `Setup.start`."""
        gateway = self.lab.gateway
        forward(gateway)
        gateway.run(["nft", "-f", "-"], stdin=_TABLE)
        path = self.write("miniupnpd.conf", _MINIUPNPD)
        pid = self.lab.folder / "miniupnpd.pid"
        # Into the background, where it ends with the lab: in the foreground it logs every step.
        argv = ["miniupnpd", "-f", str(path), "-P", str(pid)]
        gateway.popen(argv, log=self.lab.folder / "miniupnpd.log").wait(_START_SECONDS)


class Coturn(Setup):
    """An allocation is a relay socket of its own in user space."""

    name = "coturn"
    title = "coturn, TURN Allocate"
    programs = ("turnserver",)

    def start(self) -> None:
        """Implement `Setup.start`."""
        path = self.write("turnserver.conf", "")
        argv = ["turnserver", "-c", str(path), "--no-auth", "--listening-ip=10.0.0.1"]
        argv += ["--relay-ip=203.0.113.1", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout"]
        argv += [f"--pidfile={self.lab.folder / 'turn.pid'}", "--simple-log"]
        argv += [f"--userdb={self.lab.folder / 'turn.db'}"]
        self.lab.gateway.popen(argv, log=self.lab.folder / "turnserver.log")
