"""SIP calls without a voice: a telephone that calls again and again, and one that answers.

The one that answers sends as many datagrams as the caller asks for, to where the caller's
description says: through the gateway.
"""

import re
import socket
import sys
import time
from itertools import count

import msgspec
from msgspec import Struct

_PORT = 5060
_MEDIA_PORT = 10000
_VOICE = bytes(172)  # twenty milliseconds of G.711 behind the header of RTP

# The lab answers within milliseconds; whatever takes longer is lost.
_TIMEOUT = 5.0

# A receiver that is not asked for a moment keeps what came. socket(7): FORCE goes beyond the
# host's limit; Python has no name for it.
_BUFFER = 1 << 22
_SO_RCVBUFFORCE = 33
# Between two bursts of media, in seconds: without a pause the sender fills every queue on the way.
_GAP = 0.001

_MEDIA = re.compile(rb"\r\nc=IN IP4 (\S+)\r\n.*\r\nm=audio (\d+) ", re.DOTALL)
_WANTED = re.compile(rb"\r\nX-Wanted: (\d+) by (\d+)\r\n")
_KEPT = re.compile(rb"(?:Via|From|To|Call-ID|CSeq): [^\r]*\r\n")

_SDP = (
    "v=0\r\no=kim 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
_REQUEST = (
    "{method} sip:lee@{server} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {own}:5060;branch=z9hG4bK{number}{method}\r\n"
    "From: <sip:kim@{own}>;tag=kim{number}\r\nTo: <sip:lee@{server}>{tag}\r\n"
    "Call-ID: {number}-kim@{own}\r\nCSeq: {cseq} {method}\r\nContact: <sip:kim@{own}:5060>\r\n"
    "Max-Forwards: 70\r\n{more}Content-Length: {length}\r\n\r\n{body}"
)


class CallJob(Struct, frozen=True):
    """Make calls one after the other, each with so many datagrams of media."""

    server: str
    calls: int
    packets: int
    burst: int = 1
    """How many of them come in a millisecond."""


class Called(Struct, frozen=True):
    """How long each took until it stood, microseconds, ascending; and what came of media."""

    times_us: list[float]
    seconds: float
    failures: int
    heard: int


def answer(address: str) -> None:
    """Answer until killed."""
    phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    phone.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    phone.bind((address, _PORT))
    voice = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    voice.bind((address, _MEDIA_PORT))
    wanted: dict[bytes, tuple[tuple[str, int], int, int]] = {}
    sys.stdout.write('"listening"\n')
    sys.stdout.flush()
    own = address.encode()
    sdp = _SDP.format(own=address, port=_MEDIA_PORT).encode()
    while True:
        data, source = phone.recvfrom(65535)
        call = data.partition(b"Call-ID: ")[2].partition(b"\r\n")[0]
        if data.startswith(b"ACK"):
            there, packets, burst = wanted.pop(call, (source, 0, 1))
            for number in range(packets):
                if number % burst == 0:
                    time.sleep(_GAP)  # the pace of the load, not a wait for something
                voice.sendto(_VOICE, there)
            continue
        body = b""
        if (media := _MEDIA.search(data)) and (asked := _WANTED.search(data)):
            there = media[1].decode(), int(media[2])
            wanted[call] = there, int(asked[1]), int(asked[2])
            body = sdp
        phone.sendto(_ok(data, own, body), source)


def _ok(request: bytes, own: bytes, body: bytes) -> bytes:
    kept = b"".join(_KEPT.findall(request))
    kept = kept.replace(b"<sip:lee@%s>\r\n" % own, b"<sip:lee@%s>;tag=lee\r\n" % own)
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return b"SIP/2.0 200 OK\r\n%sContact: <sip:lee@%s:5060>\r\n%sContent-Length: %d\r\n\r\n%s" % (
        kept,
        own,
        kind,
        len(body),
        body,
    )


def call(job: CallJob) -> Called:
    """Do the job."""
    phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    phone.connect((job.server, _PORT))
    own = phone.getsockname()[0]
    phone.close()
    phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    phone.bind((own, _PORT))
    phone.settimeout(_TIMEOUT)
    voice = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    voice.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    voice.bind((own, _MEDIA_PORT))
    voice.settimeout(_TIMEOUT)
    sdp = _SDP.format(own=own, port=_MEDIA_PORT)
    more = f"X-Wanted: {job.packets} by {job.burst}\r\nContent-Type: application/sdp\r\n"
    times: list[float] = []
    failures = heard = 0

    def say(method: str, number: int, **parts: object) -> None:
        text = _REQUEST.format(method=method, number=number, own=own, server=job.server, **parts)
        phone.sendto(text.encode(), (job.server, _PORT))

    start = time.perf_counter()
    for number in count(int(time.time() * 1000)):
        if len(times) + failures == job.calls or failures > job.calls // 10:
            break
        begin = time.perf_counter()
        try:
            say("INVITE", number, tag="", cseq=1, more=more, length=len(sdp), body=sdp)
            phone.recv(65535)
            say("ACK", number, tag=";tag=lee", cseq=1, more="", length=0, body="")
            times.append((time.perf_counter() - begin) * 1e6)
            for _ in range(job.packets):
                voice.recv(2048)
                heard += 1
        except OSError:
            failures += 1
        try:
            say("BYE", number, tag=";tag=lee", cseq=2, more="", length=0, body="")
            phone.recv(65535)
        except OSError:
            failures += 1
    return Called(sorted(times), time.perf_counter() - start, failures, heard)


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer(sys.argv[2])
    _called = call(msgspec.json.decode(sys.argv[1], type=CallJob))
    sys.stdout.write(msgspec.json.encode(_called).decode())
