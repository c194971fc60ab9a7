"""The laboratory network: hosts in namespaces, joined by two bridges in a namespace of its own.

     client 10.0.0.8         int0 gateway ext0             server 203.0.113.9
            fd00:a::8  ──────  10.0.0.1 │ 203.0.113.1  ──────     2001:db8::9
    client2 10.0.0.9 …        fd00:a::1 │ 2001:db8::1     server2 203.0.113.10 …
                                                         stranger 203.0.113.66, 2001:db8::66

IPv6 is routed: outside hosts know the way to fd00:a::/64. IPv4 is not: they have no route to
10.0.0.0/24, so an address that leaves untranslated gets no answer. The gateway forwards nothing
until a test makes it a gateway.
"""

import os
import re
import shutil
import signal
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from sallyport.addresses import IpAddress
from sallyport.errors import StartupError
from sallyport.lab.host import NAMESPACES, Host
from sallyport.lab.privileges import why_no_namespaces

INSIDE, OUTSIDE = "inside", "outside"

_PREFIX_LENGTH = {4: 24, 6: 64}
_FIRST_CLIENT, _FIRST_SERVER = 8, 9
# Addresses count upwards and stay below .20, where examples put published servers.
_MAX_HOSTS = 11


class Lab:
    """A network that stands until `close` (or the end of the `with` block)."""

    def __init__(
        self, prefix: str, *, clients: int = 1, servers: int = 1, is_pair: bool = False
    ) -> None:
        """Describe a lab; `build` makes it stand.

        A pair has a second gateway, and `sync0` between the two. Both then have addresses of their
        own, 10.0.0.2 and 203.0.113.2, 10.0.0.3 and 203.0.113.3; the one that a single gateway has
        is on neither. `folder` is for its configuration and logs; it goes with the lab.
        """
        self.prefix = prefix
        self.clients = self._hosts("client", clients, _FIRST_CLIENT, "10.0.0.{}", "fd00:a::{:x}")
        self.client = self.clients[0]
        self.servers = self._hosts(
            "server", servers, _FIRST_SERVER, "203.0.113.{}", "2001:db8::{:x}"
        )
        self.server = self.servers[0]
        self.stranger = self._host("stranger", "203.0.113.66", "2001:db8::66")
        # The gateway's first addresses are its outside ones: those that the world sees.
        self.gateway = self._host("gateway", "203.0.113.1", "2001:db8::1")
        self.standby = self._host("gateway2", "203.0.113.3", "2001:db8::3") if is_pair else None
        self.switch = self._host("switch", "0.0.0.0", "::")  # noqa: S104 - it has none
        # As temporary as the namespaces themselves, and for root alone to write.
        self.folder = NAMESPACES.with_name(f"sallyport-lab-{prefix}")

    def _hosts(self, name: str, count: int, first: int, four: str, six: str) -> tuple[Host, ...]:
        if not 1 <= count <= _MAX_HOSTS:
            raise ValueError(f"a lab has 1 to {_MAX_HOSTS} hosts called {name}, not {count}")
        return tuple(
            self._host(f"{name}{i + 1}" if i else name, four.format(n), six.format(n))
            for i, n in enumerate(range(first, first + count))
        )

    def _host(self, name: str, address4: str, address6: str) -> Host:
        return Host(name, f"{self.prefix}-{name}", IPv4Address(address4), IPv6Address(address6))

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host, the gateway first, without the switch between them."""
        return (*self.gateways, *self.clients, *self.servers, self.stranger)

    @property
    def gateways(self) -> tuple[Host, ...]:
        """The gateway, and the second one of a pair."""
        return (self.gateway,) if self.standby is None else (self.gateway, self.standby)

    @classmethod
    def build(
        cls,
        prefix: str = "lab",
        *,
        clients: int = 1,
        servers: int = 1,
        is_pair: bool = False,
    ) -> Self:
        """Make a lab stand; its namespaces are named `prefix-client`, `prefix-gateway` and so on.

        Raises StartupError, and leaves nothing behind, when the machine does not allow it or the
        name is taken; ValueError for more than 11 clients or servers.
        """
        reason = why_no_namespaces()
        if reason:
            raise StartupError(reason)
        if standing(prefix):
            raise StartupError(f"a lab {prefix!r} stands already; take it down first")
        lab = cls(prefix, clients=clients, servers=servers, is_pair=is_pair)
        try:
            lab._build()
        except subprocess.CalledProcessError as error:
            lab.close()
            raise StartupError(f"cannot build the lab: {error.stderr.strip()}") from error
        except OSError as error:  # /run belongs to root: a user namespace needs a tmpfs there
            lab.close()
            raise StartupError(f"cannot build the lab: {error}; see scripts/contained") from error
        except BaseException:
            lab.close()
            raise
        return lab

    def _build(self) -> None:
        everyone = (*self.hosts, self.switch)
        self.folder.mkdir(exist_ok=True)
        _ip("".join(f"netns add {host.namespace}\n" for host in everyone))
        for host in everyone:
            # Addresses are ours alone: a second of duplicate detection would find nothing.
            host.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self._plug()
        for host in self.clients:
            _configure(host, "eth0", host.address4, host.address6)
            _ip("route add default via 10.0.0.1\nroute add default via fd00:a::1\n", host)
        for host in (*self.servers, self.stranger):
            _configure(host, "eth0", host.address4, host.address6)
            _ip("route add fd00:a::/64 via 2001:db8::1\n", host)
        if self.standby is None:
            _configure(self.gateway, "int0", ip_address("10.0.0.1"), ip_address("fd00:a::1"))
            _configure(self.gateway, "ext0", self.gateway.address4, self.gateway.address6)
        else:
            self._configure_pair()

    def _configure_pair(self) -> None:
        for number, node in enumerate(self.gateways, 2):
            inside = ip_address(f"10.0.0.{number}"), ip_address(f"fd00:a::{number}")
            outside = ip_address(f"203.0.113.{number}"), ip_address(f"2001:db8::{number}")
            _configure(node, "int0", *inside)
            _configure(node, "ext0", *outside)
            _configure(node, "sync0", ip_address(f"172.16.0.{number - 1}"))

    def _plug(self) -> None:
        """Two bridges, and one cable from every interface to its bridge."""
        cables = [
            (node, interface, bridge)
            for node in self.gateways
            for interface, bridge in (("int0", INSIDE), ("ext0", OUTSIDE))
        ]
        cables += [(client, "eth0", INSIDE) for client in self.clients]
        cables += [(host, "eth0", OUTSIDE) for host in (*self.servers, self.stranger)]
        make, plug = "", "".join(f"link add {b} up type bridge\n" for b in (INSIDE, OUTSIDE))
        for number, (host, interface, bridge) in enumerate(cables):
            make += (
                f"link add {interface} netns {host.namespace} type veth"
                f" peer name port{number} netns {self.switch.namespace}\n"
            )
            plug += f"link set port{number} master {bridge} up\n"
        if self.standby is not None:
            make += (
                f"link add sync0 netns {self.gateway.namespace} type veth"
                f" peer name sync0 netns {self.standby.namespace}\n"
            )
        _ip(make)
        _ip(plug, self.switch)

    def close(self) -> None:
        """Take the lab down: its processes, namespaces and files; idempotent.

        Every process that still runs in the lab's namespaces is killed.
        """
        for host in self.hosts:
            host.end_processes()
        for name in standing(self.prefix):
            _kill_inhabitants(name)
            _ip(f"netns delete {name}\n")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def standing(prefix: str) -> list[str]:
    """Name the namespaces of the lab called `prefix`, whole or a left-over part of it."""
    roles = re.compile(rf"{re.escape(prefix)}-(client\d*|gateway\d*|server\d*|stranger|switch)")
    try:
        return sorted(name for name in os.listdir(NAMESPACES) if roles.fullmatch(name))
    except FileNotFoundError:
        return []


def _ip(script: str, host: Host | None = None) -> None:
    """Run lines of `ip` as one batch, in `host` or (namespaces themselves) where we are."""
    argv = ["ip", "-batch", "-"]
    if host is not None:
        host.run(argv, stdin=script)
        return
    subprocess.run(argv, input=script, check=True, capture_output=True, text=True)


def _configure(host: Host, interface: str, *addresses: IpAddress) -> None:
    # Where duplicates are not looked for (accept_dad) the kernel still leaves it to a thread of its
    # own to say that an address may be used; with `nodad` it may be at once.
    lines = [
        f"addr add {address}/{_PREFIX_LENGTH[address.version]} dev {interface}"
        + (" nodad\n" if address.version == 6 else "\n")
        for address in addresses
    ]
    _ip("".join([f"link set lo up\nlink set {interface} up\n", *lines]), host)


def _kill_inhabitants(namespace: str) -> None:
    """Kill every process that lives in a namespace, but never ourselves."""
    try:
        home = os.stat(NAMESPACES / namespace)
    except OSError:  # An interrupted build left a name that is no namespace yet.
        return
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            resident = os.path.samestat(home, os.stat(entry / "ns/net"))
            if resident and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # It ended meanwhile, or it is another user's: then it is not in our lab.
