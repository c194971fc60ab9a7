"""The admin API of a gateway that works: over its control socket, over TCP, and for Prometheus."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families as parsed
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.docs.curl import examples
from tests.interop.matrix import ACTIVE4, GiveServer, attempt

from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.network import Lab
from sallyport.ops.control.openapi import openapi
from sallyport.ops.control.operations import OPERATIONS

pytestmark = [pytest.mark.netns]

CONFIGURATION = """\
[gateway]
workers = 2
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
[[access_rules]]
name = "ftp"
action = "allow"
protocols = ["ftp", "tftp"]
from = ["internal"]
to = ["external"]
[metrics]
listen = "127.0.0.1:9470"
[admin]
listen = "127.0.0.1:8470"
control_token_file = "FOLDER/control.token"
monitor_token_file = "FOLDER/monitor.token"
"""
CONTROL, MONITOR = "control-0123456789abcdef", "monitor-0123456789abcdef"


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    for name, token in (("control", CONTROL), ("monitor", MONITOR)):
        file = lab.folder / f"{name}.token"
        file.write_text(f"{token}\n", encoding="ascii")
        file.chmod(0o600)
    config = lab.folder / "admin.toml"
    config.write_text(CONFIGURATION.replace("FOLDER", str(lab.folder)), encoding="utf-8")
    running = RunningGateway(lab, ["--config", str(config)], name="admin")
    yield running
    running.stop()


def curl(gateway: RunningGateway, *arguments: str) -> tuple[int, str]:
    """Return the status and the body of what curl gets on the gateway's host."""
    done = gateway.host.run(["curl", "-s", "-w", "\n%{http_code}", *arguments], check=False)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def over_tcp(gateway: RunningGateway, path: str, token: str | None, *more: str) -> tuple[int, Any]:
    header = ["-H", f"Authorization: Bearer {token}"] if token else []
    status, body = curl(gateway, *header, *more, f"http://127.0.0.1:8470{path}")
    return status, json.loads(body)


def metrics(gateway: RunningGateway) -> dict[str, float]:
    """Return the sum of each metric over its labels; counters by their verdict too."""
    _, body = curl(gateway, "http://127.0.0.1:9470/metrics")
    found: dict[str, float] = {}
    for family in parsed(body):
        for sample in family.samples:
            for name in (sample.name, f"{sample.name} {sample.labels.get('verdict')}"):
                found[name] = found.get(name, 0.0) + sample.value
    return found


@pytest.mark.parametrize(("page", "command"), list(examples()))
def test_a_command_of_the_documents_does_what_it_says(
    gateway: RunningGateway, lab: Lab, page: str, command: str
) -> None:
    for written, here in (
        ("/run/sallyport/control.sock", str(gateway.control_socket)),
        ("/etc/sallyport", str(lab.folder)),
    ):
        command = command.replace(written, here)
    fail = command.replace("curl ", "curl --silent --show-error --fail-with-body ")
    done = gateway.host.run(["sh", "-c", fail], check=False)

    assert done.returncode == 0, (page, done.stdout, done.stderr)
    assert done.stdout or "trace" in command


def test_both_workers_are_measured_and_ready(gateway: RunningGateway) -> None:
    found = metrics(gateway)

    assert found["sallyport_worker_up"] == 2
    assert found["sallyport_ready"] == 1
    assert found["sallyport_ports"] == 20_000
    assert curl(gateway, "http://127.0.0.1:9470/readyz")[0] == 200
    assert curl(gateway, "http://127.0.0.1:9470/v1/status")[0] == 404


def test_a_transfer_is_counted_with_its_bind_and_its_bytes(
    gateway: RunningGateway, lab: Lab, server_of: GiveServer, tmp_path: Path
) -> None:
    before = metrics(gateway)
    cell = next(one for one in ACTIVE4 if one.client == "curl" and one.server == "vsftpd")
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path, 5000)
    assert result.arrived
    gateway.settle()
    after = metrics(gateway)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more("sallyport_sessions_total") == 1
    assert more("sallyport_control_connections_total allowed") >= 1
    assert more("sallyport_bind_requests_total allowed") >= 1
    assert more("sallyport_bind_duration_seconds_count") >= 1
    assert more("sallyport_relay_bytes_total") >= 5000


def test_a_packet_that_finds_no_pinhole_is_counted(gateway: RunningGateway, lab: Lab) -> None:
    before = metrics(gateway)["sallyport_dropped_packets_total"]
    with (
        lab.server.entered(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        stranger.sendto(b"x", ("203.0.113.1", 45678))

    assert metrics(gateway)["sallyport_dropped_packets_total"] == before + 1


@pytest.mark.parametrize(
    ("token", "method", "status"),
    [
        (None, "GET", 401),
        ("wrong-0123456789abcdef", "GET", 401),
        (MONITOR, "GET", 200),
        (MONITOR, "POST", 403),
        (CONTROL, "GET", 200),
        (CONTROL, "POST", 200),
    ],
)
def test_over_tcp_a_token_decides(
    gateway: RunningGateway, token: str | None, method: str, status: int
) -> None:
    path = "/v1/status" if method == "GET" else "/v1/reload"

    assert over_tcp(gateway, path, token, "-X", method)[0] == status


def test_a_reload_is_counted_by_how_it_ended(gateway: RunningGateway, lab: Lab) -> None:
    config = lab.folder / "admin.toml"
    right = config.read_text(encoding="utf-8")
    before = metrics(gateway)
    config.write_text("[gatewya]", encoding="utf-8")
    status, answer = over_tcp(gateway, "/v1/reload", CONTROL, "-X", "POST")
    wrong = metrics(gateway)
    config.write_text(right, encoding="utf-8")
    over_tcp(gateway, "/v1/reload", CONTROL, "-X", "POST")
    after = metrics(gateway)

    assert (status, answer["valid"]) == (409, False)
    assert wrong["sallyport_config_last_reload_success"] == 0
    assert after["sallyport_config_last_reload_success"] == 1
    assert after["sallyport_config_reloads_total"] == before["sallyport_config_reloads_total"] + 2


def test_status_says_why_it_is_degraded(gateway: RunningGateway) -> None:
    status = json.loads(gateway.ask("status", "--json").stdout)
    victim = status["workers"][1]["pid"]
    gateway.host.run(["kill", "-STOP", str(victim)])
    try:
        asked = gateway.ask("status", "--json")
        found = metrics(gateway)
    finally:
        gateway.host.run(["kill", "-CONT", str(victim)])

    assert asked.returncode == 6
    assert json.loads(asked.stdout)["degraded"] == "worker 2 is silent"
    assert found["sallyport_worker_up"] == 1


def test_another_gateways_address_is_told(gateway: RunningGateway, lab: Lab) -> None:
    config = lab.folder / "second.toml"
    text = CONFIGURATION.replace("FOLDER", str(lab.folder)).replace("workers = 2", "")
    config.write_text(text, encoding="utf-8")
    argv = ["run", "--config", str(config), "--control-socket", str(lab.folder / "second.sock")]
    done = lab.gateway.run([*sallyport(), *argv], check=False)

    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1:8470" in done.stderr


# All but what would end the gateway.
ASKED = [one.name for one in OPERATIONS.values() if one.name != "drain" and not one.is_stream]


@pytest.mark.parametrize("name", ASKED)
def test_an_operation_answers_as_its_openapi_document_says(
    gateway: RunningGateway, name: str
) -> None:
    schema = schemathesis.openapi.from_dict(openapi())
    operation = schema.find_operation_by_id(name)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def asks(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(
            base_url="http://127.0.0.1:8470",
            headers={"Authorization": f"Bearer {CONTROL}"},
            # What is no address is text to OpenAPI, and a bad question to us.
            excluded_checks=[positive_data_acceptance],
        )

    with gateway.host.entered():
        asks()
