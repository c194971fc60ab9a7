"""Calls by SIP through the whole gateway, media counted, in both families and data paths."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from types import TracebackType
from typing import Self

import pytest
from tests.interop.office import configuration
from tests.interop.rtsp_peers import PATIENCE, heard

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

both_families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])

MANY, LATE = 100, 20
_MEDIA = re.compile(rb"c=IN IP[46] (\S+)\r\n.*m=audio (\d+) ", re.DOTALL)
_CONTACT = re.compile(rb"Contact: <sip:kim@(?:\[(\S+)\]|([0-9.]+)):(\d+)>")


@pytest.fixture(scope="module", params=["kernel", "user"])
def gateway(lab: Lab, request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """Run a gateway whose rule names SIP."""
    file = lab.folder / f"sip-{request.param}.toml"
    text = configuration(gateway=f'data_path = "{request.param}"', protocols=("sip",))
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name=f"sip-{request.param}")
    yield running
    running.stop()


class Line:
    """A telephone inside, its provider outside, and a far telephone on another host outside.

    Each has ports of its own: a call that a test leaves behind is none of the next one's.
    """

    _numbers = count()

    def __init__(self, lab: Lab, family: int) -> None:
        self._stack = ExitStack()
        self._family = socket.AF_INET if family == 4 else socket.AF_INET6
        self._version = family
        number = next(self._numbers)
        self.port, self.rtp = 5060 + number, 4000 + 2 * number
        self.own = str(lab.client.address(family))
        self.server = str(lab.server.address(family))
        self.far = str(lab.servers[1].address(family))
        self.phone = self._socket(lab.client, self.own, self.port)
        self.sound = self._socket(lab.client, self.own, self.rtp)
        self.provider = self._socket(lab.server, self.server, 5060)
        self.far_sound = self._socket(lab.servers[1], self.far, 7000)
        self.other_sound = self._socket(lab.servers[2], str(lab.servers[2].address(family)), 7000)
        self._number = 0

    def asks(self, method: bytes, body: bytes = b"") -> tuple[bytes, tuple[str, int]]:
        """Let the telephone say a request; return what the provider hears, and from where."""
        self._number += method != b"ACK"
        own = self._host(self.own) + b":%d" % self.port
        tag = b";tag=far" if method in (b"BYE", b"ACK") else b""
        lines = [
            method + b" sip:lee@example.org SIP/2.0",
            b"Via: SIP/2.0/UDP %s;rport;branch=z9hG4bK%d" % (own, self._number),
            b"From: <sip:kim@example.org>;tag=mine",
            b"To: <sip:lee@example.org>" + tag,
            b"Call-ID: lab%d" % self.port,
            b"CSeq: %d %s" % (self._number, method),
            b"Contact: <sip:kim@%s>" % own,
            b"Content-Type: application/sdp",
            b"Content-Length: %d" % len(body),
            b"",
            body,
        ]
        request = b"\r\n".join(lines)
        self.phone.sendto(request, (self.server, 5060))
        data, source = self.provider.recvfrom(65535)
        return data, source[:2]

    def answers(
        self,
        code: bytes,
        request: bytes,
        to: tuple[str, int],
        body: bytes = b"",
        tag: bytes = b"far",
    ) -> bytes:
        """Let the provider answer for the telephone that has `tag`; return what the other hears."""
        kept = (b"Via", b"From", b"Call-ID", b"CSeq", b"Contact")
        lines = [
            one for one in request.partition(b"\r\n\r\n")[0].split(b"\r\n") if one.startswith(kept)
        ]
        lines += [b"To: <sip:lee@example.org>;tag=" + tag]
        lines += [b"Content-Type: application/sdp"] if body else []
        lines += [b"Content-Length: %d" % len(body), b"", body]
        self.provider.sendto(b"SIP/2.0 " + code + b"\r\n" + b"\r\n".join(lines), to)
        return self.phone.recv(65535)

    def offer(self) -> bytes:
        return self._sdp(self.own, self.rtp)

    def far_offer(self) -> bytes:
        return self._sdp(self.far, 7000)

    def other_offer(self) -> bytes:
        return self._sdp(self.other_sound.getsockname()[0], 7000)

    def talks(self, request: bytes) -> tuple[str, int]:
        """Return where the far telephone is to send its sound, as an offer says."""
        found = _MEDIA.search(request)
        assert found is not None
        return found[1].decode(), int(found[2])

    def sends(self, count: int, to: tuple[str, int], by: socket.socket | None = None) -> int:
        for number in range(count):
            (by or self.far_sound).sendto(b"sound %d" % number, to)
        return heard(self.sound, count)

    def _sdp(self, address: str, port: int) -> bytes:
        said = b"IN IP%d %s" % (self._version, address.encode())
        return b"v=0\r\no=- 1 1 %s\r\ns=-\r\nc=%s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n" % (
            said,
            said,
            port,
        )

    def _host(self, address: str) -> bytes:
        return f"[{address}]".encode() if self._version == 6 else address.encode()

    def _socket(self, host: Host, address: str, port: int) -> socket.socket:
        with host.entered():
            made = self._stack.enter_context(socket.socket(self._family, socket.SOCK_DGRAM))
        made.bind((address, port))
        made.settimeout(PATIENCE)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


@both_families
def test_a_call_out_has_sound_both_ways_until_bye(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Line(lab, family) as line:
        request, source = line.asks(b"INVITE", line.offer())
        told = line.talks(request)
        assert line.sends(LATE, told) == 0

        line.answers(b"200 OK", request, source, line.far_offer())
        line.asks(b"ACK")
        assert line.sends(MANY, told) == MANY
        line.sound.settimeout(PATIENCE)
        for number in range(MANY):
            line.sound.sendto(b"mine %d" % number, (line.far, 7000))
        assert heard(line.far_sound, MANY) == MANY

        bye, source = line.asks(b"BYE")
        assert b"200 OK" in line.answers(b"200 OK", bye, source)
        assert line.sends(LATE, told) == 0
        assert json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"] == []


@both_families
def test_a_call_in_reaches_the_contact_that_was_registered(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Line(lab, family) as line:
        register, source = line.asks(b"REGISTER")
        found = _CONTACT.search(register)
        assert found is not None
        contact = (found[1] or found[2]).decode(), int(found[3])
        assert contact == source
        assert b"Contact: <sip:kim@%s:%d>" % (line._host(line.own), line.port) in line.answers(
            b"200 OK", register, source
        )

        host = line._host(contact[0])
        invite = (
            b"INVITE sip:kim@"
            + host
            + b":%d SIP/2.0\r\n" % contact[1]
            + b"Via: SIP/2.0/UDP provider;branch=z9hG4bKin\r\nFrom: <sip:lee@x>;tag=far\r\n"
            b"To: <sip:kim@x>\r\nCall-ID: in%d\r\nCSeq: 1 INVITE\r\n"
            % line.port
            + b"Content-Type: application/sdp\r\n"
            + b"Content-Length: %d\r\n\r\n" % len(line.far_offer())
            + line.far_offer()
        )
        line.provider.sendto(invite, contact)
        ringing = line.phone.recv(65535)
        assert ringing.startswith(
            b"INVITE sip:kim@%s:%d SIP/2.0\r\n" % (line._host(line.own), line.port)
        )
        answer = ringing.partition(b"Content-Length")[0].partition(b"\r\n")[2]
        answer = b"SIP/2.0 200 OK\r\n" + answer.replace(
            b"To: <sip:kim@x>", b"To: <sip:kim@x>;tag=me"
        )
        body = line.offer()
        line.phone.sendto(
            answer + b"Content-Length: %d\r\n\r\n" % len(body) + body, (line.server, 5060)
        )
        told = line.talks(line.provider.recv(65535))

        assert line.sends(MANY, told) == MANY


@both_families
def test_p12_a_call_that_was_refused_lets_nothing_in(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Line(lab, family) as line:
        request, source = line.asks(b"INVITE", line.offer())
        told = line.talks(request)
        line.answers(b"183 Progress", request, source, line.far_offer())
        assert line.sends(MANY, told) == MANY

        line.answers(b"486 Busy Here", request, source)
        assert line.sends(LATE, told) == 0


@both_families
def test_p12_of_a_forked_call_only_who_has_answered_is_heard_once_it_is_acknowledged(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Line(lab, family) as line:
        request, source = line.asks(b"INVITE", line.offer())
        told = line.talks(request)
        line.answers(b"183 Progress", request, source, line.far_offer())
        line.answers(b"183 Progress", request, source, line.other_offer(), tag=b"other")
        assert line.sends(MANY, told) == MANY
        assert line.sends(MANY, told, line.other_sound) == MANY

        line.answers(b"200 OK", request, source, line.far_offer())
        line.asks(b"ACK")
        assert line.sends(LATE, told, line.other_sound) == 0
        assert line.sends(MANY, told) == MANY


@both_families
def test_a_telephone_that_sends_first_leaves_from_the_port_that_was_told_and_no_way_stays(
    gateway: RunningGateway, lab: Lab, family: int
) -> None:
    with Line(lab, family) as line:
        request, source = line.asks(b"INVITE", line.offer())
        told = line.talks(request)
        line.answers(b"200 OK", request, source, line.far_offer())
        line.sound.sendto(b"first", (line.far, 7000))
        assert line.far_sound.recvfrom(100)[1][:2] == told
        assert line.sends(MANY, told) == MANY

        bye, source = line.asks(b"BYE")
        line.answers(b"200 OK", bye, source)
        assert line.sends(LATE, told) == 0
