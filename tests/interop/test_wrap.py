"""`sallyport wrap`: programs that know nothing of it, reached through the whole gateway."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.office import configuration
from tests.interop.test_pcp import reaches

from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

SERVER = "203.0.113.9"
SOCKET = "wrap-api.sock"


@pytest.fixture(params=["pcp", "api"])
def at(request: pytest.FixtureRequest, lab: Lab) -> str:
    """The gateway as --gateway names it: by its address, or by its socket."""
    return "10.0.0.1" if request.param == "pcp" else str(lab.folder / SOCKET)


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway whose rule grants mappings of ports from 8000 on, by PCP and by the API."""
    file = lab.folder / "wrap.toml"
    rule = 'client_ports = "8000-65535"'
    front_ends = f'[frontends.pcp]\n[frontends.api]\nsocket = "{lab.folder / SOCKET}"\n'
    text = configuration(protocols=("port-mapping",), rule=rule, rest=front_ends)
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="wrap")
    yield running
    running.stop()


def bindings(gateway: RunningGateway, port: int) -> list[dict[str, object]]:
    """Return the bindings for one port of the client."""
    listed = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]
    return [row for row in listed if row["client_address"] == f"10.0.0.8:{port}"]


def wrapped(at: str, *program: str, peers: str = SERVER, more: tuple[str, ...] = ()) -> list[str]:
    return [*sallyport(), "wrap", "--gateway", at, "--from", peers, *more, "--", *program]


REFUSALS = {"1": "not-authorized", "/": "address-not-allowed (client-port-below-minimum)"}
PROGRAMS = {
    "python": ([sys.executable, "-m", "http.server", "8000"], 8000),
    # Static, in C, and on the IPv6 wildcard.
    "busybox": (["busybox", "httpd", "-f", "-p", "8001"], 8001),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_program_listens_on_is_reached_by_the_peer_it_names_while_it_runs(
    gateway: RunningGateway, lab: Lab, at: str, name: str
) -> None:
    argv, own = PROGRAMS[name]
    log = lab.folder / f"wrap-{name}.log"
    process = lab.client.popen(wrapped(at, *argv), log=log)
    wait_until(process, lambda: bool(bindings(gateway, own)), log, "the port does not appear")
    (row,) = bindings(gateway, own)
    address, _, port = str(row["proxy_address"]).rpartition(":")

    # The port is opened while listen() waits: the peer may be a moment too early.
    wait_until(process, lambda: reaches(lab.server, address, int(port)), log, "no peer gets in")
    assert not reaches(lab.stranger, address, int(port))

    end(process)
    wait_until(
        gateway.process,
        lambda: not bindings(gateway, own),
        gateway.log,
        "the port does not disappear",
    )
    assert not reaches(lab.server, address, int(port))


def test_a_datagram_port_is_opened_too(
    gateway: RunningGateway, lab: Lab, at: str, tmp_path: Path
) -> None:
    program = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.bind(('0.0.0.0', 9000))\n"
        "data, peer = sock.recvfrom(100)\n"
        "sock.sendto(data + b' heard', peer)\n"
    )
    log = tmp_path / "log"
    process = lab.client.popen(wrapped(at, sys.executable, "-c", program), log=log)
    wait_until(process, lambda: bool(bindings(gateway, 9000)), log, "the port does not appear")
    address, _, port = str(bindings(gateway, 9000)[0]["proxy_address"]).rpartition(":")
    with lab.server.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(5)
        peer.sendto(b"word", (address, int(port)))
        assert peer.recv(100) == b"word heard"
    assert process.wait(10) == 0


def test_a_port_that_the_gateway_refuses_cannot_be_listened_on_and_a_line_says_why(
    gateway: RunningGateway, lab: Lab, at: str
) -> None:
    program = "import socket; socket.create_server(('', 7000))"
    result: subprocess.CompletedProcess[str] = lab.client.run(
        wrapped(at, sys.executable, "-c", program), check=False
    )

    assert result.returncode == 1
    assert "PermissionError" in result.stderr
    assert f"TCP port 7000 is not opened: the gateway refuses: {REFUSALS[at[:1]]}" in result.stderr
    assert bindings(gateway, 7000) == []


def test_a_program_may_announce_the_gateways_address_as_its_own(
    gateway: RunningGateway, lab: Lab, at: str
) -> None:
    program = (
        "import socket\n"
        "sock = socket.socket()\n"
        "sock.bind(('', 8100))\n"
        "before = sock.getsockname()\n"
        "sock.listen()\n"
        "print(*before, *sock.getsockname())\n"
    )
    argv = wrapped(at, sys.executable, "-c", program, more=("--show-external", "--quiet"))
    first, port, again, same = lab.client.run(argv).stdout.split()

    assert (first, again) == ("203.0.113.1", "203.0.113.1")
    assert port == same != "8100"
    assert bindings(gateway, 8100) == []


def test_a_loopback_port_and_the_exit_status_are_the_programs_own_affair(
    gateway: RunningGateway, lab: Lab, at: str
) -> None:
    program = "import socket, sys; socket.create_server(('127.0.0.1', 8200)); sys.exit(7)"
    result = lab.client.run(wrapped(at, sys.executable, "-c", program), check=False)

    assert (result.returncode, result.stderr) == (7, "")
    assert gateway.process.poll() is None


def test_a_program_that_is_not_there_is_said_to_be_missing(lab: Lab) -> None:
    result = lab.client.run(wrapped("10.0.0.1", "/nowhere/program"), check=False)

    assert result.returncode == 127
    assert "/nowhere/program: No such file or directory" in result.stderr


def test_a_program_that_is_killed_leaves_nothing_at_the_socket(
    gateway: RunningGateway, lab: Lab, tmp_path: Path
) -> None:
    program = "import socket, time; sock = socket.create_server(('', 8300)); time.sleep(60)"
    log = tmp_path / "log"
    argv = wrapped(str(lab.folder / SOCKET), sys.executable, "-c", program)
    process = lab.client.popen(argv, log=log)
    wait_until(process, lambda: bool(bindings(gateway, 8300)), log, "the port does not appear")
    (row,) = bindings(gateway, 8300)
    assert (row["frontend"], row["user"]) == ("api", "root")

    process.kill()  # wrap itself, which can give nothing back
    what = "the port does not disappear"
    wait_until(gateway.process, lambda: not bindings(gateway, 8300), gateway.log, what)


def test_a_socket_that_is_not_there_is_named(lab: Lab) -> None:
    result = lab.client.run(wrapped("/nowhere/api.sock", "true"), check=False)

    assert result.returncode != 0
    assert "no gateway listens on /nowhere/api.sock" in result.stderr
