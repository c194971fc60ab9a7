"""Reasons of peers that speak RTSP or SIP: messages that cannot be read, or in two ways."""

from typing import Final

from sallyport.reasons.reason import Group, Reason

_UNREAD = "The message was not acted on, and nothing was opened for it."
_SENDER = "Look at the program that sent it; `sallyport trace` and a capture show the message."


def _unread(code: str, happened: str) -> Reason:
    return Reason(code, Group.PEER, happened, _UNREAD, _SENDER)


REASONS: Final = (
    _unread("not-a-start-line", "The first line of a message is neither a request nor a status."),
    _unread("not-a-header", "A line of a message is no header."),
    _unread("header-of-no-message", "The first header of a message continues a line before it."),
    _unread("header-twice", "A header that counts once stands there twice and differs."),
    _unread("too-many-headers", "A message has more headers than any dialogue needs."),
    _unread("head-too-long", "The headers of a message are longer than any dialogue needs."),
    _unread("stray-line-end", "A message has a CR or NUL inside a line."),
    _unread("bad-content-length", "Content-Length is no number."),
    _unread("no-content-length", "A message in a stream does not say how long its body is."),
    _unread("body-too-long", "The body of a message is longer than the longest SIP message."),
    _unread("body-cut-off", "The body of a datagram is shorter than it says."),
    _unread("open-quote", "A quote or an angle bracket in a header is not closed."),
    _unread("parameter-twice", "A parameter that counts once stands there twice."),
    # RTSP
    _unread("bad-rtsp-ports", "The ports in a Transport header are no ports."),
    _unread("bad-rtsp-address", "An address in a Transport header is none, or a name."),
    _unread("bad-rtsp-cseq", "A request has no number, or one that another waits under."),
    _unread("too-many-transports", "A SETUP offers more ways over UDP than any client needs."),
    _unread("not-an-even-pair", "The ports of a SETUP are no even port and the one above it."),
    Reason(
        "media-to-another-host",
        Group.PEER,
        "A SETUP asks for media to be sent to another host than the one that asks.",
        "It was answered with 403: the server would be turned against that host.",
        _SENDER,
    ),
    Reason(
        "session-timed-out",
        Group.END,
        "An RTSP session showed no sign of life for twice its timeout.",
        "Its ports are closed; a request that names it is answered with 454.",
        "Look at the client: it keeps a paused session alive by a request within its timeout.",
    ),
    Reason(
        "torn-down",
        Group.END,
        "The server has agreed to the end of an RTSP session, or has ended it.",
        "Its ports are closed.",
        "Nothing is wrong.",
    ),
    Reason(
        "not-chosen",
        Group.END,
        "The answer to a SETUP chose another of the ways that it offered.",
        "The ports for this way are given back.",
        "Nothing is wrong.",
    ),
    # SDP
    _unread("not-sdp", "A session description does not begin as one."),
    _unread("bad-media-line", "An `m=` line of a session description cannot be read."),
    _unread("bad-connection-line", "A `c=` line cannot be read, or stands there twice."),
    _unread("bad-rtcp-attribute", "An `a=rtcp:` line cannot be read."),
    _unread("too-many-media", "A session description has more streams than any call needs."),
    # SIP
    _unread("not-sip", "The message is not of SIP 2.0, or has blanks in its first line."),
    _unread("sip-header-missing", "A SIP message lacks Via, Call-ID, CSeq, From or To."),
    _unread("bad-cseq", "CSeq is no number with the method of the request."),
    _unread("bad-via", "A Via header cannot be read."),
    _unread("bad-sip-uri", "A SIP URI cannot be read."),
    _unread("bad-name-address", "A Contact, From or To header cannot be read."),
    _unread("media-without-address", "A session description names no address for a stream."),
    _unread("media-not-over-udp", "A session description asks for media over TCP."),
    _unread("sdp-among-parts", "A body has several session descriptions, or parts that hide one."),
    Reason(
        "peer-is-not-outside",
        Group.PEER,
        "The far side of a call names a host for its media that the rules do not let the telephone"
        " reach, or the gateway itself.",
        "No media of that side gets in; the call goes on.",
        "Let a rule name that host. Two telephones inside hear each other without a relay when they"
        " are in one network and one worker serves both.",
    ),
    Reason(
        "call-is-over",
        Group.END,
        "BYE was answered.",
        "The ports of the call are closed.",
        "Nothing is wrong.",
    ),
    Reason(
        "call-was-refused",
        Group.END,
        "A call was refused or cancelled before it was answered.",
        "Its ports are closed.",
        "Nothing is wrong.",
    ),
    Reason(
        "bye-unanswered",
        Group.END,
        "BYE was not answered for 32 seconds.",
        "The ports of the call are closed.",
        _SENDER,
    ),
    Reason(
        "call-is-silent",
        Group.END,
        "Neither media nor a message of a call came for five minutes.",
        "Its ports are closed.",
        "Look for a telephone that lost its network in a call.",
    ),
    Reason(
        "rtcp-is-muxed",
        Group.END,
        "Both sides of a call send RTCP at the port of RTP.",
        "The port beside it is closed.",
        "Nothing is wrong.",
    ),
    Reason(
        "registration-is-over",
        Group.END,
        "No registration and no call needs the port of a telephone any more.",
        "The port at which it was called is closed.",
        "Nothing is wrong.",
    ),
    _unread("no-branch", "The transaction has no name of its own: it is from before RFC 3261."),
    _unread("too-many-vias", "A SIP message has come a longer way than Max-Forwards allows."),
)
