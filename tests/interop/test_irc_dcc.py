"""DCC SEND between two people on a real IRC server, one of them behind the gateway."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address

import pytest
from tests.interop.ircd import PATIENCE, IrcClient, IrcServer, why_no_ircd
from tests.interop.office import configuration

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

FILE = bytes(n * 7 % 251 for n in range(1024 * 1024 + 1))
OFFER = (
    rb":alice!\S+ PRIVMSG bob :\x01DCC SEND notes\.txt"
    rb" (?P<address>\S+) (?P<port>\d+) (?P<size>\d+)\x01"
)

both_families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def ircd(lab: Lab) -> Iterator[IrcServer]:
    """Run an IRC server on the first outside host."""
    if reason := why_no_ircd():
        pytest.skip(reason)
    server = IrcServer(lab.server, lab.folder / "ircd")
    yield server
    server.stop()


@contextmanager
def gateway(lab: Lab, data_path: str, setting: str) -> Iterator[RunningGateway]:
    """Run a gateway whose rule names IRC."""
    file = lab.folder / "chat.toml"
    text = configuration(
        gateway=f'data_path = "{data_path}"',
        protocols=("irc",),
        rest=f"[filters.dcc]\n{setting}",
    )
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="chat")
    try:
        yield running
    finally:
        running.stop()


def listening(host: Host, family: int) -> socket.socket:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with host.entered():
        made = socket.socket(kind)
    made.settimeout(PATIENCE)
    made.bind((str(host.address(family)), 0))
    made.listen(1)
    return made


def written(host: Host, family: int) -> bytes:
    """Return an address as IRC clients write it."""
    address = host.address(family)
    return b"%d" % int(address) if family == 4 else str(address).encode()


def give(listener: socket.socket, peers: list[str]) -> None:
    """Do as a sender does: send it all, and close when the last byte was acknowledged."""
    connection, peer = listener.accept()
    with connection:
        peers.append(peer[0])
        connection.sendall(FILE)
        acknowledged = b""
        while not acknowledged.endswith(len(FILE).to_bytes(4, "big")):
            acknowledged += connection.recv(4096)


def take(host: Host, address: bytes, port: int, size: int) -> bytes:
    """Do as a receiver does: acknowledge what has come so far, in four bytes."""
    where = IPv4Address(int(address)) if address.isdigit() else IPv6Address(address.decode())
    with host.entered():
        connection = socket.create_connection((str(where), port), timeout=PATIENCE)
    with connection:
        content = b""
        while len(content) < size and (data := connection.recv(65536)):
            content += data
            connection.sendall(len(content).to_bytes(4, "big"))
    return content


@both_families
@pytest.mark.parametrize("data_path", ["kernel", "user"])
def test_a_file_offered_inside_arrives_outside(
    data_path: str, family: int, lab: Lab, ircd: IrcServer
) -> None:
    server, outside = ircd.host.address(family), lab.servers[1]
    peers: list[str] = []
    with (
        gateway(lab, data_path, "") as running,
        IrcClient(lab.client, server, "alice") as alice,
        IrcClient(outside, server, "bob") as bob,
        listening(lab.client, family) as listener,
    ):
        own, port = written(lab.client, family), listener.getsockname()[1]
        alice.say(b"WHOIS bob")  # the gateway hears where bob is
        alice.hears(rb":\S+ 311 alice bob ")
        sender = threading.Thread(target=give, args=(listener, peers))
        sender.start()
        alice.say(b"PRIVMSG bob :\x01DCC SEND notes.txt %s %d %d\x01" % (own, port, len(FILE)))
        heard = bob.hears(OFFER)
        (held,) = json.loads(running.ask("bindings", "list", "--json").stdout)["bindings"]
        content = take(outside, heard["address"], int(heard["port"]), int(heard["size"]))
        sender.join(PATIENCE)

    assert sha256(content).digest() == sha256(FILE).digest()
    assert peers == [str(outside.address(family))]
    assert held["peers"] == [str(outside.address(family))]
    assert heard["address"] == written(lab.gateway if family == 4 else lab.client, family)


@both_families
def test_without_the_setting_the_offer_is_refused_and_nobody_hears_of_it(
    family: int, lab: Lab, ircd: IrcServer
) -> None:
    server, own = ircd.host.address(family), written(lab.client, family)
    with (
        gateway(lab, "kernel", "") as strict,
        IrcClient(lab.client, server, "alice") as alice,
        IrcClient(lab.servers[1], server, "bob") as bob,
    ):
        alice.say(b"PRIVMSG bob :\x01DCC SEND notes.txt %s 5000 1\x01" % own)
        alice.hears(rb":sallyport NOTICE \* :DCC is refused: taker-is-unknown\r\n")
        alice.say(b"PRIVMSG bob :never mind")
        heard = bob.hears(rb":alice!\S+ PRIVMSG bob :(?P<text>.*)\r\n")
        held = json.loads(strict.ask("bindings", "list", "--json").stdout)

    assert heard["text"] == b"never mind"
    assert held["bindings"] == []
