"""Clients that end their lines in LF alone, or twice, at real servers: through the gateway as
without one."""

import json
from contextlib import closing

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.rawftp import RawFtp, read_all

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

TAKE_LF = ["vsftpd", "pure-ftpd", "inetutils-ftpd"]
"""Servers that end a line at LF, without a gateway too."""
WAIT_FOR_CRLF = ["proftpd", "pyftpdlib"]
"""Servers to which an LF is a part of the line, without a gateway too."""


def connected(host: Host, server: FtpServer, family: int) -> RawFtp:
    client = RawFtp.__new__(RawFtp)
    client.connect(host, server.account(family), family)
    return client


def session(host: Host, server: FtpServer, family: int, end: bytes = b"\n") -> list[bytes]:
    """Log in, fetch a file in active mode and leave; return the codes of the replies."""
    account = server.account(family)
    (server.folder / "a file").write_bytes(b"content")
    client = connected(host, server, family)
    codes = []

    def ask(command: bytes) -> None:
        client.send(command + end)
        codes.append(client.reply()[:3])

    with closing(client), client.listening() as (listener, port):
        ask(b"USER " + account.user.encode())
        if codes[-1] == b"331":
            ask(b"PASS " + account.password.encode())
        ask(b"TYPE I")
        ask(port)
        ask(b"RETR a file")
        read_all(listener)
        codes.append(client.reply()[:3])
        # Two lines at once, and one that ends as it should.
        client.send(b"NOOP" + end + b"PWD" + end + b"NOOP\r\nQUIT" + end)
        codes += [client.reply()[:3] for _ in range(4)]
    return codes


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("software", TAKE_LF)
def test_a_session_of_lines_that_end_in_lf_works_as_without_a_gateway(
    software: str, family: int, lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of(software)
    direct = session(lab.stranger, server, family)

    assert direct[-5:] == [b"226", b"200", b"257", b"200", b"221"]
    assert session(lab.client, server, family) == direct


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("software", "end"),
    [("vsftpd", b"\r\r\n"), ("vsftpd", b"\r\n\r\n"), ("proftpd", b"\r\r\n")],
    ids=["vsftpd, CR twice", "vsftpd, CRLF twice", "proftpd, CR twice"],
)
@pytest.mark.usefixtures("gateway")
def test_a_session_of_lines_that_are_ended_twice_works_as_without_a_gateway(
    software: str, end: bytes, family: int, lab: Lab, server_of: GiveServer
) -> None:
    server = server_of(software)
    direct = session(lab.stranger, server, family, end)

    assert direct[-5:] == [b"226", b"200", b"257", b"200", b"221"]
    assert session(lab.client, server, family, end) == direct


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("software", WAIT_FOR_CRLF)
def test_where_lf_ends_no_line_a_port_behind_it_waits_and_opens_nothing(
    software: str, family: int, lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of(software)
    with connected(lab.stranger, server, family) as direct, direct.listening() as (_, port):
        direct.send(b"NOOP\n" + port + b"\r\nQUIT\r\n")
        # One answer for both, which is one line to this server.
        assert direct.reply()[:3] in (b"200", b"500")
        assert direct.reply()[:3] == b"221"

    with connected(lab.client, server, family) as client, client.listening() as (listener, port):
        client.send(b"NOOP\n" + port + b"\r\nQUIT\r\n")
        # The gateway has read that when it has served one who came later.
        with connected(lab.client, server, family) as later:
            later.ask(b"QUIT", b"221")
        client.control.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.control.recv(1)
        told = f":{listener.getsockname()[1]}"
        held = json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"]
        assert not [one for one in held if told in json.dumps(one)]
