"""Clients that come, transfer and go without a pause, in every way that a gateway serves.

A visit is one session of one client. It notes how far it came and, of each transfer, the end
outside and the bytes: so a failure can be blamed on something, and each transfer found in the log.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from pathlib import Path
from queue import Queue
from random import Random
from time import monotonic

from tests.interop.publishing import published
from tests.interop.rawftp import RawFtp
from tests.interop.rtsp_peers import SERVER_PORTS, Film
from tests.interop.socks_client import CONNECT, GRANTED, Asked, asking, reply
from tests.interop.test_pcp import INSIDE, ask, map_request

from sallyport.addresses import Endpoint
from sallyport.kernel.sharding import worker_of
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.lab.tftp import TftpServer
from sallyport.wire.ftp.formats import read_epsv_reply
from sallyport.wire.pcp import PcpResult

# What is only slow has not failed: a worker that hangs is replaced within ten seconds.
PATIENCE = 25.0
# TFTP and PCP ask again by themselves, as long as a worker may be away.
ASK_AGAIN_SECONDS = 1.0
ASK_TIMES = 20

BLOCK = 512
SIZES = {"none": 0, "tiny": 7, "block": BLOCK, "some": 40_000, "more": 900_000, "long": 3_000_000}
# A long one takes about three seconds; what the two ends can hold of it is made small.
SLOW_BLOCK = 48_000
SLOW_PAUSE = 0.05
SMALL_BUFFER = 64 * 1024
TELLER_PORT = 7000
# Of a mapping whose client fails: it is gone before the books are closed.
LEASE_SECONDS = 60
# Datagrams of a film.
PICTURES = 20
# What the lab delivers within a millisecond, on a machine that has others to serve.
SILENCE = 3.0

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_Name = tuple[str, int] | tuple[str, int, int, int]
"""What Python calls an end of a socket."""


class Phase(StrEnum):
    """How far a visit came."""

    DIAL = "dial"
    """The first words: a connection that is made, a greeting, an answer to a request."""
    TALK = "talk"
    """What is said on a control connection."""
    OPEN = "open"
    """A data connection is agreed on and made."""
    MOVE = "move"
    """Its bytes are under way."""


class Way(StrEnum):
    """Who carries the bytes."""

    KERNEL = "kernel"
    USER = "user"


class CutShort(Exception):
    """A transfer ended in order before all of it had come."""


class OtherBytes(Exception):
    """Bytes came that were never sent: nothing excuses that."""


@dataclass(slots=True)
class Transfer:
    """One transfer: its end outside, how many bytes, whether all came."""

    outside: Endpoint
    size: int
    is_complete: bool = False
    ended: float = 0.0
    lingers: bool = False
    """Whether it is over for the gateway only when it has been silent: datagrams have no end."""


@dataclass(slots=True)
class Visit:
    """One session of one client."""

    kind: str
    client: Host
    family: int
    way: Way
    random: Random
    over: threading.Event
    is_inside: bool = True
    phase: Phase = Phase.DIAL
    began: float = field(default_factory=monotonic)
    ended: float = 0.0
    failure: BaseException | None = None
    transfers: list[Transfer] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """What records call this client: its end of a control connection or of a transfer, its port."""

    @property
    def worker(self) -> int:
        """The index of the worker that serves this client, of two."""
        return worker_of(self.client.address(self.family), 2)

    def is_named(self, end: _Name) -> None:
        """Take note of an end of its own, by which records may call it."""
        self.names.add(str(_endpoint(end)))

    @contextmanager
    def transfer(self, outside: Endpoint, size: int) -> Iterator[None]:
        """Note a transfer that has begun, and whether it came to its end."""
        noted = Transfer(outside, size, lingers=self.kind in {"tftp", "film"})
        self.transfers.append(noted)
        self.phase = Phase.MOVE
        try:
            yield
        finally:
            noted.ended = monotonic()
        noted.is_complete = True
        self.phase = Phase.TALK

    def __str__(self) -> str:
        return (
            f"{self.kind} IPv{self.family} from {self.client.name} at {self.ended:.1f}"
            f" ({self.ended - self.began:.1f} s), in {self.phase}: {self.failure!r}"
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """What clients do, and how often, beside the others."""

    name: str
    share: int
    do: Callable[["Network", Visit], None]
    way: Way = Way.KERNEL
    is_inside: bool = True
    is_rogue: bool = False
    """It does not behave, so whether it fails says nothing."""


class Network:
    """The servers, what they have, and what clients do with them."""

    def __init__(self, lab: Lab) -> None:
        """Start all servers; `close` stops them.

        The first client's host has the published servers. It takes none of our own: the clients of
        inside are the others, and the last of them has another worker than its neighbours.
        """
        self.lab = lab
        self.content = {name: _content(name, size) for name, size in SIZES.items()}
        # Who has gone without a word is given up after this: so nothing of it is left for hours.
        settings = "idle_session_timeout=15\ndata_connection_timeout=15"
        outside, inside = lab.servers[0], lab.clients[0]
        self.outside = FtpServer("vsftpd", outside, lab.folder / "outside", settings=settings)
        self.inside = FtpServer("vsftpd", inside, lab.folder / "inside", settings=settings)
        self.tftp = TftpServer("tftpd-hpa", lab.servers[1], lab.folder / "tftp")
        for server in (self.outside, self.inside, self.tftp):
            for name, content in self.content.items():
                (server.folder / name).write_bytes(content)
        self.insiders = lab.clients[1:]
        self.outsiders = lab.servers[2:]
        self.teller = Answering(lab.servers[1], TELLER_PORT, self._tell)
        self.babbler = lab.servers[1]
        """Where at port 21 anything is said but FTP."""
        self._babbling = Answering(self.babbler, 21, _babble)
        self.screens: dict[int, Queue[Host]] = {4: Queue(), 6: Queue()}
        """Hosts that show one film at a time, by the family."""
        for screens in self.screens.values():
            for host in lab.servers:
                screens.put(host)
        self._names = count(1)

    def close(self) -> None:
        """Stop the servers."""
        self.teller.close()
        self._babbling.close()
        for server in (self.outside, self.inside, self.tftp):
            server.stop()

    def _tell(self, client: socket.socket) -> None:
        """Say what is in the file whose name the client says."""
        with client.makefile("rb") as words:
            client.sendall(self.content.get(words.readline().strip().decode(), b""))

    def name_of_upload(self) -> str:
        """Return a name that no other upload has."""
        return f"up{next(self._names)}"


class Answering:
    """A server that does with each connection what it is told; in threads of its own."""

    def __init__(self, host: Host, port: int, answer: Callable[[socket.socket], None]) -> None:
        self._answer = answer
        with host.entered():
            self._listeners = [
                socket.create_server(
                    (str(host.address(family)), port), family=FAMILIES[family], backlog=64
                )
                for family in (4, 6)
            ]
        for listener in self._listeners:
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(PATIENCE)
            self._answer(client)


# -- what clients do -------------------------------------------------------------------------------


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


def tftp(network: Network, visit: Visit) -> None:
    """Fetch a file by TFTP, asking again for what does not come."""
    name = visit.random.choice(("none", "tiny", "block", "some"))
    content = network.content[name]
    with visit.client.entered(), socket.socket(FAMILIES[visit.family], socket.SOCK_DGRAM) as sock:
        sock.bind((str(visit.client.address(visit.family)), 0))
        sock.settimeout(ASK_AGAIN_SECONDS)
        visit.is_named(sock.getsockname())
        said = b"\0\1" + name.encode() + b"\0octet\0"
        at = str(network.tftp.host.address(visit.family)), 69
        block, at = _next_block(sock, said, at, 1)
        with visit.transfer(_endpoint(at), len(content)):
            got = block
            for number in count(1):
                said = b"\0\4" + struct.pack("!H", number)
                if len(block) < BLOCK:
                    sock.sendto(said, at[:2])
                    break
                block, at = _next_block(sock, said, at, number + 1)
                got += block
            _compare(got, content)


def socks(network: Network, visit: Visit) -> None:
    """Fetch a file through the SOCKS server."""
    name = visit.random.choice(("tiny", "some", "more"))
    server = str(network.lab.servers[1].address(visit.family))
    with asking(
        visit.client, visit.family, Asked(CONNECT, server, TELLER_PORT), timeout=PATIENCE
    ) as sock:
        code, _ = reply(sock)
        assert code == GRANTED
        visit.phase = Phase.MOVE
        sock.sendall(f"{name}\n".encode())
        _compare(_read(sock, visit), network.content[name])
    visit.phase = Phase.TALK


def mapping(network: Network, visit: Visit) -> None:
    """Ask for a port by PCP, let a host outside fetch something there, and give it back."""
    client, peer = visit.client, network.outsiders[0]
    content = network.content["some"]
    with _listening(client, visit.family) as listener:
        port = listener.getsockname()[1]
        answer = _ask_pcp(client, visit.family, port, LEASE_SECONDS)
        at = str(_address_of(answer[44:60])), int.from_bytes(answer[42:44], "big")
        # By the process that made it; and by the next one, which finds the connection alone.
        visit.is_named(at)
        visit.is_named(listener.getsockname())
        visit.phase = Phase.OPEN
        with peer.entered():
            outer = socket.create_connection(at, PATIENCE)
        with outer:
            inner, _ = listener.accept()
            with visit.transfer(_endpoint(outer.getsockname()), len(content)), inner:
                inner.settimeout(PATIENCE)
                inner.sendall(content)
                inner.shutdown(socket.SHUT_WR)
                _compare(_read(outer, visit), content)
                outer.shutdown(socket.SHUT_WR)
                assert inner.recv(1) == b""
        _ask_pcp(client, visit.family, port, 0)


def film(network: Network, visit: Visit) -> None:
    """Agree on a film by RTSP, and see its pictures."""
    screens = network.screens[visit.family]
    server = screens.get(timeout=PATIENCE)
    try:
        first = 20_000 + 2 * visit.random.randrange(4_000)
        with Film(
            visit.client, server, visit.family, (first, first + 1), patience=PATIENCE
        ) as shown:
            visit.is_named(shown.control.getsockname())
            visit.is_named(shown.player[0].getsockname())
            visit.phase = Phase.OPEN
            port, _ = shown.set_up()
            outside = Endpoint(server.address(visit.family), SERVER_PORTS[0])
            # The first datagram begins a flow.
            assert shown.shows(1, (shown.peer, port), silence=SILENCE) == 1, "no picture"
            with visit.transfer(outside, PICTURES):
                seen, until = 0, monotonic() + PATIENCE
                while seen < PICTURES:
                    # A picture that is lost, as datagrams are, is sent again.
                    seen += shown.shows(PICTURES - seen, (shown.peer, port), silence=SILENCE)
                    assert monotonic() < until, f"{seen} pictures"
            shown.tear_down()
    finally:
        screens.put(server)


KINDS = (
    Kind("ftp", 40, ftp),
    Kind("published ftp", 16, published_ftp, way=Way.USER, is_inside=False),
    Kind("slow ftp", 5, slow_ftp),
    Kind("slow published ftp", 2, slow_published_ftp, way=Way.USER, is_inside=False),
    Kind("tftp", 12, tftp),
    Kind("socks", 12, socks, way=Way.USER),
    Kind("mapping", 8, mapping),
    Kind("film", 5, film),
)


class Load:
    """Clients in threads of their own, that come as often as asked for; seeded."""

    def __init__(
        self,
        network: Network,
        *,
        seed: int,
        clients: int,
        per_second: float,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        """Let `clients` at once make `per_second` visits together, where the machine can."""
        self._network = network
        self._kinds = kinds
        self._pause = clients / per_second
        self.visits: list[Visit] = []
        """Those that are over; whoever looks at them takes them away."""
        self.counted = 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(Random(f"{seed} {number}"),))
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each finish its visit; idempotent."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> list[Visit]:
        """Return the visits that are over and were not taken before."""
        taken, self.visits = self.visits, []
        self.counted += len(taken)
        return taken

    def _work(self, random: Random) -> None:
        due = monotonic()
        while not self._over.is_set():
            # Who was kept waiting catches up, but not what minutes have left undone.
            due = max(due + random.expovariate(1 / self._pause), monotonic() - PATIENCE)
            if self._over.wait(max(0.0, due - monotonic())):
                return
            visit, kind = self._next(random)
            try:
                kind.do(self._network, visit)
            except Exception as error:  # noqa: BLE001 - every failure counts
                # Without what it refers to: sockets would stay open.
                visit.failure = None if kind.is_rogue else error.with_traceback(None)
            visit.ended = monotonic()
            self.visits.append(visit)

    def _next(self, random: Random) -> tuple[Visit, Kind]:
        kind = random.choices(self._kinds, [kind.share for kind in self._kinds])[0]
        hosts = self._network.insiders if kind.is_inside else self._network.outsiders
        host, family = random.choice(hosts), random.choice((4, 6))
        visit = Visit(kind.name, host, family, kind.way, random, self._over, kind.is_inside)
        return visit, kind


# -- inside ----------------------------------------------------------------------------------------


def _babble(client: socket.socket) -> None:
    """Say what no FTP server would, and what some do."""
    random = Random()
    while client.recv(4096):
        client.sendall(
            random.choice(
                (
                    random.randbytes(random.randint(1, 3000)),
                    b"220 hello\r\n" * random.randint(1, 9),
                    b"227 (10,0,0,9,0,22)\r\n229 (|||22|)\r\n",
                    b"227 Entering Passive Mode (203,0,113,10,200,1)\r\n",
                    b"200-" + b"x" * 5000,
                    b"226 done\r\n150 now\r\n",
                )
            )
        )


def _content(name: str, size: int) -> bytes:
    """Return bytes that no other file has at the same place."""
    return Random(name).randbytes(size)


def _endpoint(name: _Name) -> Endpoint:
    return Endpoint.parse(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")


def _address_of(packed: bytes) -> str:
    if packed[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntoa(packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


@contextmanager
def _listening(host: Host, family: int) -> Iterator[socket.socket]:
    with host.entered():
        listener = socket.create_server((str(host.address(family)), 0), family=FAMILIES[family])
    listener.settimeout(PATIENCE)
    with closing(listener):
        yield listener


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
def data_connection(
    control: RawFtp, visit: Visit, command: bytes, *, is_active: bool
) -> Iterator[tuple[socket.socket, Endpoint]]:
    """Agree on a data connection and make it; give it with its end outside."""
    visit.phase = Phase.OPEN
    if is_active:
        with control.listening() as (listener, announcement):
            listener.settimeout(PATIENCE)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            control.ask(announcement, b"200")
            control.ask(command, b"150")
            data, peer = listener.accept()
    else:
        port = read_epsv_reply(control.ask(b"EPSV", b"229").rstrip()).port
        with visit.client.entered():
            data = socket.socket(FAMILIES[visit.family])
        data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        data.settimeout(PATIENCE)
        peer = control.control.getpeername()[0], port
        with _closed_on_failure(data):
            data.connect(peer)
            control.ask(command, b"150")
    ours = data.getsockname()
    visit.is_named(ours)
    with data:
        data.settimeout(PATIENCE)
        yield data, _endpoint(peer if visit.is_inside else ours)


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
        _compare(_read(data, visit, is_slow=name == "long"), content)
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
            _compare((folder / there).read_bytes(), content)
    finally:
        (folder / there).unlink(missing_ok=True)


def _read(sock: socket.socket, visit: Visit, *, is_slow: bool = False) -> bytes:
    """Read a connection to its end."""
    got = bytearray()
    while block := sock.recv(SLOW_BLOCK):
        got += block
        if is_slow:
            visit.over.wait(SLOW_PAUSE)
    return bytes(got)


def _compare(got: bytes, content: bytes) -> None:
    if got == content:
        return
    if content.startswith(got):
        raise CutShort(f"{len(got)} of {len(content)} bytes")
    raise OtherBytes(f"{len(got)} bytes for {len(content)}, of which not all are the same")


def _next_block(
    sock: socket.socket, said: bytes, at: tuple[str, int], number: int
) -> tuple[bytes, tuple[str, int]]:
    """Say something until the block of this number comes; return it, and from where."""
    wanted = b"\0\3" + struct.pack("!H", number)
    for _ in range(ASK_TIMES):
        sock.sendto(said, at[:2])
        until = monotonic() + ASK_AGAIN_SECONDS
        with suppress(TimeoutError):
            while monotonic() < until:
                data, source = sock.recvfrom(4 + BLOCK)
                if data.startswith(wanted) and (number == 1 or source[:2] == at[:2]):
                    return data[4:], (source[0], source[1])
                assert data[:2] != b"\0\5", data
    raise TimeoutError(f"no block {number}")


def _ask_pcp(client: Host, family: int, port: int, lifetime: int) -> bytes:
    request = map_request(client.address(family), port, lifetime)
    for _ in range(ASK_TIMES):
        with suppress(TimeoutError, ConnectionRefusedError):
            answer = ask(client, request, INSIDE[family], seconds=ASK_AGAIN_SECONDS)
            if answer[3] != PcpResult.NETWORK_FAILURE:
                assert answer[3] == PcpResult.SUCCESS, answer[3]
                return answer
            # It passes: the gateway has no external address at this moment.
            threading.Event().wait(ASK_AGAIN_SECONDS)
    raise TimeoutError("no answer by PCP")
