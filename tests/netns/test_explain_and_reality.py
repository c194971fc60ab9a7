"""`explain` against a gateway that works: three clients, many rules, the same verdict and reason.

The vendor shares an interface with all that is outside; addresses tell it apart, in both families.

What happens is seen from outside: the client's socket, and the events of the gateway.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import product
from typing import Any, NamedTuple

import pytest

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
            for family in (4, 6):
                kind = socket.AF_INET if family == 4 else socket.AF_INET6
                with host.entered():
                    at = str(host.address(family)), 21
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

    def of(self, client: Endpoint, server: Endpoint) -> dict[str, Any]:
        """Take the record about a connection, as soon as there is one.

        The port of a client is soon another connection's, to another server at once.
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
                if record.get("event") in {"connect.refused", "binding.refused"}:
                    with self._changed:
                        self._records[record["client"], record["server"]] = record
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
