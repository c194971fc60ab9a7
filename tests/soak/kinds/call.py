"""Calls by SIP over UDP, message by message, with media from the telephone outside."""

import re
import socket
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Self

from tests.filters.sip_talk import message, sdp
from tests.interop.rtsp_peers import heard
from tests.soak.network import ASK_AGAIN_SECONDS, FAMILIES, PATIENCE, Network
from tests.soak.visits import Phase, Visit

from sallyport.addresses import Endpoint
from sallyport.lab.host import Host
from sallyport.lab.sip import PORT, written

# Datagrams of media.
_WORDS = 20
# What the lab delivers within a millisecond, on a machine that has others to serve.
_SILENCE = 3.0
_FAR_MEDIA_PORT = 7078

_COPIED = re.compile(rb"^(?:Via|From|To|Call-ID|CSeq):.*\r\n", re.MULTILINE)
_MEDIA = re.compile(rb"^c=IN IP[46] (\S+)\r\n.*^m=audio (\d+)", re.MULTILINE | re.DOTALL)


def call(network: Network, visit: Visit) -> None:
    """Call a telephone outside, hear it, and hang up."""
    screens = network.screens[visit.family]
    server = screens.get(timeout=PATIENCE)
    try:
        with _Call(network, visit, server) as made:
            visit.phase = Phase.OPEN
            told = made.invite()
            # The first datagram begins a flow.
            assert made.hears(1, told) == 1, "not a word"
            with visit.transfer(Endpoint(server.address(visit.family), _FAR_MEDIA_PORT), _WORDS):
                words, until = 0, monotonic() + PATIENCE
                while words < _WORDS:
                    words += made.hears(_WORDS - words, told)
                    assert monotonic() < until, f"{words} words"
            made.hang_up()
    finally:
        screens.put(server)


class _Call:
    """Both telephones of one call."""

    def __init__(self, network: Network, visit: Visit, server: Host) -> None:
        self._family = FAMILIES[visit.family]
        self._stack = ExitStack()
        far, near = server.address(visit.family), visit.client.address(visit.family)
        with ExitStack() as stack:
            with server.entered():
                self._far = stack.enter_context(self._bound(str(far), PORT))
                self._far_media = stack.enter_context(self._bound(str(far), _FAR_MEDIA_PORT))
            with visit.client.entered():
                self._near = stack.enter_context(self._bound(str(near), 0))
                media = self._bound(str(near), network.port_of_media())
                self._near_media = stack.enter_context(media)
            self._stack = stack.pop_all()
        visit.is_named(self._near.getsockname())
        visit.is_named(media.getsockname())
        self._to = str(far), PORT
        self._uri = f"sip:lee@{written(far)}".encode()
        self._own = f"{written(near)}:{self._near.getsockname()[1]}".encode()
        self._host, self._media_port = str(near).encode(), b"%d" % media.getsockname()[1]
        self._far_host = str(far).encode()
        self._id = b"%s.%d@soak" % (self._own, visit.random.getrandbits(32))

    def invite(self) -> tuple[str, int]:
        """Make the call; return where the telephone outside is told to send media."""
        asked = self._ask(b"INVITE", 1, sdp(self._host, self._media_port))
        self._near.sendto(self._request(b"ACK", 1), self._to)
        found = _MEDIA.search(asked)
        assert found is not None, asked
        return found[1].decode(), int(found[2])

    def hang_up(self) -> None:
        """End the call."""
        self._ask(b"BYE", 2)

    def hears(self, count: int, told: tuple[str, int]) -> int:
        """Let the telephone outside say so many words; return how many are heard."""
        for number in range(count):
            self._far_media.sendto(b"word %d" % number, told)
        return heard(self._near_media, count, _SILENCE)

    def _ask(self, method: bytes, number: int, body: bytes = b"") -> bytes:
        """Ask until the telephone outside agrees; return what it was asked."""
        request = self._request(method, number, body)
        answer = b"CSeq: %d %s\r\n" % (number, method)
        until = monotonic() + PATIENCE
        while monotonic() < until:
            self._near.sendto(request, self._to)
            asked, source = self._next(self._far, method)
            if not asked:
                continue
            self._far.sendto(self._agree(asked, is_invite=method == b"INVITE"), source)
            said, _ = self._next(self._near, b"SIP/2.0 ", answer)
            if said:
                assert said.startswith(b"SIP/2.0 200"), said
                return asked
        raise TimeoutError(f"no answer to {method.decode()}")

    @staticmethod
    def _next(
        sock: socket.socket, first: bytes, holds: bytes = b""
    ) -> tuple[bytes, tuple[str, int]]:
        """Return the next message of this kind, and from where; an empty one when none comes."""
        until = monotonic() + ASK_AGAIN_SECONDS
        while monotonic() < until:
            try:
                data, source = sock.recvfrom(4096)
            except TimeoutError:
                break
            if data.startswith(first) and holds in data and not data.startswith(b"SIP/2.0 1"):
                return data, source[:2]
        return b"", ("", 0)

    def _request(self, method: bytes, number: int, body: bytes = b"") -> bytes:
        return message(
            b"%s %s SIP/2.0" % (method, self._uri),
            b"<sip:kim@%s>" % self._own,
            body,
            method=method,
            cseq=number,
            via=b"SIP/2.0/UDP %s;rport;branch=z9hG4bK%s%d" % (self._own, method, number),
            call=self._id,
            own=b"From: <sip:kim@%s>;tag=near" % self._own,
            far=b"To: <%s>%s" % (self._uri, b"" if number == 1 and body else b";tag=far"),
            more=b"Max-Forwards: 70",
        )

    def _agree(self, asked: bytes, *, is_invite: bool) -> bytes:
        """Return what the telephone outside answers."""
        body = sdp(self._far_host, b"%d" % _FAR_MEDIA_PORT) if is_invite else b""
        copied = b"".join(_COPIED.findall(asked))
        if b";tag=far" not in copied:
            copied = re.sub(rb"^(To:[^\r]*)", rb"\1;tag=far", copied, flags=re.MULTILINE)
        contact = b"Contact: <%s>\r\n" % self._uri
        kind = b"Content-Type: application/sdp\r\n" if body else b""
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        return b"SIP/2.0 200 OK\r\n" + copied + contact + kind + length + body

    def _bound(self, address: str, port: int) -> socket.socket:
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        made.bind((address, port))
        made.settimeout(ASK_AGAIN_SECONDS)
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
