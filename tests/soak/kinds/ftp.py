"""FTP, active and passive, down and up, at the server outside and at the published one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.publishing import published
from tests.interop.rawftp import RawFtp
from tests.soak.network import FAMILIES, PATIENCE, Network
from tests.soak.visits import Phase, Visit, compare, endpoint, read

from sallyport.addresses import Endpoint
from sallyport.lab.servers import FtpServer
from sallyport.wire.ftp.formats import read_epsv_reply

# What the two ends can hold of a transfer is made small, so that a slow one is slow.
_SMALL_BUFFER = 64 * 1024


def ftp(network: Network, visit: Visit) -> None:
    """Move one to three files, each in one of four ways."""
    _use_ftp(network.outside, network, visit)


def published_ftp(network: Network, visit: Visit) -> None:
    """Do the same at the server inside."""
    _use_ftp(network.inside, network, visit)


def slow_ftp(network: Network, visit: Visit) -> None:
    """Fetch something that takes its time."""
    with connected(network.outside, network, visit) as control:
        _fetch(control, network, visit, "long", is_active=visit.random.random() < 0.5)


def slow_published_ftp(network: Network, visit: Visit) -> None:
    """Do the same at the server inside."""
    with connected(network.inside, network, visit) as control:
        _fetch(control, network, visit, "long", is_active=visit.random.random() < 0.5)


# -- what clients that do not behave use as well ---------------------------------------------------


@contextmanager
def connected(server: FtpServer, network: Network, visit: Visit) -> Iterator[RawFtp]:
    """Log in."""
    account = server.account(visit.family)
    if not visit.is_inside:
        account = published(network.lab, server, visit.family)
    with RawFtp(visit.client, server, visit.family, account=account, timeout=PATIENCE) as control:
        visit.is_named(control.control.getsockname())
        visit.phase = Phase.TALK
        yield control


@contextmanager
def data_connection(
    control: RawFtp, visit: Visit, command: bytes, *, is_active: bool
) -> Iterator[tuple[socket.socket, Endpoint]]:
    """Agree on a data connection and make it; give it with its end outside."""
    visit.phase = Phase.OPEN
    if is_active:
        with control.listening() as (listener, announcement):
            listener.settimeout(PATIENCE)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            control.ask(announcement, b"200")
            control.ask(command, b"150")
            data, peer = listener.accept()
    else:
        port = read_epsv_reply(control.ask(b"EPSV", b"229").rstrip()).port
        with visit.client.entered():
            data = socket.socket(FAMILIES[visit.family])
        data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        data.settimeout(PATIENCE)
        peer = control.control.getpeername()[0], port
        with _closed_on_failure(data):
            data.connect(peer)
            control.ask(command, b"150")
    ours = data.getsockname()
    visit.is_named(ours)
    with data:
        data.settimeout(PATIENCE)
        yield data, endpoint(peer if visit.is_inside else ours)


# -- inside ----------------------------------------------------------------------------------------


def _use_ftp(server: FtpServer, network: Network, visit: Visit) -> None:
    with connected(server, network, visit) as control:
        for _ in range(visit.random.randint(1, 3)):
            name = visit.random.choices(("none", "tiny", "some", "more"), (1, 2, 6, 1))[0]
            is_active = visit.random.random() < 0.5
            if visit.random.random() < 0.25:
                folder = server.folder
                _store(control, network, visit, name, folder, is_active=is_active)
            else:
                _fetch(control, network, visit, name, is_active=is_active)


@contextmanager
def _closed_on_failure(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise


def _fetch(control: RawFtp, network: Network, visit: Visit, name: str, *, is_active: bool) -> None:
    content = network.content[name]
    command = f"RETR {name}".encode()
    with (
        data_connection(control, visit, command, is_active=is_active) as (data, outside),
        visit.transfer(outside, len(content)),
    ):
        compare(read(data, visit, is_slow=name == "long"), content)
    assert control.reply().startswith(b"226")


def _store(
    control: RawFtp, network: Network, visit: Visit, name: str, folder: Path, *, is_active: bool
) -> None:
    content, there = network.content[name], network.name_of_upload()
    command = f"STOR {there}".encode()
    try:
        with (
            data_connection(control, visit, command, is_active=is_active) as (data, outside),
            visit.transfer(outside, len(content)),
        ):
            data.sendall(content)
            data.close()
            # Only the server knows that all has come.
            visit.phase = Phase.TALK
            assert control.reply().startswith(b"226")
            compare((folder / there).read_bytes(), content)
    finally:
        (folder / there).unlink(missing_ok=True)
