"""docs/how-to/ftps.md on real programs: its configuration, its servers, its clients."""

import json
import re
import shlex
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.interop.matrix import fill
from tests.interop.publishing import reaches

from sallyport.addresses import Endpoint
from sallyport.lab.clients import digest
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer, why_not

pytestmark = [pytest.mark.netns, pytest.mark.interop]

PAGE = (Path(__file__).parents[2] / "docs/how-to/ftps.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([\w-]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PUBLISHED, INSIDE = (text for kind, text in BLOCKS if kind == "toml")
CERTIFICATE, CLIENTS, IMPLICIT, _EXPLAIN = (text for kind, text in BLOCKS if kind == "sh")
SETTINGS = dict(BLOCKS)
RANGE = range(50000, 50010)


@pytest.fixture(scope="module")
def certificate(lab: Lab) -> Path:
    """Make the certificate of the page; its folder is where the clients run."""
    lab.server.run(["sh", "-c", f"cd {lab.folder} && {CERTIFICATE.replace(chr(10), ' && ', 1)}"])
    return lab.folder / "ftp.pem"


@contextmanager
def serving(host: Host, lab: Lab, software: str, *more: str, port: int = 21) -> Iterator[FtpServer]:
    """Run a server with the settings of the page, and those named `more`."""
    if reason := why_not(software):
        pytest.skip(reason)
    settings = "".join(SETTINGS[name] for name in (software, *more))
    settings = settings.replace("ftp.pem", str(lab.folder / "ftp.pem"))
    folder = lab.folder / f"tls-{software}-{port}"
    server = FtpServer(software, host, folder, port, settings=settings)
    fill(server.folder / "file", 300_000)
    try:
        yield server
    finally:
        server.stop()


# Of several processes only the kernel's path can share a port.
WORKERS = {"auto": 2, "user": 1}


@pytest.fixture(scope="module", params=WORKERS)
def gateway(request: pytest.FixtureRequest, lab: Lab) -> Iterator[RunningGateway]:
    file = lab.folder / f"ftps-{request.param}.toml"
    inside = INSIDE.replace('"203.0.113.9"', '"203.0.113.9", "2001:db8::9"')
    text = PUBLISHED.replace("[filters.ftp]", f"{inside}[filters.ftp]")
    path, workers = request.param, WORKERS[request.param]
    file.write_text(f'[gateway]\ndata_path = "{path}"\nworkers = {workers}\n{text}', "ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"ftps-{request.param}")
    yield running
    running.stop()


@pytest.fixture
def strict(lab: Lab) -> Iterator[None]:
    """Let the gateway's own firewall pass nothing but what the page says."""
    rules = (
        "type filter hook forward priority filter; policy drop;",
        "ct state established,related accept",
        SETTINGS["nft"],
    )
    lines = "\n".join(rules)
    table = f"table inet strict {{\nchain forward {{\n{lines}}}\n}}\n"
    lab.gateway.run(["nft", "-f", "-"], stdin=table)
    yield
    lab.gateway.run(["nft", "delete table inet strict"])


def run(lab: Lab, host: Host, commands: str, server: FtpServer) -> None:
    """Run commands of the page as its clients do."""
    for command in commands.strip().splitlines():
        text = command.replace("USER", server.user).replace("PASSWORD", server.password)
        text = text.replace("lftp -c", "lftp --norc -c").replace("curl ", "curl --silent -S ", 1)
        text = text.replace("open -u", "set net:max-retries 1; set net:timeout 5; open -u")
        result = host.run(
            ["sh", "-c", f"cd {shlex.quote(str(lab.folder))} && {text}"],
            check=False,
            timeout=20,
            env={"LFTP_HOME": "/nonexistent", "HOME": "/nonexistent"},
        )
        assert result.returncode == 0, (text, result.stderr)


def server_socket(family: int, address: str) -> socket.socket:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    return socket.create_server((address, RANGE[3]), family=kind)


@contextmanager
def speaking_tls(host: Host, server: Endpoint) -> Iterator[None]:
    """Hold a control connection open on which both sides speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with host.entered():
        plain = socket.create_connection((str(server.address), server.port), 10)
    with plain:
        assert plain.recv(1000).startswith(b"220")
        plain.sendall(b"AUTH TLS\r\n")
        assert plain.recv(1000).startswith(b"234")
        with context.wrap_socket(plain) as ciphered:
            ciphered.sendall(b"NOOP\r\n")
            assert ciphered.recv(1000)
            yield


def forget(lab: Lab, server: FtpServer) -> None:
    for path in (*lab.folder.glob("from-*"), server.folder / "upload"):
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("software", ["vsftpd", "proftpd", "pure-ftpd"])
@pytest.mark.usefixtures("certificate")
def test_clients_outside_reach_a_published_server_over_tls(
    software: str, lab: Lab, gateway: RunningGateway
) -> None:
    with serving(lab.client, lab, software) as server:
        forget(lab, server)
        (lab.folder / "file").write_bytes((server.folder / "file").read_bytes())
        run(lab, lab.server, CLIENTS, server)

        whole = digest(server.folder / "file")
        assert digest(lab.folder / "from-curl") == whole, gateway.journal()[-5:]
        assert digest(lab.folder / "from-lftp") == whole
        assert digest(server.folder / "upload") == whole
        gateway.settle()
    opened = [line for line in gateway.journal() if "range.opened" in line]
    assert opened
    assert not [line for line in gateway.journal() if "range.refused" in line]


@pytest.mark.usefixtures("certificate")
def test_where_tls_comes_first_it_works_as_well(lab: Lab, gateway: RunningGateway) -> None:
    with serving(lab.client, lab, "vsftpd", "vsftpd-990", port=990) as server:
        forget(lab, server)
        run(lab, lab.server, IMPLICIT, server)

        assert digest(lab.folder / "from-990") == digest(server.folder / "file")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.usefixtures("certificate")
def test_the_range_is_open_to_who_speaks_tls_and_listed(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    address = lab.gateway.address4 if family == 4 else lab.client.address6
    with serving(lab.client, lab, "vsftpd") as server:
        with lab.client.entered():
            listener = server_socket(family, str(server.host.address(family)))
        place = Endpoint(address, RANGE[3])
        with listener:
            assert not reaches(lab.server, place)
            with speaking_tls(lab.server, Endpoint(address, 21)):
                assert reaches(lab.server, place)
                assert reaches(lab.server, place), "more than once"
                assert not reaches(lab.stranger, place)
                listed = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]
                assert {str(one["proxy_address"]) for one in listed} == {
                    str(Endpoint(address, port)) for port in RANGE
                }
            with ExitStack() as several:
                clients = (*lab.servers, lab.stranger)
                for client in clients:
                    several.enter_context(speaking_tls(client, Endpoint(address, 21)))
                assert all(reaches(client, place) for client in clients)
        gateway.settle()
        assert not reaches(lab.server, place)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.usefixtures("certificate", "strict")
def test_clients_inside_pass_a_firewall_that_lets_out_what_is_marked(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    address = lab.server.address(family)
    with serving(lab.server, lab, "proftpd") as server:
        forget(lab, server)
        command = (
            "curl --ssl-reqd --insecure --ftp-skip-pasv-ip --output from-inside"
            f" ftp://USER:PASSWORD@{f'[{address}]' if family == 6 else address}/file"
        )
        run(lab, lab.client, command, server)
        assert digest(lab.folder / "from-inside") == digest(server.folder / "file")
        gateway.settle()

        with lab.server.entered():
            listener = server_socket(family, str(address))
        with listener:
            assert not reaches(lab.client, Endpoint(address, RANGE[3]))
