"""Two telephones inside that call each other, and a PBX inside, through the whole gateway."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

import pytest
from tests.interop.office import configuration
from tests.interop.rtsp_peers import PATIENCE, heard
from tests.interop.test_sip_over_tcp import answered

from sallyport.addresses import IpAddress
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

both_families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

MANY, LATE = 100, 20
_MEDIA = re.compile(rb"c=IN IP[46] (\S+)\r\n.*m=audio (\d+) ", re.DOTALL)

_PBX = """
[[publishing_rules]]
name = "pbx"
protocol = "sip-server"
listen = "{listen}:5060"
server = "{server}:5060"
"""


def published(lab: Lab, family: int) -> IpAddress:
    """Return where telephones outside find the PBX, on the second inside host."""
    return lab.gateway.address(4) if family == 4 else lab.clients[1].address(6)


def name(address: object) -> str:
    return f"[{address}]" if ":" in str(address) else str(address)


@pytest.fixture(scope="module", params=["kernel", "user"])
def gateway(lab: Lab, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """Run a gateway whose rules name SIP, and that publishes a PBX."""
    file = lab.folder / f"sip-inside-{request.param}.toml"
    rules = [
        _PBX.format(listen=name(published(lab, one)), server=name(lab.clients[1].address(one)))
        for one in (4, 6)
    ]
    path = f'data_path = "{request.param}"'
    text = configuration(gateway=path, protocols=("sip",), rest="".join(rules))
    file.write_text(text.replace('name = "pbx"', 'name = "pbx6"', 1), encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"sip-inside-{request.param}")
    yield running
    running.stop()


class Place:
    """A host with a socket for signalling and one for media."""

    def __init__(self, host: Host, family: int, port: int, media: int) -> None:
        self._stack = ExitStack()
        self._family = socket.AF_INET if family == 4 else socket.AF_INET6
        self.address = str(host.address(family))
        self.named = name(self.address).encode()
        self.port, self.media_port = port, media
        with host.entered():
            self.words, self.media = self._socket(port), self._socket(media)

    def offer(self) -> bytes:
        said = f"IN IP{6 if ':' in self.address else 4} {self.address}".encode()
        return b"v=0\r\no=- 1 1 %s\r\ns=-\r\nc=%s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n" % (
            said,
            said,
            self.media_port,
        )

    def sends(self, count: int, to: tuple[str, int], target: "Place") -> int:
        for number in range(count):
            self.media.sendto(b"sound %d" % number, to)
        target.media.settimeout(PATIENCE)
        return heard(target.media, count)

    def _socket(self, port: int) -> socket.socket:
        made = self._stack.enter_context(socket.socket(self._family, socket.SOCK_DGRAM))
        made.bind((self.address, port))
        made.settimeout(PATIENCE)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def request(method: bytes, own: Place, names: bytes, body: bytes = b"") -> bytes:
    """Return a request outside any dialog; `names` says of which call."""
    lines = [
        method + b" sip:lee@example.org SIP/2.0",
        b"Via: SIP/2.0/UDP %s:%d;rport;branch=z9hG4bK%s%s" % (own.named, own.port, names, method),
        b"From: <sip:kim@example.org>;tag=mine",
        b"To: <sip:lee@example.org>" + (b";tag=me" if method == b"BYE" else b""),
        b"Call-ID: " + names,
        b"CSeq: %d %s" % (1 + (method == b"BYE"), method),
        b"Contact: <sip:kim@%s:%d>" % (own.named, own.port),
        b"Content-Type: application/sdp",
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join((*lines, b"", body))


def told(message: bytes) -> tuple[str, int]:
    """Return where media go, as a message says."""
    found = _MEDIA.search(message)
    assert found is not None, message
    return found[1].decode(), int(found[2])


@both_families
def test_x10_media_of_two_telephones_inside_stay_inside(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with (
        Place(lab.clients[0], family, 5062, 4000) as kim,
        Place(lab.clients[1], family, 5064, 5000) as lee,
        Place(lab.server, family, 5060, 7000) as provider,
    ):
        server = provider.address, 5060
        lee.words.sendto(request(b"REGISTER", lee, b"reg%d" % family), server)
        register, contact = provider.words.recvfrom(65535)
        provider.words.sendto(answered(register), contact)
        lee.words.recv(65535)

        kim.words.sendto(request(b"INVITE", kim, b"out%d" % family, kim.offer()), server)
        invite, source = provider.words.recvfrom(65535)
        forwarded = invite.replace(b"Call-ID: out", b"Call-ID: in")
        provider.words.sendto(forwarded, contact)
        ringing = lee.words.recv(65535)
        assert told(ringing) == (kim.address, 4000)
        lee.words.sendto(answered(ringing, lee.offer()), server)
        answer = provider.words.recv(65535).replace(b"Call-ID: in", b"Call-ID: out")
        provider.words.sendto(answer, source)
        assert told(kim.words.recv(65535)) == (lee.address, 5000)

        assert kim.sends(MANY, (lee.address, 5000), lee) == MANY
        assert lee.sends(MANY, (kim.address, 4000), kim) == MANY


@both_families
def test_a_telephone_outside_calls_by_a_pbx_inside(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with (
        Place(lab.clients[1], family, 5060, 16384) as pbx,
        Place(lab.servers[1], family, 5062, 7000) as phone,
    ):
        at = str(published(lab, family)), 5060
        phone.words.sendto(request(b"INVITE", phone, b"pbx%d" % family, phone.offer()), at)
        invite, source = pbx.words.recvfrom(65535)
        assert source[0] == phone.address
        pbx.words.sendto(answered(invite, pbx.offer()), source)
        place = told(phone.words.recv(65535))
        assert place[0] == at[0]
        assert phone.sends(MANY, place, pbx) == MANY
        assert pbx.sends(MANY, (phone.address, 7000), phone) == MANY

        phone.words.sendto(request(b"BYE", phone, b"pbx%d" % family), at)
        bye, source = pbx.words.recvfrom(65535)
        pbx.words.sendto(answered(bye), source)
        phone.words.recv(65535)
        assert phone.sends(LATE, place, pbx) == 0
