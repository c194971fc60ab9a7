"""SOCKS for the programs that people use: curl, ncat, proxychains, PySocks, python-socks."""

import ftplib
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import socks
from python_socks.sync import Proxy
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.socks_client import PORT, PROTOCOLS, exactly, reaches

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.passwords import PasswordHash

pytestmark = [pytest.mark.netns, pytest.mark.interop]

DEBIAN = Path(__file__).parents[2] / ".cache/debian"
LISTEN = f'[frontends.socks]\nlisten = ["10.0.0.1:{PORT}", "[fd00:a::1]:{PORT}"]\n'


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that anybody inside may ask by SOCKS."""
    file = lab.folder / "socks.toml"
    file.write_text(configuration(protocols=PROTOCOLS, rest=LISTEN), encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="socks")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[str]:
    """Serve a page outside; give its address."""
    folder = lab.folder / "www"
    folder.mkdir()
    folder.joinpath("hello").write_text("hello from outside", encoding="ascii")
    argv = [sys.executable, "-m", "http.server", "8088", "--bind", "203.0.113.9"]
    server = lab.server.popen([*argv, "--directory", str(folder)])
    at = Endpoint.parse("203.0.113.9:8088")
    wait_until(server, lambda: reaches(lab.stranger, at), folder / "log", "no page is served")
    yield "http://203.0.113.9:8088/hello"
    server.kill()
    server.wait()


@pytest.mark.parametrize(
    "options",
    [
        ["--socks5", "10.0.0.1:1080"],
        ["--socks5-hostname", "10.0.0.1:1080"],
        ["--socks4", "10.0.0.1:1080"],
        ["--socks4a", "10.0.0.1:1080"],
        ["-x", "socks5h://[fd00:a::1]:1080", "http://[2001:db8::9]:8088/hello"],
    ],
    ids=lambda options: options[0] + options[1][:6],
)
def test_curl_gets_a_page(gateway: RunningGateway, lab: Lab, page: str, options: list[str]) -> None:
    argv = ["curl", "-sS", "--max-time", "10", *options]
    if len(options) == 2:
        argv.append(page)
        assert lab.client.run(argv).stdout == "hello from outside"
    else:  # nobody listens there: the reply says so
        assert lab.client.run(argv, check=False).returncode == 97


@pytest.mark.parametrize(
    "argv",
    [
        ["ncat", "--proxy", "10.0.0.1:1080", "--proxy-type", "socks5"],
        ["ncat", "--proxy", "10.0.0.1:1080", "--proxy-type", "socks4"],
        ["nc.openbsd", "-X", "5", "-x", "10.0.0.1:1080"],
        ["nc.openbsd", "-X", "4", "-x", "10.0.0.1:1080"],
        ["connect-proxy", "-5", "-S", "10.0.0.1:1080"],
        ["connect-proxy", "-4", "-S", "10.0.0.1:1080"],
    ],
    ids=lambda argv: " ".join(argv[:3]),
)
def test_a_program_that_copies_bytes_gets_a_page(
    gateway: RunningGateway, lab: Lab, page: str, argv: list[str]
) -> None:
    said = lab.client.run(
        [*argv, "203.0.113.9", "8088"], stdin="GET /hello HTTP/1.0\r\n\r\n"
    ).stdout

    assert said.endswith("hello from outside")


def library(name: str) -> str:
    """Return where a library lies that turns programs into clients of SOCKS."""
    (found,) = DEBIAN.glob(f"usr/lib/*/{name}")
    return str(found)


# What makes any program a client: the library, and its file with the words that name the gateway.
WRAPPERS = {
    "proxychains": (
        "libproxychains.so.4",
        "PROXYCHAINS_CONF_FILE",
        "strict_chain\nproxy_dns\n[ProxyList]\nsocks5 10.0.0.1 1080\n",
    ),
    "torsocks": (
        "torsocks/libtorsocks.so",
        "TORSOCKS_CONF_FILE",
        "TorAddress 10.0.0.1\nTorPort 1080\n",
    ),
    "socksify": (
        "libdsocksd.so.0",
        "SOCKS_CONF",
        "route { from: 0.0.0.0/0 to: 0.0.0.0/0 via: 10.0.0.1 port = 1080\n"
        "protocol: tcp udp\nproxyprotocol: socks_v5\nmethod: none\n"
        "command: bind connect udpassociate }\n",
    ),
}


def wrapped(name: str, folder: Path) -> dict[str, str]:
    """Return the environment in which programs speak SOCKS."""
    file, variable, words = WRAPPERS[name]
    config = folder / name
    config.write_text(words, "ascii")
    return {variable: str(config), "LD_PRELOAD": library(file)}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_makes_a_program_a_client(
    gateway: RunningGateway, lab: Lab, page: str, tmp_path: Path, name: str
) -> None:
    code = f"import urllib.request as r; print(r.urlopen('{page}').read().decode())"
    said = lab.client.run([sys.executable, "-c", code], env=wrapped(name, tmp_path)).stdout

    assert "hello from outside" in said


def test_socksify_lets_a_program_be_called_back(
    gateway: RunningGateway, lab: Lab, tmp_path: Path
) -> None:
    """A client that knows nothing does active FTP at a port that no filter reads."""
    server = FtpServer("pure-ftpd", lab.servers[1], tmp_path / "server", 2121)
    try:
        server.folder.joinpath("file").write_text("from outside", encoding="ascii")
        account = server.account()
        told = ["epsv4", f"user {account.user} {account.password}", f"get file {tmp_path}/got"]
        argv = ["tnftp", "-A", "-n", "-d", "-v", str(account.address), "2121"]
        said = lab.client.run(
            argv, stdin="\n".join([*told, "quit", ""]), env=wrapped("socksify", tmp_path)
        ).stdout
    finally:
        server.stop()
    assert "PORT 203,0,113,1," in said
    assert (tmp_path / "got").read_text(encoding="ascii") == "from outside"


def test_ssh_goes_by_its_proxy_command(gateway: RunningGateway, lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    argv = ["ssh", "-v", "-F", "none", "-p", "2222", "-o", f"UserKnownHostsFile={log}.hosts"]
    argv += ["-o", "ProxyCommand=nc.openbsd -X 5 -x 10.0.0.1:1080 %h %p", "203.0.113.9"]
    with lab.server.entered(), socket.create_server(("203.0.113.9", 2222)) as server:
        server.settimeout(10)
        client = lab.client.popen(argv, log=log)
        with closing(server.accept()[0]) as session:
            # No more than its first line: a real sshd wants a user of its own on the machine.
            session.sendall(b"SSH-2.0-outside\r\n")
            wait_until(
                client,
                lambda: "remote software version outside" in log.read_text(),
                log,
                "ssh hears nothing",
            )
            assert exactly(session, 8) == b"SSH-2.0-"
            end(client)


def test_pysocks_and_python_socks_connect(gateway: RunningGateway, lab: Lab, page: str) -> None:
    for kind in (socks.SOCKS5, socks.SOCKS4):
        with lab.client.entered(), closing(socks.socksocket()) as client:
            client.set_proxy(kind, "10.0.0.1", 1080, rdns=True)
            client.settimeout(5)
            client.connect(("203.0.113.9", 8088))
            client.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            assert exactly(client, 8) == b"HTTP/1.0"
    for url in ("socks5://10.0.0.1:1080", "socks4://10.0.0.1:1080"):
        with lab.client.entered(), closing(Proxy.from_url(url).connect("203.0.113.9", 8088)) as one:
            one.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            assert exactly(one, 8) == b"HTTP/1.0"


def test_pysocks_sends_datagrams(gateway: RunningGateway, lab: Lab) -> None:
    with lab.server.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("203.0.113.9", 5353))
        server.settimeout(5)
    with (
        lab.client.entered(),
        closing(server),
        closing(socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)) as client,
    ):
        client.set_proxy(socks.SOCKS5, "10.0.0.1", 1080)
        client.settimeout(5)
        client.sendto(b"ping", ("203.0.113.9", 5353))
        data, outside = server.recvfrom(100)
        server.sendto(b"pong to " + data, outside)
        assert client.recvfrom(100)[0] == b"pong to ping"


def test_a_connect_to_port_21_runs_the_filter_of_ftp(
    gateway: RunningGateway, lab: Lab, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    account = server.account()
    with closing(ftplib.FTP()) as client:  # noqa: S321 - it is what is spoken
        with lab.client.entered():
            client.sock = socks.create_connection(
                (str(account.address), account.port),
                timeout=10,
                proxy_type=socks.SOCKS5,
                proxy_addr="10.0.0.1",
                proxy_port=1080,
            )
        client.af, client.file = socket.AF_INET, client.sock.makefile("r", encoding="utf-8")
        client.welcome = client.getresp()
        client.login(account.user, account.password)
        with lab.client.entered(), socket.create_server(("10.0.0.8", 0)) as listener:
            # The client names its own address; the server comes to the gateway's, and in here.
            listener.settimeout(10)
            client.sendport("10.0.0.8", listener.getsockname()[1])
            client.putcmd("NLST")
            with closing(listener.accept()[0]) as data:
                assert data.getpeername()[0] == str(account.address)


# -- users ----------------------------------------------------------------------------------------


@pytest.fixture
def of_users(gateway: RunningGateway, lab: Lab) -> Iterator[RunningGateway]:
    """Let only alice ask, by her password."""
    file = lab.folder / "socks.toml"
    before = file.read_text(encoding="ascii")
    users = "".join(
        f'[[users]]\nname = "{name}"\npassword = "{PasswordHash.of(b"secret", bytes(16))}"\n'
        for name in ("alice", "bob")
    )
    text = configuration(
        protocols=PROTOCOLS,
        rule='users = ["alice"]\nfrontends = ["socks"]',
        rest=f'{users}{LISTEN}authentication = "password"\n',
    )
    file.write_text(text, encoding="ascii")
    assert gateway.ask("reload").returncode == 0
    yield gateway
    file.write_text(before, encoding="ascii")
    assert gateway.ask("reload").returncode == 0


@pytest.mark.parametrize(
    ("login", "code"), [("alice:secret", 0), ("alice:wrong", 97), ("bob:secret", 97), ("", 97)]
)
def test_rules_know_the_user(
    of_users: RunningGateway, lab: Lab, page: str, login: str, code: int
) -> None:
    argv = ["curl", "-sS", "--max-time", "10", "--socks5", "10.0.0.1:1080", page]
    if login:
        argv += ["--proxy-user", login]
    done = lab.client.run(argv, check=False)
    assert done.returncode == code, done.stderr
    if login == "bob:secret":

        def refusals() -> list[str]:
            records = map(json.loads, of_users.journal())
            return [one["reason"] for one in records if one.get("user") == "bob"]

        # The line about it may follow what is said to the client.
        wait_until(of_users.process, lambda: bool(refusals()), of_users.log, "there is no record")
        assert refusals() == ["no-rule-for-this-user"]
