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

# A bus for firewalld alone, and every program of Debian where it looks for its own parts.
_BUS = """\
<busconfig><type>system</type><listen>unix:path={socket}</listen>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
<allow user="*"/></policy></busconfig>
"""
# Every program of Debian where it looks for its own parts, in a mount namespace of its own.
_INSTALLED = """
set -eu
work=$1 debian=$2
mount --make-rprivate /
mkdir -p "$debian/etc" "$work/tmpfs"
mount -t tmpfs tmpfs "$work/tmpfs"
for folder in usr etc; do
    upper=$work/tmpfs/$folder
    mkdir -p "$upper/upper" "$upper/work"
    mount -t overlay overlay \\
        -o "lowerdir=$debian/$folder:/$folder,upperdir=$upper/upper,workdir=$upper/work" /$folder
done
mount -t tmpfs tmpfs /var/log
"""
_FIREWALLD = """
mkdir -p /run/dbus
dbus-daemon --config-file="$work/bus.conf" --fork --nopidfile
exec /usr/bin/python3 -sP /usr/sbin/firewalld --nofork --nopid --log-target console
"""
# What installing it would do: its files, the alternatives of iptables, the switch to run it.
_UFW = """
cp -r "$debian/lib/ufw" /usr/lib
cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw
for family in ip ip6; do
    for program in tables tables-save tables-restore; do
        ln -sf xtables-nft-multi "/usr/sbin/$family$program"
    done
done
ufw --force enable
exec sleep infinity
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


class InstalledFirewall:
    """A real firewall in the gateway's network; its files are in a mount namespace of its own."""

    def __init__(self, lab: Lab, name: str, script: str, is_running: tuple[str, str]) -> None:
        """Run `script` where the firewall is installed; the command and answer say that it runs."""
        self._lab = lab
        self._is_running = is_running
        work = lab.folder / name
        work.mkdir(exist_ok=True)
        (work / "bus.conf").write_text(_BUS.format(socket="/run/dbus/system_bus_socket"))
        log = work / "log"
        argv = ["unshare", "-m", "sh", "-c", _INSTALLED + script, name, str(work), str(DEBIAN)]
        self._process = lab.gateway.popen(argv, log=log)
        wait_until(self._process, self._answers, log, f"{name} does not start")

    def sh(self, command: str, *, check: bool = True) -> str:
        """Run a command line where the firewall is installed; return what it prints."""
        inside = ["nsenter", "-m", "-t", str(self._process.pid), "sh", "-c", command]
        return self._lab.gateway.run(inside, check=check).stdout

    def end(self) -> None:
        """End its process."""
        end(self._process)

    def _answers(self) -> bool:
        command, answer = self._is_running
        return self.sh(command, check=False).startswith(answer)


@contextmanager
def firewalld(lab: Lab) -> Iterator[InstalledFirewall]:
    """Run firewalld with the gateway's interfaces in its zones internal and external."""
    asked = ("firewall-cmd --state", "running")
    running = InstalledFirewall(lab, "firewalld", _FIREWALLD, asked)
    try:
        for zone, interface in (("internal", "int0"), ("external", "ext0")):
            running.sh(f"firewall-cmd --permanent --zone={zone} --change-interface={interface}")
        running.sh("firewall-cmd --reload")
        yield running
    finally:
        # Its rules go with it.
        running.sh("pkill --ns $$ --nslist mnt dbus-daemon", check=False)
        running.end()


@contextmanager
def ufw(lab: Lab) -> Iterator[InstalledFirewall]:
    """Run ufw as it is right after `ufw enable`."""
    running = InstalledFirewall(lab, "ufw", _UFW, ("ufw status", "Status: active"))
    try:
        yield running
    finally:
        running.end()
        for family in ("ip", "ip6"):
            lab.gateway.run(["nft", "delete", "table", family, "filter"])
