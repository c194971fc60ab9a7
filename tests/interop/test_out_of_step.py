"""What real servers and clients do outside RFC 959, through the gateway; as dialogues without
sockets: tests/filters/test_ftp_out_of_step.py."""

import os
import socket
from collections.abc import Callable
from threading import Thread

import pytest
from tests.interop.matrix import GiveServer, fill
from tests.interop.rawftp import RawFtp, digest_of, read_all

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop, pytest.mark.usefixtures("gateway")]

FAMILIES = pytest.mark.parametrize("family", [4, 6])
BIG = 8 * 1024 * 1024


def place(server: FtpServer, name: str, size: int) -> bytes:
    fill(server.folder / name, size)
    return name.encode()


def logged_in(lab: Lab, server: FtpServer, family: int = 4) -> RawFtp:
    """Return a client that is logged in, also where a password is asked for."""
    if server.software == "vsftpd":
        return RawFtp(lab.client, server, family)
    account = server.account(family)
    client = RawFtp.__new__(RawFtp)
    client.connect(lab.client, account, family)
    client.ask(b"USER " + account.user.encode(), b"331")
    client.ask(b"PASS " + account.password.encode(), b"230")
    client.ask(b"TYPE I", b"200")
    return client


@FAMILIES
@pytest.mark.parametrize(
    "software", ["vsftpd", "pure-ftpd", "proftpd", "pyftpdlib", "inetutils-ftpd"]
)
def test_keep_alives_during_a_transfer_stop_nothing(
    software: str, family: int, lab: Lab, server_of: GiveServer
) -> None:
    server = server_of(software)
    big, small = place(server, "big", BIG), place(server, "small", 1000)
    with logged_in(lab, server, family) as client, client.listening() as (listener, command):
        client.ask(command, b"200")
        client.ask(b"RETR " + big, b"150" if software != "pyftpdlib" else b"125")
        data, _ = listener.accept()
        client.send(b"NOOP\r\nNOOP\r\n")
        for _ in range(198):
            client.send(b"NOOP\r\n")
        digest_of(data)
        while not client.reply().startswith(b"226"):
            pass
        # Some servers answer all of them now, some one, some none: the next transfer tells.
        with client.listening() as (second, ask_again):
            client.send(ask_again + b"\r\n")
            client.reply()  # as a client would that does not count
            client.send(b"RETR " + small + b"\r\n")
            read_all(second)


@pytest.mark.parametrize("name", [b"\xff\xf0", b"\xec\xff\xf1\xee", b"\xff\xfe\xec\xf0", b"a\xff"])
def test_a_folder_gets_the_name_that_was_said(name: bytes, lab: Lab, server_of: GiveServer) -> None:
    server = server_of("vsftpd")
    with RawFtp(lab.client, server) as client:
        client.send(b"MKD " + name + b"\r\n")
        client.reply()
        direct = set(os.listdir(bytes(server.folder)))

    # The server's own Telnet layer may double or halve an IAC; no other byte is lost on the way.
    assert any(one.replace(b"\xff\xff", b"\xff") == name for one in direct), direct


@pytest.mark.parametrize("software", ["vsftpd", "proftpd"])
@pytest.mark.parametrize(
    "write",
    [
        lambda numbers: b",".join(b"%03d" % int(number) for number in numbers),
        lambda numbers: b" " + b",".join(numbers) + b" ",
    ],
    ids=["three digits", "blanks"],
)
def test_a_port_with_zeros_or_blanks_is_taken_as_its_server_takes_it(
    write: Callable[[list[bytes]], bytes], software: str, lab: Lab, server_of: GiveServer
) -> None:
    server = server_of(software)
    name = place(server, "small", 1000)
    with logged_in(lab, server) as client, client.listening() as (listener, command):
        verb, _, numbers = command.partition(b" ")
        client.ask(verb + b" " + write(numbers.split(b",")), b"200")
        client.ask(b"RETR " + name, b"150")
        read_all(listener)


@FAMILIES
def test_a_path_of_600_bytes_is_the_servers_to_refuse(
    family: int, lab: Lab, server_of: GiveServer
) -> None:
    with RawFtp(lab.client, server_of("vsftpd"), family) as client:
        client.ask(b"SIZE " + b"d" * 600, b"550")
        client.send(b"SIZE " + b"d" * 10_000 + b"\r\n")
        assert client.reply().startswith(b"500")
        client.ask(b"NOOP", b"200")


def test_a_listing_of_25000_files_comes_over_the_control_connection(
    lab: Lab, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    folder = server.folder / "many"
    folder.mkdir(exist_ok=True)
    for number in range(25_000):
        (folder / f"file{number}").touch()
    with RawFtp(lab.client, server, timeout=30) as client:
        client.send(b"STAT many\r\n")
        lines = sum(1 for _ in iter(client.line, b"213 End of status\r\n"))
        assert lines > 25_000
        client.ask(b"NOOP", b"200")


@FAMILIES
def test_an_urgent_abor_ends_a_transfer_that_the_client_does_not_read(
    family: int, lab: Lab, server_of: GiveServer
) -> None:
    # The BSD family looks at the control connection during a transfer on SIGURG only.
    server = server_of("inetutils-ftpd")
    big = place(server, "urgent", 8 * BIG)
    with logged_in(lab, server, family) as client, client.listening() as (listener, command):
        client.ask(command, b"200")
        client.ask(b"RETR " + big, b"150")
        data, _ = listener.accept()
        with data:
            assert data.recv(1000)
            client.control.send(b"\xff\xf4\xff", socket.MSG_OOB)
            client.send(b"\xf2ABOR\r\n")

            assert client.reply().startswith(b"426")
            assert client.reply().startswith(b"226")


@FAMILIES
@pytest.mark.parametrize("software", ["vsftpd", "proftpd", "pyftpdlib"])
def test_20000_commands_sent_ahead_are_answered_one_by_one(
    software: str, family: int, lab: Lab, server_of: GiveServer
) -> None:
    count = 20_000
    with logged_in(lab, server_of(software), family) as client:
        lines = b"".join(b"MDTM no%d\r\nSIZE no%d\r\n" % (n, n) for n in range(count // 2))
        sender = Thread(target=client.send, args=(lines,))
        sender.start()
        for _ in range(count):
            assert client.reply().startswith(b"550")
        sender.join()
        client.ask(b"NOOP", b"200")


@FAMILIES
def test_a_script_that_ends_with_its_own_end_gets_its_file(
    family: int, lab: Lab, server_of: GiveServer, gateway: RunningGateway
) -> None:
    server = server_of("vsftpd")
    name = place(server, "last", BIG)
    with RawFtp(lab.client, server, family) as client, client.listening() as (listener, command):
        client.send(command + b"\r\nRETR " + name + b"\r\nQUIT\r\n")
        client.control.shutdown(socket.SHUT_WR)
        assert read_all(listener), gateway.journal()[-3:]
        said = b"".join(iter(client.line, b""))

    assert b"226" in said
    assert b"221" in said
