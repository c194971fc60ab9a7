"""Situations from public bug reports about FTP programs, played through the real gateway.

Both ends are scripts of ours: no server at hand says these things. As dialogues without sockets
they are in tests/filters/test_ftp_out_of_step.py, with many more of their kinds.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from tests.interop.rawftp import TIMEOUT

from sallyport.addresses import Endpoint
from sallyport.lab.network import Lab
from sallyport.wire.ftp.formats import (
    format_eprt_argument,
    format_port_argument,
    parse_eprt_argument,
    parse_port_argument,
)

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.usefixtures("gateway")]

READY, OK, DONE = b"220 ready\r\n", b"200 ok\r\n", b"226 done\r\n"
HELLO = b"\x16\x03\x01\x00\x04hiya"
LISTING = b"".join(b" -rw-r--r-- 1 0 0 file%d\r\n" % n for n in range(30_000))


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of one control connection; each knows where it listens for data."""

    client: socket.socket
    server: socket.socket
    lab: Lab
    family: int

    def client_says(self, said: bytes) -> None:
        """Check that it reaches the server unchanged."""
        self.client.sendall(said)
        assert _read(self.server, len(said)) == said

    def server_says(self, said: bytes) -> None:
        """Check that it reaches the client unchanged."""
        self.server.sendall(said)
        assert _read(self.client, len(said)) == said

    def transfers(self) -> None:
        """Agree on a data connection from the server, and see it come."""
        with self.lab.client.entered():
            kind = socket.AF_INET if self.family == 4 else socket.AF_INET6
            listener = socket.create_server(("", 0), family=kind)
        with listener:
            listener.settimeout(TIMEOUT)
            here = Endpoint(self.lab.client.address(self.family), listener.getsockname()[1])
            if self.family == 4:
                self.client.sendall(b"PORT " + format_port_argument(here) + b"\r\n")
            else:
                self.client.sendall(b"EPRT " + format_eprt_argument(here) + b"\r\n")
            verb, _, argument = self._line().partition(b" ")
            read = parse_port_argument if verb == b"PORT" else parse_eprt_argument
            told = read(argument.rstrip())
            self.server_says(OK)
            self.client_says(b"RETR a\r\n")
            with self.lab.server.entered():
                data = socket.create_connection((str(told.address), told.port), TIMEOUT)
            with data, listener.accept()[0] as arrived:
                self.server_says(b"150 go\r\n")
                data.sendall(b"bytes")
                assert arrived.recv(100) == b"bytes"
        self.server_says(DONE)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self.server.recv(1)
        return line


def _read(end: socket.socket, count: int) -> bytes:
    """Read so many bytes, or what there is until the end."""
    data = b""
    while len(data) < count and (more := end.recv(count - len(data))):
        data += more
    return data


@contextmanager
def connected(lab: Lab, family: int) -> Iterator[Ends]:
    """Yield both ends of a control connection, before a word was said."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with lab.server.entered():
        listener = socket.create_server((str(lab.server.address(family)), 21), family=kind)
    listener.settimeout(TIMEOUT)
    with listener:
        with lab.client.entered():
            client = socket.create_connection(listener.getsockname()[:2], TIMEOUT)
        with client, listener.accept()[0] as server:
            server.settimeout(TIMEOUT)
            yield Ends(client, server, lab, family)


# Who speaks, and what: the other end hears the same.
CASES = {
    "auth_tls_200": [("s", READY), ("c", b"AUTH TLS\r\n"), ("s", OK), ("c", HELLO), ("s", HELLO)],
    "auth_ssl_334": [("s", READY), ("c", b"AUTH SSL\r\n"), ("s", b"334 x\r\n"), ("c", HELLO)],
    "cp1251_ff_in_names": [
        ("s", READY),
        *(("c", b"MKD " + name + b"\r\n") for name in (b"\xec\xff\xf1\xee", b"\xff\xf0", b"\xff")),
    ],
    "double_reply": [
        ("s", READY),
        *[("c", b"OPTS MLST size;\r\n"), ("s", b"500 What?\r\n500 Unknown option\r\n")] * 3,
        ("transfer", b""),
    ],
    "epsv_all_refused": [
        ("s", READY),
        ("c", b"EPSV ALL\r\n"),
        ("s", b"500 No\r\n"),
        ("transfer", b""),
    ],
    "greeting_text_before_220": [("s", b"Network device\r\n"), ("s", READY), ("transfer", b"")],
    "greetings_of_many_lines": [
        ("s", b"220-a\r\n\r\n220 is no end\r\n220-b\r\n220 c\r\n"),
        ("transfer", b""),
    ],
    "hash_verbs": [
        ("s", READY),
        ("c", b"XSHA256 a\r\n"),
        ("s", b"250 x\r\n"),
        ("c", b"MD5 a\r\n"),
        ("s", b"251 x\r\n"),
    ],
    "long_path": [("s", READY), ("c", b"SIZE " + b"d" * 4096 + b"\r\n"), ("s", b"550 No\r\n")],
    "multiline_other_code": [
        ("s", READY),
        ("c", b"STOR x\r\n"),
        ("s", b"553-\r\n553- Directory excluded.\r\n150 Opening\r\n"),
        ("s", DONE),
        ("transfer", b""),
    ],
    "noop_many": [("s", READY), ("c", b"NOOP\r\n" * 300), ("s", OK * 300), ("transfer", b"")],
    "noop_unanswered": [
        ("s", READY),
        ("c", b"RETR x\r\n"),
        ("s", b"150 go\r\n"),
        ("c", b"NOOP\r\n"),
        ("s", DONE),
        ("transfer", b""),
        ("transfer", b""),
    ],
    "stat_listing_20000": [
        ("s", READY),
        ("c", b"STAT -l\r\n"),
        ("s", b"213-x\r\n"),
        ("s", LISTING),
        ("s", b"213 end\r\n"),
        ("transfer", b""),
    ],
    "verbs_of_other_rfcs": [
        ("s", READY),
        *(
            ("c", line + b"\r\n")
            for line in (b"HOST a.b", b"OPTS UTF8 ON", b"MLST", b"REST 1", b"SITE x 1,2", b"CLNT y")
        ),
    ],
    "transfer_ends_as_it_likes": [
        ("s", READY),
        *[("c", b"RETR x\r\n"), ("s", b"125 x\r\n250 y\r\n")] * 2,
        *[("c", b"ABOR\r\n"), ("s", b"426 x\r\n226 y\r\n")] * 2,
        ("transfer", b""),
    ],
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", CASES)
def test_what_works_without_a_gateway_works_through_it(name: str, family: int, lab: Lab) -> None:
    with connected(lab, family) as ends:
        for who, said in CASES[name]:
            if who == "transfer":
                ends.transfers()
            elif who == "c":
                ends.client_says(said)
            else:
                ends.server_says(said)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("last", [b"421 Too many users, try later", b"500 OOPS: child died"])
def test_last_words_without_a_line_end_arrive_before_the_end(
    last: bytes, family: int, lab: Lab
) -> None:
    with connected(lab, family) as ends:
        ends.server.sendall(last)
        ends.server.shutdown(socket.SHUT_WR)

        assert _read(ends.client, len(last) + 1) == last
