"""`explain` against a gateway that works: three clients, many rules, the same verdict and reason.

The vendor shares an interface with all that is outside; addresses tell it apart, in both families.

What happens is seen from outside: the client's socket, and the events of the gateway. By SOCKS too,
where rights have names of their own, and some peers are never served.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from ipaddress import ip_address
from itertools import product
from typing import Any, NamedTuple

import pytest
from tests.interop.socks_client import BIND, CONNECT, GRANTED, PORT, PROXY, exactly, place, reply

from sallyport.addresses import Endpoint, IpAddress
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.ops.control.client import follow, request
from sallyport.ops.control.schema import Explained
from sallyport.wire.ftp.formats import format_eprt_argument

pytestmark = [pytest.mark.netns]

CONFIGURATION = """
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]

[networks.vendor]
interfaces = ["ext0"]
addresses = ["203.0.113.11/32", "2001:db8::b/128"]

[networks.external]
interfaces = ["ext0"]

[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"

[[network_rules]]
from = "internal"
to = "vendor"
ipv4 = "nat"
ipv6 = "route"

[sets]
staff = ["10.0.0.8-10.0.0.9", "fd00:a::8-fd00:a::9"]

[[users]]
name = "alice"

[schedules]
always = ["mon-sun 00:00-24:00"]
never = ["mon 00:00-00:01"]

[[access_rules]]
name = "no second client at the first server"
action = "deny"
protocols = ["ftp"]
from = ["10.0.0.9", "fd00:a::9"]
to = ["203.0.113.9", "2001:db8::9"]

[[access_rules]]
name = "low ports at the first server"
action = "allow"
protocols = ["ftp"]
from = ["10.0.0.8", "fd00:a::8"]
to = ["203.0.113.9", "2001:db8::9"]
client_ports = "20-30000"

[[access_rules]]
name = "vendor for staff"
action = "allow"
protocols = ["ftp"]
from = ["staff"]
to = ["vendor"]
schedule = "always"
client_ports = "2000-3000"

[[access_rules]]
name = "alice alone"
action = "allow"
protocols = ["ftp"]
from = ["internal"]
to = ["203.0.113.12", "2001:db8::c"]
users = ["alice"]

[[access_rules]]
name = "by socks alone"
action = "allow"
protocols = ["ftp"]
from = ["10.0.0.10", "fd00:a::a"]
to = ["203.0.113.11", "2001:db8::b"]
frontends = ["socks"]

[[access_rules]]
name = "out of hours"
action = "allow"
protocols = ["ftp"]
from = ["10.0.0.10", "fd00:a::a"]
to = ["203.0.113.9", "2001:db8::9"]
schedule = "never"

[[access_rules]]
name = "the second server for all"
action = "allow"
protocols = ["ftp"]
from = ["internal"]
to = ["203.0.113.10", "2001:db8::a"]

[[access_rules]]
name = "no web at the vendor"
action = "deny"
protocols = ["socks-connect"]
from = ["internal"]
to = ["vendor"]

[[access_rules]]
name = "web for staff"
action = "allow"
protocols = ["socks-connect"]
from = ["staff"]
to = ["external"]
frontends = ["socks"]

[[access_rules]]
name = "web by hand"
action = "allow"
protocols = ["socks-connect"]
from = ["internal"]
to = ["external"]
frontends = ["api"]

[[access_rules]]
name = "alice's peer"
action = "allow"
protocols = ["socks-bind"]
from = ["internal"]
to = ["203.0.113.12", "2001:db8::c"]
users = ["alice"]

[[access_rules]]
name = "peers of staff"
action = "allow"
protocols = ["socks-bind"]
from = ["staff"]
to = ["external", "vendor"]
client_ports = "2000-2999"

[frontends.socks]
listen = ["10.0.0.1:1080", "[fd00:a::1]:1080"]
"""

PORTS = (
    1,
    19,
    20,
    21,
    1023,
    1024,
    1025,
    1999,
    2000,
    2500,
    3000,
    3001,
    29999,
    30000,
    30001,
    40000,
    50000,
    60000,
)
# Eighteen ports, three clients and four servers: 216 questions.
CLIENTS, SERVERS = 3, 4


# Milliseconds, and many times that where others want the processors too.
_PATIENCE = 20.0


class Case(NamedTuple):
    client: IpAddress
    server: IpAddress
    port: int


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build("explain-reality", clients=CLIENTS, servers=SERVERS) as built:
        yield built


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run the gateway, and on each outside host a server that says 200 to everything."""
    file = lab.folder / "reality.toml"
    file.write_text(CONFIGURATION, encoding="ascii")
    with ExitStack() as undo:
        for host in lab.servers:
            for family, port in product((4, 6), (21, 80)):
                kind = socket.AF_INET if family == 4 else socket.AF_INET6
                with host.entered():
                    at = str(host.address(family)), port
                    listener = undo.enter_context(socket.create_server(at, family=kind))
                threading.Thread(target=agree, args=(listener,), daemon=True).start()
                undo.callback(listener.shutdown, socket.SHUT_RDWR)
        running = RunningGateway(lab, ["--config", str(file)], name="reality")
        undo.callback(running.stop)
        yield running


def agree(listener: socket.socket) -> None:
    """Serve one client after the other, until the listener is shut down."""
    with suppress(OSError):
        while True:
            connection, _client = listener.accept()
            with connection, connection.makefile("rb") as lines, suppress(OSError):
                connection.sendall(b"220 Hello\r\n")
                for _line in lines:
                    connection.sendall(b"200 Yes\r\n")


class Refusals:
    """The records of refusals, by the ends of the connection, as `events` has them."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._stream = follow(gateway.control_socket, "events")
        self.begun = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def of(self, client: Endpoint, server: Endpoint | None) -> dict[str, Any]:
        """Take the record about a connection, as soon as there is one.

        The port of a client is soon another connection's, to another server at once. `server` None:
        of a request by SOCKS for a host that is never served.
        """
        ends = str(client), str(server)
        with self._changed:
            assert self._changed.wait_for(lambda: ends in self._records, _PATIENCE), ends
            return self._records.pop(ends)

    def _read(self) -> None:
        with suppress(Exception):  # the gateway has stopped
            for line in self._stream:
                self.begun.set()
                record = json.loads(line)
                if str(record.get("event")).endswith(".refused"):
                    with self._changed:
                        self._records[record["client"], record.get("server", "None")] = record
                        self._changed.notify_all()


def happens(case: Case, host: Host, refusals: Refusals) -> tuple[bool, str, str | None]:
    """Dial and announce a port; return whether both were let be, why not, and the rule."""
    with host.entered():
        sock = socket.create_connection((str(case.server), 21), _PATIENCE)
    with sock, sock.makefile("rb") as replies:
        own = Endpoint(case.client, sock.getsockname()[1])
        if replies.readline().startswith(b"220"):
            place = Endpoint(case.client, case.port)
            sock.sendall(b"EPRT %s\r\n" % format_eprt_argument(place))
            if replies.readline().startswith(b"200"):
                return True, "allowed-by-rule", None
        record = refusals.of(own, Endpoint(case.server, 21))
        return False, record["reason"], record.get("rule", record.get("nearest_rule"))


class SocksCase(NamedTuple):
    """A request by SOCKS; `port` None: a BIND, and a CONNECT to that port."""

    client: IpAddress
    server: IpAddress
    port: int | None
    own_port: int
    """From where the client asks, and where peers would be let in."""


# Peers of no client: the gateway, a host inside, one that is nowhere, and the address at which
# clouds tell a machine its secrets.
NEVER = {
    4: ("203.0.113.1", "10.0.0.1", "10.0.0.9", "127.0.0.1", "169.254.169.254"),
    6: ("2001:db8::1", "fd00:a::1", "fd00:a::9", "::1", "fe80::1"),
}
# Each case has a port of its own within one of these: none is used again while TCP remembers it.
RANGES = (2000, 40_000)


def happens_by_socks(
    case: SocksCase, host: Host, refusals: Refusals
) -> tuple[bool, str, str | None]:
    """Ask by SOCKS; return whether it was let be, why not, and the rule."""
    own = Endpoint(case.client, case.own_port)
    version = case.client.version
    command, port = (BIND, 0) if case.port is None else (CONNECT, case.port)
    with host.entered():
        sock = socket.create_connection(
            (PROXY[version], PORT), _PATIENCE, source_address=(str(case.client), case.own_port)
        )
    with closing(sock):
        sock.sendall(b"\5\1\0" + bytes((5, command, 0)) + place(str(case.server), port))
        assert exactly(sock, 2) == b"\5\0"
        if reply(sock)[0] == GRANTED:
            return True, "allowed-by-rule", None
    is_never = str(case.server) in NEVER[version]
    is_inside = case.server in (ip_address("10.0.0.9"), ip_address("fd00:a::9"))
    server = None if is_never and not is_inside else Endpoint(case.server, port or 1)
    record = refusals.of(own, server)
    return False, record["reason"], record.get("rule", record.get("nearest_rule"))


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_what_is_explained_of_socks_is_what_happens(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    refusals = Refusals(gateway)
    clients = {host.address(family): host for host in lab.clients}
    servers = [host.address(family) for host in lab.servers]
    servers += map(ip_address, NEVER[family])
    cases = [
        SocksCase(client, server, port, first + number)
        for number, (client, server, port, first) in enumerate(
            product(clients, servers, (21, 80, None), RANGES)
        )
    ]
    while not refusals.begun.wait(0.05):
        gateway.ask("reload")
    different, seen = [], set()
    for case in cases:
        explained = request(
            gateway.control_socket,
            "explain",
            expect=Explained,
            client=str(case.client),
            server=str(Endpoint(case.server, case.port or 1)),
            protocol="socks-bind" if case.port is None else "socks-connect",
            **({"bind": case.own_port} if case.port is None else {}),
        )
        real = happens_by_socks(case, clients[case.client], refusals)
        said = explained.allowed, explained.reason, None if explained.allowed else explained.rule
        seen.add((explained.reason, explained.rule))
        if said != real:
            different.append((case, said, real))

    assert different == []
    assert len(cases) == 162
    assert {reason for reason, _ in seen} >= {
        "allowed-by-rule",
        "denied-by-rule",
        "client-port-above-maximum",
        "no-rule-for-this-user",
        "no-rule-for-this-frontend",
        "outside-the-schedule",
        "peer-is-gateway",
        "peer-is-never-served",
        "no-network-rule",
    }
    # CONNECT to a filter's port is that filter's protocol, as rules know it.
    assert ("allowed-by-rule", "by socks alone") in seen


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_what_is_explained_is_what_happens_on_the_kernel(
    lab: Lab, gateway: RunningGateway, family: int
) -> None:
    refusals = Refusals(gateway)
    clients = {host.address(family): host for host in lab.clients}
    places = [host.address(family) for host in lab.servers]
    cases = [Case(*one) for one in product(clients, places, PORTS)]
    while not refusals.begun.wait(0.05):
        gateway.ask("reload")
    different, seen = [], set()
    for case in cases:
        explained = request(
            gateway.control_socket,
            "explain",
            expect=Explained,
            client=str(case.client),
            server=str(case.server),
            protocol="ftp",
            bind=case.port,
        )
        real = happens(case, clients[case.client], refusals)
        said = explained.allowed, explained.reason, None if explained.allowed else explained.rule
        seen.add(explained.reason)
        if said != real:
            different.append((case, said, real))

    assert different == []
    assert len(cases) == 216
    assert seen >= {
        "allowed-by-rule",
        "denied-by-rule",
        "client-port-below-minimum",
        "client-port-above-maximum",
        "no-rule-for-this-user",
        "no-rule-for-this-frontend",
        "outside-the-schedule",
    }
