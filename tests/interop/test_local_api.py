"""The local API of the running gateway: our client, a shell, and what a killed process leaves."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.interop.office import configuration
from tests.interop.socks_client import reaches, rows

from sallyport.addresses import Endpoint
from sallyport.client import ApiError, GatewayClient
from sallyport.errors import AddressNotAllowed, NotRunning, PolicyDenied
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

RULE = 'users = ["root"]\nfrontends = ["api"]'
USERS = '[[users]]\nname = "root"\n'


@pytest.fixture(scope="module")
def path(lab: Lab) -> Path:
    return lab.folder / "local.sock"


@pytest.fixture(scope="module")
def gateway(lab: Lab, path: Path) -> Iterator[RunningGateway]:
    """Run a gateway of two workers that processes of root may ask."""
    file = lab.folder / "api.toml"
    text = configuration(
        gateway="workers = 2",
        protocols=("port-mapping",),
        rule=RULE,
        rest=f'{USERS}[frontends.api]\nsocket = "{path}"\n',
    )
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="api")
    yield running
    running.stop()


def test_a_binding_is_open_for_its_peer_while_the_client_holds_it(
    gateway: RunningGateway, lab: Lab, path: Path
) -> None:
    with lab.client.entered():
        listener = socket.create_server(("10.0.0.8", 0))
    with closing(listener), GatewayClient(path) as client:
        inside = f"10.0.0.8:{listener.getsockname()[1]}"
        bound = client.bind(
            [inside],
            transport="tcp",
            protocol="port-mapping",
            flags=["allow_multiple"],
            ip_filter=["203.0.113.9"],
            context="page",
        )
        at = Endpoint.parse(bound.proxy_address)
        assert reaches(lab.server, at)
        assert not reaches(lab.stranger, at)
        event = next(client.events(timeout=5))
        assert (event.event, event.context) == ("established", "page")
        client.set_ip_filter(bound, ["203.0.113.66"])
        assert reaches(lab.stranger, at)
        assert client.extend(bound, 60) == 60
        (row,) = rows(gateway)
        assert (row["frontend"], row["user"]) == ("api", "root")
    wait_until(gateway.process, lambda: not rows(gateway), gateway.log, "it is still bound")
    assert not reaches(lab.stranger, at)


def test_every_client_is_served_whichever_worker_has_it(
    gateway: RunningGateway, path: Path
) -> None:
    workers = set()
    for number in range(20, 30):
        with GatewayClient(path) as client:
            inside = f"10.0.0.{number}:8080"
            bound = client.bind([inside], transport="tcp", protocol="port-mapping")
            workers.add(bound.binding.partition(".")[0])
    assert workers == {"w1", "w2"}


def test_errors_are_those_of_the_primitive(gateway: RunningGateway, path: Path) -> None:
    with GatewayClient(path) as client:
        with pytest.raises(AddressNotAllowed, match="client-port-below-minimum"):
            client.bind(["10.0.0.8:22"], transport="tcp", protocol="port-mapping")
        with pytest.raises(PolicyDenied):
            client.bind(["10.0.0.8:8080"], transport="tcp", protocol="socks-bind")
        bound = client.bind(["10.0.0.8:8080"], transport="tcp", protocol="port-mapping")
        client.kill(bound)
        with pytest.raises(ApiError, match="no binding"):
            client.show(bound)
    with pytest.raises(NotRunning):
        GatewayClient(path.with_name("nothing.sock"))


def test_a_shell_needs_no_client(gateway: RunningGateway, path: Path) -> None:
    request = {
        "id": 1,
        "do": "bind",
        "client_addresses": ["10.0.0.8:8080"],
        "transport": "tcp",
        "protocol": "port-mapping",
    }
    for worker in (path, Path(f"{path}.2")):
        said = subprocess.run(
            ["ncat", "-U", str(worker)],
            input=json.dumps(request) + "\n",
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
        answer = json.loads(said)
        if "result" in answer:
            assert answer["result"]["state"] == "armed"
            return
        assert answer["error"]["code"] == "other-worker"
    raise AssertionError("no worker serves the client")


def test_what_a_killed_process_has_bound_is_closed(gateway: RunningGateway, path: Path) -> None:
    code = (
        "import sys, time; from sallyport.client import GatewayClient\n"
        "c = GatewayClient(sys.argv[1])\n"
        "print(c.bind(['10.0.0.8:8080'], transport='tcp', protocol='port-mapping').binding,"
        " flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        binding = process.stdout.readline().strip()
        assert [row["id"] for row in rows(gateway)] == [binding]
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(gateway.process, lambda: not rows(gateway), gateway.log, "it is still bound")


def test_a_binding_that_stays_is_there_for_the_next_process(
    gateway: RunningGateway, path: Path
) -> None:
    with GatewayClient(path) as first:
        bound = first.bind(
            ["10.0.0.8:8080"], transport="tcp", protocol="port-mapping", stays=True, lifetime=600
        )
        used = first.path
    with GatewayClient(used) as second:
        assert second.show(bound).state == "armed"
        second.kill(bound)
    assert rows(gateway) == []
