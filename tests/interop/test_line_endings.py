"""Clients that end their lines in LF alone, at real servers: through the gateway as without one."""

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
"""Servers that end a line at LF, without a gateway too; proftpd and pyftpdlib wait for CRLF."""


def session(host: Host, server: FtpServer, family: int) -> list[bytes]:
    """Log in, fetch a file in active mode and leave; return the codes of the replies."""
    account = server.account(family)
    (server.folder / "a file").write_bytes(b"content")
    client = RawFtp.__new__(RawFtp)
    client.connect(host, account, family)
    codes = []

    def ask(command: bytes) -> None:
        client.send(command + b"\n")
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
        client.send(b"NOOP\nPWD\nNOOP\r\nQUIT\n")
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
