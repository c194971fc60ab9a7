"""Peers that carry the data themselves: Dante, the SuSE proxy-suite, HAProxy."""

from bench.load.jobs import Route, Way
from bench.load.server import PULL_PORT
from bench.setups.base import Setup
from sallyport.addresses import Endpoint
from sallyport.lab.gateway import forward

_DANTE = """\
errorlog: stderr
internal: int0 port = 1080
external: ext0
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: root
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect bind udpassociate }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: bindreply udpreply }
"""


class Dante(Setup):
    """SOCKS5 BIND. The client speaks SOCKS itself: quicker than through dante-client's library."""

    name = "dante"
    title = "Dante, SOCKS BIND"
    way = Way.SOCKS
    programs = ("danted",)

    def start(self) -> None:
        """Implement `Setup.start`. It logs errors only, its quickest way."""
        path = self.write("danted.conf", _DANTE)
        pid_file = self.lab.folder / "danted.pid"
        argv = ["danted", "-f", str(path), "-p", str(pid_file)]
        self.lab.gateway.popen(argv, log=self.lab.folder / "danted.log")
        self.wait_for_port(self.lab.client, Endpoint.parse("10.0.0.1:1080"))

    @property
    def route(self) -> Route:
        """Implement `Setup.route`."""
        return Route(self.way, str(self.lab.server.address4), proxy="10.0.0.1")


_SUSE = """\
[-Global-]
AllowTransProxy yes
DestinationAddress {server}
DestinationTransferMode client
ActiveMinDataPort 40000
ActiveMaxDataPort 59999
Listen 0.0.0.0
Port 2121
ForkLimit 1000000
MaxClients 20000
MaxRecvBufSize 8192
SameAddress yes
ServerType standalone
LogLevel ERR
LogDestination {log}
PidFile {pid}
"""

_REDIRECT = """\
table ip bench {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "int0" tcp dport 21 redirect to :2121
  }
}
"""


class SuseProxy(Setup):
    """The SuSE proxy-suite's ftp-proxy, a process for each session, fed by a redirection."""

    name = "suse"
    title = "SuSE ftp-proxy"
    programs = ("ftp-proxy",)
    most_sessions = 500
    why_so_few = "it has 512 processes, one for each session"

    def start(self) -> None:
        """Implement `Setup.start`."""
        lab = self.lab
        forward(lab.gateway)
        text = _SUSE.format(
            server=lab.server.address4,
            log=lab.folder / "suse.log",
            pid=lab.folder / "suse.pid",
        )
        path = self.write("ftp-proxy.conf", text)
        lab.gateway.run(["nft", "-f", "-"], stdin=_REDIRECT)
        lab.gateway.popen(["ftp-proxy", "-n", "-f", str(path)], log=lab.folder / "ftp-proxy.log")
        self.wait_for_port(lab.client, Endpoint.parse("10.0.0.1:2121"))


_HAPROXY = """\
global
    maxconn 5000
    nbthread {threads}
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    option splice-auto
listen pull
    bind 10.0.0.1:{port}
    server one {server}:{port}
"""


class HaProxy(Setup):
    """HAProxy in TCP mode with splicing: a relay to compare ours with. It knows no FTP."""

    name = "haproxy"
    title = "HAProxy, TCP mode"
    way = Way.PULL
    programs = ("haproxy",)

    def start(self) -> None:
        """Implement `Setup.start`."""
        lab = self.lab
        text = _HAPROXY.format(port=PULL_PORT, server=lab.server.address4, threads=1)
        path = self.write("haproxy.cfg", text)
        lab.gateway.popen(["haproxy", "-db", "-f", str(path)], log=lab.folder / "haproxy.log")
        self.wait_for_port(lab.client, Endpoint.parse(f"10.0.0.1:{PULL_PORT}"))

    @property
    def route(self) -> Route:
        """Implement `Setup.route`."""
        return Route(self.way, "10.0.0.1", PULL_PORT)
