"""Other firewalls on the gateway's host: real ones, or rules as they write them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

DEBIAN = Path(__file__).parents[2] / ".cache/debian"

# What each writes when it guards a router, as far as it matters: by default nothing passes.
NFT = """
table inet router {
  chain forward { type filter hook forward priority filter; policy drop;
    ct state established,related accept
  }
  chain input { type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname lo accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""
DOCKER = """
*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:DOCKER-FORWARD - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""
UFW = """
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw-before-input - [0:0]
:ufw-before-forward - [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""

# A bus for firewalld alone, and every program of Debian where it looks for its own parts.
_BUS = """\
<busconfig><type>system</type><listen>unix:path={socket}</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
<allow user="*"/></policy></busconfig>
"""
_FIREWALLD = """
set -eu
work=$1 debian=$2
mount --make-rprivate /
mkdir -p "$debian/etc" "$work/tmpfs"
mount -t tmpfs tmpfs "$work/tmpfs"
mkdir "$work/tmpfs/upper" "$work/tmpfs/work"
mount -t overlay overlay -o "lowerdir=$debian/usr:/usr" /usr
upper=upperdir=$work/tmpfs/upper,workdir=$work/tmpfs/work
mount -t overlay overlay -o "lowerdir=$debian/etc:/etc,$upper" /etc
mount -t tmpfs tmpfs /var/log
mkdir -p /run/dbus
dbus-daemon --config-file="$work/bus.conf" --fork --nopidfile
exec /usr/bin/python3 -sP /usr/sbin/firewalld --nofork --nopid --log-target console
"""


@contextmanager
def rules_of_nft(lab: Lab, text: str = NFT) -> Iterator[None]:
    """Load rules of an administrator's own."""
    lab.gateway.run(["nft", "-f", "-"], stdin=text)
    try:
        yield
    finally:
        lab.gateway.run(["nft", "delete", "table", "inet", "router"])


@contextmanager
def rules_of_iptables(lab: Lab, text: str) -> Iterator[None]:
    """Load rules as another program writes them by iptables, for both families."""
    programs = ("iptables-nft-restore", "ip6tables-nft-restore")
    for program in programs:
        lab.gateway.run([program], stdin=text)
    try:
        yield
    finally:
        for family in ("ip", "ip6"):
            lab.gateway.run(["nft", "delete", "table", family, "filter"])


class Firewalld:
    """A real firewalld in the gateway's network, with its bus in a mount namespace of its own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        work = lab.folder / "firewalld"
        work.mkdir(exist_ok=True)
        (work / "bus.conf").write_text(_BUS.format(socket="/run/dbus/system_bus_socket"))
        log = work / "log"
        argv = ["unshare", "-m", "sh", "-c", _FIREWALLD, "firewalld", str(work), str(DEBIAN)]
        self._process = lab.gateway.popen(argv, log=log)
        wait_until(self._process, self._answers, log, "firewalld does not start")

    def sh(self, command: str, *, check: bool = True) -> str:
        """Run a command line where firewall-cmd finds the bus; return what it prints."""
        inside = ["nsenter", "-m", "-t", str(self._process.pid), "sh", "-c", command]
        return self._lab.gateway.run(inside, check=check).stdout

    def stop(self) -> None:
        """End it, and its bus; its rules go with it."""
        self.sh("pkill --ns $$ --nslist mnt dbus-daemon", check=False)
        end(self._process)

    def _answers(self) -> bool:
        return self.sh("firewall-cmd --state", check=False).strip() == "running"


@contextmanager
def firewalld(lab: Lab) -> Iterator[Firewalld]:
    """Run firewalld with the gateway's interfaces in its zones internal and external."""
    running = Firewalld(lab)
    try:
        for zone, interface in (("internal", "int0"), ("external", "ext0")):
            running.sh(f"firewall-cmd --permanent --zone={zone} --change-interface={interface}")
        running.sh("firewall-cmd --reload")
        yield running
    finally:
        running.stop()
