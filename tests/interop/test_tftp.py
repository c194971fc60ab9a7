"""TFTP through the gateway: real servers and clients, and raw ones for what those never do."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.interop.office import configuration

from sallyport import limits
from sallyport.addresses import IpAddress
from sallyport.lab.clients import TransferDirection, digest
from sallyport.lab.gateway import RunningGateway, end_plain_nat, plain_nat
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.tftp import (
    CLIENTS,
    DIRECTIONS,
    FAMILIES,
    OPTIONS,
    SERVERS,
    TftpJob,
    TftpServer,
    transfer,
    why_not,
)

pytestmark = [pytest.mark.netns, pytest.mark.interop]

GiveTftp = Callable[[str], TftpServer]

KIB = 1024
WISHES = {"blksize": 1428, "timeout": 2, "windowsize": 4}
RRQ = b"\0\x01pxelinux.0\0octet\0tsize\x000\0"
USER_MODE = configuration(gateway='data_path = "user"', protocols=("tftp",))
# The lab answers within milliseconds; what has not come by then is not let through.
PATIENCE = 20.0
SILENCE = 0.2


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to move one file."""

    server: str
    client: str
    family: int
    direction: TransferDirection
    has_options: bool
    size: int = field(default=100 * KIB + 1)

    def __str__(self) -> str:
        how = "options" if self.has_options else "plain"
        return f"{self.server}-{self.client}-ipv{self.family}-{self.direction}-{how}-{self.size}"


CELLS = [
    Cell(server, client, family, direction, has_options)
    for server in SERVERS
    for client in CLIENTS
    for family in FAMILIES[server]
    for direction in DIRECTIONS[server]
    for has_options in ((False, True) if OPTIONS[client] else (False,))
]
# The last block is the one that is shorter than the others, also when nothing is left for it.
SIZES = [
    Cell("tftpd-hpa", client, family, TransferDirection.DOWNLOAD, has_options, size)
    for client, family, has_options, sizes in (
        ("curl", 4, False, (1, 511, 512, 513)),
        ("curl", 6, True, (1427, 1428, 1429)),
        ("atftp", 4, True, (4 * KIB * KIB,)),
        ("tftp-hpa", 6, False, (1024 * KIB,)),
    )
    for size in sizes
]


@contextmanager
def tftp_servers(hosts: Mapping[str, Host], lab: Lab) -> Iterator[GiveTftp]:
    """Yield the server of a name, each on a host of its own, from when it is asked for."""
    running: dict[str, TftpServer] = {}

    def give(software: str) -> TftpServer:
        if reason := why_not(software):
            pytest.skip(reason)
        if software not in running:
            running[software] = TftpServer(software, hosts[software], lab.folder / software)
        return running[software]

    yield give
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module")
def tftp_of(lab: Lab) -> Iterator[GiveTftp]:
    """Yield the server of a name outside; the last host is for raw ones."""
    with tftp_servers(dict(zip(SERVERS, lab.servers, strict=False)), lab) as give:
        yield give


def over(cells: list[Cell]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cell", cells, ids=str)


def attempt(
    cell: Cell,
    client: Host,
    server: TftpServer,
    folder: Path,
    *,
    timeout: float = 15.0,
    address: IpAddress | None = None,
) -> tuple[bool, str]:
    """Make the transfer of one cell; tell whether it arrived whole, and what the client said.

    `address` is where the client finds the server; None: at its own address.
    """
    name = f"{cell}.bin"
    here, there = folder / name, server.folder / name
    upload = cell.direction is TransferDirection.UPLOAD
    (here if upload else there).write_bytes(bytes(n * 7 % 251 for n in range(cell.size)))
    options = {name: WISHES[name] for name in WISHES if name in OPTIONS[cell.client]}
    address = address or server.host.address(cell.family)
    job = TftpJob(address, cell.direction, name, here, options if cell.has_options else {}, timeout)
    outcome = transfer(cell.client, client, job)
    if upload and not outcome.error:
        server.wait_for(name, digest(here))
    return digest(here) == digest(there), outcome.error or outcome.transcript


@over(CELLS)
def test_every_transfer_works_through_the_gateway(
    cell: Cell, lab: Lab, gateway: RunningGateway, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    arrived, said = attempt(cell, lab.client, tftp_of(cell.server), tmp_path)

    assert arrived, (said, gateway.journal()[-5:])


@over(SIZES)
def test_files_of_every_size_arrive_whole(
    cell: Cell, lab: Lab, gateway: RunningGateway, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    arrived, said = attempt(cell, lab.clients[1], tftp_of(cell.server), tmp_path)

    assert arrived, (said, gateway.journal()[-5:])


@contextmanager
def speaking(host: Host, family: int, port: int = 0) -> Iterator[socket.socket]:
    """Yield a socket at a host's own address."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with host.entered():
        made = socket.socket(kind, socket.SOCK_DGRAM)
    with made:
        made.settimeout(PATIENCE)
        made.bind((str(host.address(family)), port))
        yield made


def hears(listener: socket.socket) -> tuple[bytes, tuple[str, int]]:
    data, sender = listener.recvfrom(1000)
    return data, (sender[0], sender[1])


def name_of(made: socket.socket) -> tuple[str, int]:
    name = made.getsockname()
    return name[0], name[1]


def hears_nothing(listener: socket.socket) -> bool:
    listener.settimeout(SILENCE)
    try:
        listener.recv(1000)
    except TimeoutError:
        return True
    finally:
        listener.settimeout(PATIENCE)
    return False


@dataclass(frozen=True, slots=True)
class Raw:
    """A client inside, a server at port 69 with two more ports, and a host nobody asked."""

    client: socket.socket
    server: socket.socket
    tid: socket.socket
    other_tid: socket.socket
    stranger: socket.socket

    def asks(self, request: bytes = RRQ) -> tuple[str, int]:
        """Let the client ask; check that the request arrives, give from where."""
        self.client.sendto(request, name_of(self.server))
        data, source = hears(self.server)
        assert data == request
        return source


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def raw(request: pytest.FixtureRequest, lab: Lab, gateway: RunningGateway) -> Iterator[Raw]:
    """Yield sockets on both sides of the running gateway."""
    family, host = request.param, lab.servers[3]
    with (
        speaking(lab.clients[1], family) as client,
        speaking(host, family, 69) as server,
        speaking(host, family) as tid,
        speaking(host, family) as other_tid,
        speaking(lab.stranger, family) as stranger,
    ):
        yield Raw(client, server, tid, other_tid, stranger)


def test_the_request_arrives_unchanged_and_the_answer_from_a_new_port_comes_back(raw: Raw) -> None:
    source = raw.asks()

    raw.tid.sendto(b"data", source)
    assert hears(raw.client) == (b"data", name_of(raw.tid))
    raw.client.sendto(b"acknowledged", name_of(raw.tid))
    assert hears(raw.tid) == (b"acknowledged", source)


def test_only_on_the_translated_side_the_client_hides_behind_the_gateway(
    raw: Raw, lab: Lab
) -> None:
    source = raw.asks()

    if ":" in source[0]:
        assert source == name_of(raw.client)
    else:
        assert source[0] == str(lab.gateway.address4)
        assert 40000 <= source[1] <= 59999


def test_a_server_that_answers_from_port_69_is_heard(raw: Raw) -> None:
    raw.server.sendto(b"data", raw.asks())

    assert hears(raw.client) == (b"data", name_of(raw.server))


def test_t02_an_answer_from_another_host_is_not_let_in_and_spends_nothing(raw: Raw) -> None:
    source = raw.asks()

    raw.stranger.sendto(b"forged", source)
    assert hears_nothing(raw.client)
    raw.tid.sendto(b"data", source)
    assert hears(raw.client)[0] == b"data"


def test_t03_the_first_port_that_answers_stays_the_only_one(raw: Raw) -> None:
    source = raw.asks()
    raw.tid.sendto(b"data", source)
    assert hears(raw.client)[0] == b"data"

    raw.other_tid.sendto(b"forged", source)
    assert hears_nothing(raw.client)
    raw.tid.sendto(b"more", source)
    assert hears(raw.client)[0] == b"more"


def test_t01_half_a_request_is_refused_in_the_servers_name_and_opens_nothing(raw: Raw) -> None:
    raw.client.sendto(b"\0\x01", name_of(raw.server))

    error = (b"\0\x05\0\x04Illegal TFTP operation.\0", name_of(raw.server))
    assert hears(raw.client) == error
    assert hears_nothing(raw.server)


def test_t01_what_is_no_request_at_all_gets_no_answer(raw: Raw) -> None:
    raw.client.sendto(b"\0\x03\0\x01data", name_of(raw.server))

    assert hears_nothing(raw.client)
    assert hears_nothing(raw.server)


def test_t04_multicast_is_refused(raw: Raw) -> None:
    raw.client.sendto(b"\0\x01image\0octet\0multicast\0\0", name_of(raw.server))

    assert hears(raw.client)[0] == b"\0\x05\0\x08Multicast is refused.\0"
    assert hears_nothing(raw.server)


def test_a_repeated_request_arrives_from_the_same_port(raw: Raw) -> None:
    assert raw.asks() == raw.asks()


def test_a_second_file_is_asked_for_from_the_same_port_while_the_first_one_ends(raw: Raw) -> None:
    first = raw.asks()
    raw.tid.sendto(b"first", first)
    assert hears(raw.client)[0] == b"first"

    second = raw.asks(RRQ.replace(b"pxelinux", b"vmlinuz."))
    raw.other_tid.sendto(b"second", second)
    assert hears(raw.client) == (b"second", name_of(raw.other_tid))


@pytest.mark.parametrize("family", [4, 6])
def test_500_small_files_in_a_row_reach_one_client(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    plain, block, acknowledgement = b"\0\x01a\0octet\0", b"\0\x03\0\x01data", b"\0\x04\0\x01"
    host = lab.servers[3]
    with speaking(host, family, 69) as server, speaking(host, family) as tid:
        for _ in range(500):
            with speaking(lab.client, family) as client:
                client.sendto(plain, name_of(server))
                data, source = hears(server)
                assert data == plain
                tid.sendto(block, source)
                assert hears(client)[0] == block
                client.sendto(acknowledgement, name_of(tid))
                assert hears(tid)[0] == acknowledgement


@pytest.fixture
def narrow(lab: Lab, gateway: RunningGateway) -> Iterator[RunningGateway]:
    """Yield a gateway in the place of the other, where a client may hold two ports at a time."""
    gateway.stop()
    file = lab.folder / "narrow.toml"
    file.write_text(configuration(protocols=("tftp",), rule="max_bindings_per_client = 2"))
    running = RunningGateway(lab, ["--config", str(file)], name="narrow")
    yield running
    running.stop()


# One after another, as fast as a client can: none has fallen silent when the third one asks.
DOWN, UP = TransferDirection
BOOTING = {
    "tftpd-hpa": [(4, DOWN, 700), (6, DOWN, 5000), (4, UP, 5000), (6, UP, 700)],
    "atftpd": [(4, DOWN, 5000), (4, UP, 700)],
    "dnsmasq": [(4, DOWN, 5000), (6, DOWN, 1428)],
}


@pytest.mark.parametrize("server", BOOTING)
def test_files_with_options_follow_each_other_where_few_ports_may_be_held(
    server: str, lab: Lab, narrow: RunningGateway, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    for family, direction, size in BOOTING[server]:
        cell = Cell(server, "curl", family, direction, has_options=True, size=size)
        for _ in range(6):
            arrived, said = attempt(cell, lab.client, tftp_of(server), tmp_path)

            assert arrived, (cell, said, narrow.journal()[-5:])


@pytest.mark.parametrize("family", [4, 6])
def test_t04_a_flood_of_requests_is_refused_to_the_flooder_only(
    family: int, lab: Lab, gateway: RunningGateway
) -> None:
    # A fresh gateway: what earlier tests bound is idle for a minute before it is closed.
    gateway.stop()
    # The neighbour in IPv6 is of the same /64, which one host has for itself by default.
    file = lab.folder / f"flood{family}.toml"
    file.write_text(configuration(gateway="ipv6_host_prefix = 128", protocols=("tftp",)))
    fresh = RunningGateway(lab, ["--config", str(file)], name=f"flood{family}")
    flooder, neighbour = lab.clients
    quota = limits.MAX_BINDINGS_PER_CLIENT
    try:
        with speaking(lab.servers[3], family, 69) as server, ExitStack() as stack:
            clients = [stack.enter_context(speaking(flooder, family)) for _ in range(quota + 3)]
            for client in clients:
                client.sendto(RRQ, name_of(server))
            for _ in range(quota):
                hears(server)
            refused = [hears(client)[0] for client in clients[quota:]]
            honest = stack.enter_context(speaking(neighbour, family))
            honest.sendto(RRQ, name_of(server))
            assert hears(server)[0] == RRQ
    finally:
        fresh.stop()

    assert refused == [b"\0\x05\0\x03Refused by the gateway.\0"] * 3


def test_transfers_work_in_user_mode_too(
    lab: Lab, gateway: RunningGateway, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    gateway.stop()
    file = lab.folder / "user.toml"
    file.write_text(USER_MODE, encoding="ascii")
    user = RunningGateway(lab, ("--config", str(file)), name="user")
    try:
        failed = [
            str(cell)
            for cell in CELLS
            if not attempt(cell, lab.client, tftp_of(cell.server), tmp_path)[0]
        ]
    finally:
        user.stop()

    assert failed == []


@over(
    [
        Cell("tftpd-hpa", client, family, TransferDirection.DOWNLOAD, has_options=False)
        for client in CLIENTS
        for family in (4, 6)
    ]
)
def test_tftp_fails_without_sallyport(
    cell: Cell, lab: Lab, gateway: RunningGateway, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    gateway.stop()
    plain_nat(lab.gateway)
    try:
        arrived, _ = attempt(cell, lab.client, tftp_of(cell.server), tmp_path, timeout=2.0)
    finally:
        end_plain_nat(lab.gateway)

    assert not arrived
