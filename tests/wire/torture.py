"""The torture messages of RFC 4475, written anew from their descriptions; none is copied.

Each has the number of its section. `VALID` must be read and come out as they are. `BROKEN` must be
refused by the grammar, with the reason that is named. `ODD` are well formed, and wrong only for who
answers them.
"""


def _message(first: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((first, *lines, b"", body))


_VIA = b"Via: SIP/2.0/UDP 192.0.2.15:5061;branch=z9hG4bKtorture"
_TO = b"To: <sip:lee@example.org>"
_FROM = b"From: <sip:kim@example.org>;tag=e17b"
_CALL = b"Call-ID: torture.0017@192.0.2.15"
_COMMON = (_VIA, b"Max-Forwards: 70", _TO, _FROM, _CALL)
_SDP = (
    b"v=0\r\no=kim 5 5 IN IP4 192.0.2.15\r\ns=-\r\nc=IN IP4 192.0.2.15\r\nt=0 0\r\n"
    b"m=audio 49300 RTP/AVP 0\r\n"
)


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


VALID = {
    "3.1.1.1 folds, compact names, odd blanks and cases": _message(
        b"INVITE sip:lee;par=u%40example.net@example.org;unknown SIP/2.0",
        b"TO :",
        b" sip:lee@example.org ;   tag    = 72n",
        b'from   : "K \\\\\\"im"       <sip:kim@example.org>',
        b"  ;",
        b"  tag = 98x5",
        b"MaX-fOrWaRdS: 0068",
        b"Call-ID: folded.3@192.0.2.1",
        b"Content-Length   : 0",
        b"cseq: 0009",
        b"  INVITE",
        b"v  : SIP  / 2.0",
        b"  / UDP",
        b"    192.0.2.2;branch=z9hG4bKfold3",
        b"s :",
        b"NewFangledHeader:   it may say",
        b" what it wants; in lines \xe2\x98\x83",
        b"Route:",
        b' <sip:edge.example.net;lr;more = "a,b">',
        b'm:"Lee \\"quoted\\"" <sip:lee@[2001:db8::9]:5070> ; more= "a;b" ; q = 0.33',
    ),
    "3.1.1.2 every character that is allowed": _message(
        b"!any-Method0123456789_*+`.%of'~ sip:1_u.(l)~!*';&=+$,/t-%@example.org:6060 SIP/2.0",
        b"Via: SIP/2.0/TCP host1.example.org;branch=z9hG4bK-.!%66*_+`'~",
        b'To: "\x01\x02 \xd0\xb0\xd0\xb1 \\\x7f" <sip:1_u~!@example.org>',
        b"From: token1~` token2'+_ token3*%!.- <sip:m@example.org>;x='%~;y;tag=_t~1+`*!-.%",
        b"Call-ID: word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        b"CSeq: 139122385 !any-Method0123456789_*+`.%of'~",
        b"Max-Forwards: 255",
        b"extension-header!%*+`'~: \xef\xbb\xbf anything",
        b"Content-Length: 0",
    ),
    "3.1.1.3 escapes in URIs": _message(
        b"INVITE sip:sips%3Alee%40example.net@example.org SIP/2.0",
        *_COMMON,
        b"CSeq: 8 INVITE",
        b"Contact: <sip:%6bim@host5.example.org>;%6e%6f",
        b"Content-Length: 0",
    ),
    "3.1.1.4 escaped NULs in URIs": _message(
        b"REGISTER sip:example.org SIP/2.0",
        *_COMMON,
        b"CSeq: 14 REGISTER",
        b"Contact: <sip:%00@host5.example.org>, <sip:%00%00@host5.example.org>",
        b"L:0",
    ),
    "3.1.1.5 a percent sign that escapes nothing": _message(
        b"IN%56ITE sip:registrar.example.org SIP/2.0", *_COMMON, b"CSeq: 29 IN%56ITE", b"l: 0"
    ),
    "3.1.1.6 no blank before the bracket": _message(
        b"OPTIONS sip:lee@example.org SIP/2.0",
        _VIA,
        b"Max-Forwards: 70",
        b"From: kim<sip:kim@example.org>;tag=3",
        b'To: "lee"<sip:lee@example.org>',
        _CALL,
        b"CSeq: 60 OPTIONS",
        b"l: 0",
    ),
    "3.1.1.7 long values": _message(
        b"INVITE sip:lee@example.org SIP/2.0",
        b'To: "' + b"long " * 60 + b'" <sip:lee@example.org:6000;' + b"x" * 300 + b">",
        b"From: <sip:" + b"kim" * 90 + b"@example.org>;tag=12" + b"9" * 200,
        b"Call-ID: long" + b"one" * 99,
        b"CSeq: 3 INVITE",
        b"Unknown-" + b"Long" * 40 + b"-Name: value",
        *(b"Via: SIP/2.0/TCP sip%d.example.org" % n for n in (33, 32, 31)),
        b"v: SIP/2.0/TCP host.example.org;branch=z9hG4bK" + b"long" * 60,
        b"Max-Forwards: 70",
        b"Contact: <sip:" + b"am" * 90 + b"@host5.example.org>",
        b"l: 0",
    ).replace(b"Via: SIP/2.0/TCP sip33.example.org", _VIA, 1),
    "3.1.1.9 semicolons in the user part": _message(
        b"OPTIONS sip:user;par=u%40example.net@example.org SIP/2.0",
        *_COMMON,
        b"CSeq: 8 OPTIONS",
        b"l: 0",
    ),
    "3.1.1.10 transports of every kind": _message(
        b"OPTIONS sip:lee@example.org SIP/2.0",
        b"Via: SIP/2.0/UDP t1.example.org;branch=z9hG4bKvary1",
        b"Via: SIP/2.0/SCTP t2.example.org;branch=z9hG4bKvary2",
        b"Via: SIP/2.0/TLS t3.example.org, SIP/2.0/UNKNOWN t4.example.org:5080;branch=z9hG4bK4",
        b"Max-Forwards: 70",
        _TO,
        _FROM,
        _CALL,
        b"CSeq: 2 OPTIONS",
        b"l: 0",
    ),
    "3.1.1.11 a body of several parts": _message(
        b"MESSAGE sip:lee@example.org SIP/2.0",
        *_COMMON,
        b"CSeq: 127 MESSAGE",
        b"Content-Type: multipart/mixed; boundary=7a9c",
        _length(body := b"--7a9c\r\n\r\nHello\r\n--7a9c\r\n\r\n\0\x80\r--\r\n--7a9c--\r\n"),
        body=body,
    ),
    "3.1.1.12 an unusual reason": _message(
        b"SIP/2.0 200 = 2**3 * 5**2 \xd0\xbf\xd1\x80", *_COMMON, b"CSeq: 35 INVITE", b"l: 0"
    ),
    "3.1.1.13 an empty reason": _message(b"SIP/2.0 100 ", *_COMMON, b"CSeq: 35 INVITE", b"l: 0"),
}

TRAILING = _message(
    b"REGISTER sip:example.org SIP/2.0", *_COMMON, b"CSeq: 9 REGISTER", b"Content-Length: 0"
)
"""3.1.1.8: what follows the body in its datagram is cut off."""

BROKEN = {
    "3.1.2.1 separators too many": (
        _message(
            b"INVITE sip:lee@example.org SIP/2.0",
            b"Via: SIP/2.0/UDP 192.0.2.15;;,;,,",
            *_COMMON[1:],
            b"CSeq: 8 INVITE",
        ),
        "bad-via",
    ),
    "3.1.2.2 a length beyond the datagram": (
        _message(
            b"INVITE sip:lee@example.org SIP/2.0",
            *_COMMON,
            b"CSeq: 8 INVITE",
            b"Content-Length: 9999",
            body=_SDP,
        ),
        "body-cut-off",
    ),
    "3.1.2.3 a length below zero": (
        _message(
            b"INVITE sip:lee@example.org SIP/2.0",
            *_COMMON,
            b"CSeq: 8 INVITE",
            b"Content-Length: -999",
            body=_SDP,
        ),
        "bad-content-length",
    ),
    "3.1.2.4 a sequence number too large": (
        _message(
            b"REGISTER sip:example.org SIP/2.0", *_COMMON, b"CSeq: 36893488147419103232 REGISTER"
        ),
        "bad-cseq",
    ),
    "3.1.2.5 the same in a response": (
        _message(b"SIP/2.0 503 Service Unavailable", *_COMMON, b"CSeq: 9292394834772304 OPTIONS"),
        "bad-cseq",
    ),
    "3.1.2.6 a quote that is not closed": (
        _message(
            b"INVITE sip:lee@example.org SIP/2.0",
            _VIA,
            b'To: "Mr. Lee <sip:lee@example.org>',
            _FROM,
            _CALL,
            b"CSeq: 8 INVITE",
        ),
        "bad-name-address",
    ),
    "3.1.2.8 a blank in the URI": (
        _message(b"INVITE sip:lee@example.org; lr SIP/2.0", *_COMMON, b"CSeq: 8 INVITE"),
        "not-sip",
    ),
    "3.1.2.9 blanks too many": (
        _message(b"INVITE  sip:lee@example.org  SIP/2.0", *_COMMON, b"CSeq: 8 INVITE"),
        "not-sip",
    ),
    "3.1.2.10 a blank at the end": (
        _message(b"OPTIONS sip:lee@example.org SIP/2.0 ", *_COMMON, b"CSeq: 8 OPTIONS"),
        "not-sip",
    ),
    "3.1.2.16 another version": (
        _message(b"OPTIONS sip:lee@example.org SIP/7.0", *_COMMON, b"CSeq: 8 OPTIONS"),
        "not-sip",
    ),
    "3.1.2.17 CSeq says another method": (
        _message(b"OPTIONS sip:lee@example.org SIP/2.0", *_COMMON, b"CSeq: 8 INVITE"),
        "bad-cseq",
    ),
    "3.1.2.18 so it does for a method nobody knows": (
        _message(b"NEWMETHOD sip:lee@example.org SIP/2.0", *_COMMON, b"CSeq: 8 INVITE"),
        "bad-cseq",
    ),
    "3.1.2.19 a status too large": (
        _message(b"SIP/2.0 4294967301 better not", *_COMMON, b"CSeq: 8 INVITE"),
        "not-a-start-line",
    ),
    "3.2.1 a branch without its own part": (
        _message(
            b"OPTIONS sip:lee@example.org SIP/2.0",
            b"Via: SIP/2.0/UDP 192.0.2.15;branch=",
            *_COMMON[1:],
            b"CSeq: 8 OPTIONS",
        ),
        "no-branch",
    ),
    "3.3.1 headers that must be there": (
        _message(b"INVITE sip:lee@example.org SIP/2.0", b"CSeq: 8 INVITE"),
        "sip-header-missing",
    ),
    "3.3.8 several values where one is allowed": (
        _message(
            b"INVITE sip:lee@example.org SIP/2.0",
            *_COMMON,
            b"CSeq: 5 INVITE",
            b"CSeq: 59 INVITE",
        ),
        "header-twice",
    ),
    "3.3.9 two lengths": (
        _message(
            b"OPTIONS sip:lee@example.org SIP/2.0",
            *_COMMON,
            b"CSeq: 8 OPTIONS",
            b"Content-Length: 13",
            b"Content-Length: 5",
            body=b"There is no way to know.",
        ),
        "header-twice",
    ),
    "3.4.1 a call of RFC 2543": (
        _message(
            b"INVITE sip:lee@example.org SIP/2.0",
            b"Via: SIP/2.0/UDP oldphone.example.org",
            *_COMMON[1:],
            b"CSeq: 1 INVITE",
        ),
        "no-branch",
    ),
}

ODD = {
    name: _message(first, *_COMMON, *rest)
    for name, first, *rest in (
        (
            "3.1.2.7 brackets around the URI",
            b"INVITE <sip:lee@example.org> SIP/2.0",
            b"CSeq: 8 INVITE",
        ),
        (
            "3.1.2.11 headers in the URI",
            b"INVITE sip:lee@example.org?Route=%3Csip:example.net%3E SIP/2.0",
            b"CSeq: 8 INVITE",
        ),
        (
            "3.1.2.12 a time zone that is none",
            b"INVITE sip:lee@example.org SIP/2.0",
            b"CSeq: 8 INVITE",
            b"Date: Fri, 01 Jan 2010 16:00:00 EST",
        ),
        (
            "3.1.2.13 a URI with headers and no brackets",
            b"INVITE sip:lee@example.org SIP/2.0",
            b"CSeq: 8 INVITE",
            b"Contact: sip:kim@example.org?Route=%3Csip:example.net%3E",
        ),
        (
            "3.1.2.14 blanks in an address",
            b"OPTIONS sip:lee@example.org SIP/2.0",
            b"CSeq: 8 OPTIONS",
            b"Contact: < sip:kim@example.org >",
        ),
        (
            "3.1.2.15 a display name of no tokens",
            b"OPTIONS sip:lee@example.org SIP/2.0",
            b"CSeq: 8 OPTIONS",
            b"Contact: Bell, Alexander <sip:a@example.org>",
        ),
        (
            "3.3.2 a scheme nobody knows",
            b"OPTIONS nobodyknows:totheworld SIP/2.0",
            b"CSeq: 8 OPTIONS",
        ),
        (
            "3.3.3 a scheme of other uses",
            b"OPTIONS soap.beep://192.0.2.1 SIP/2.0",
            b"CSeq: 8 OPTIONS",
        ),
        (
            "3.3.5 extensions that are demanded",
            b"OPTIONS sip:lee@example.org SIP/2.0",
            b"CSeq: 8 OPTIONS",
            b"Require: nothingSupportsThis",
            b"Proxy-Require: noProxiesSupportThis",
        ),
        (
            "3.3.6 a content nobody knows",
            b"INVITE sip:lee@example.org SIP/2.0",
            b"CSeq: 8 INVITE",
            b"Content-Type: application/unknownformat",
            b"Content-Length: 0",
        ),
        (
            "3.3.7 an unknown way to prove oneself",
            b"REGISTER sip:example.org SIP/2.0",
            b"CSeq: 8 REGISTER",
            b"Authorization: NoOneKnowsThisScheme opaque-data=here",
        ),
        ("3.3.11 no hop left", b"OPTIONS sip:lee@example.org SIP/2.0", b"CSeq: 8 OPTIONS"),
        (
            "3.3.12 a parameter of the Contact header",
            b"REGISTER sip:example.org SIP/2.0",
            b"CSeq: 8 REGISTER",
            b"Contact: sip:lee@example.org;unknownparam",
        ),
        (
            "3.3.13 a parameter of the URI",
            b"REGISTER sip:example.org SIP/2.0",
            b"CSeq: 8 REGISTER",
            b"Contact: <sip:lee@example.org;unknownparam>",
        ),
        (
            "3.3.14 a header in the URI",
            b"REGISTER sip:example.org SIP/2.0",
            b"CSeq: 8 REGISTER",
            b"Contact: <sip:lee@example.org?Route=%3Csip:example.net%3E>",
        ),
        (
            "3.3.15 an answer that nobody can give",
            b"INVITE sip:lee@example.org SIP/2.0",
            b"CSeq: 8 INVITE",
            b"Accept: text/nobodyKnowsThis",
        ),
    )
}
