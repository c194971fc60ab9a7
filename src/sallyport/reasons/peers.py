"""Reasons of peers: a client or a server sent what its protocol does not allow."""

from typing import Final

from sallyport import limits
from sallyport.reasons.reason import Group, Reason


def _peer(code: str, happened: str, means: str, remedy: str, key: str | None = None) -> Reason:
    return Reason(code, Group.PEER, happened, means, remedy, key)


_REFUSED = "The command was answered with an error in the server's place and not passed on."
_ENDED = "The connection was ended: what follows could be read in two ways."
_DROPPED = "The datagram was dropped and the client was told by a TFTP error."
_ODD = "The request passed as it came, and opened what any request opens: its server decides."
_NOT_OPENED = "The line was refused; nothing was opened."
_KERNEL = "The kernel's report was not used; what it is about is read from its tables instead."
_CLIENT = "Look at the client: its program, or who uses it."
_SERVER = "Look at the server: its program, or what stands in between."
_NOT_PASSIVE = "The client was told that the passive connection cannot be opened."
_REPORT = "Report it, with the release of the kernel."
_LINES = "Look at the client: a correct one ends each line in CR LF and has no NUL in it."


REASONS: Final = (
    # what the guard drops
    _peer(
        "no-pinhole-for-this-packet",
        "A packet from outside, or from an interface of no network, began a connection for which no"
        " binding and no publishing rule is there: a stranger, a scan, or a peer that comes too"
        " late.",
        "It was dropped without an answer; pinholes that are open are as good as before.",
        "If it should have come in, see by `bindings list` whether it was expected, from whom, and"
        " until when.",
    ),
    _peer(
        "packet-fits-no-connection",
        "A packet belongs to no connection that the kernel knows, and begins none: a late one, or a"
        " probe.",
        "It was dropped without an answer.",
        "Nothing, as long as they are few; many of them from a host of yours say that packets take"
        " two ways.",
    ),
    _peer(
        "source-address-is-forged",
        "A packet from outside had an address of the gateway, or of a network inside, as its"
        " source.",
        "It was dropped without an answer.",
        "If the host is one of yours, its network lacks the interface it came by.",
        "networks.interfaces",
    ),
    # SOCKS
    _peer(
        "not-socks",
        "What a client said at the port of SOCKS is no SOCKS.",
        "The connection was reset, because no answer would be understood.",
        "Look which program it is: a browser that was told of an HTTP proxy says such things.",
    ),
    _peer(
        "socks-request-refused",
        "A client asked by SOCKS for what is not offered: a command or a kind of address that does"
        " not exist, or version 4 where a password is wanted.",
        "It was told so, and nothing was opened.",
        _CLIENT,
    ),
    _peer(
        "name-is-not-known",
        "A client of SOCKS named a host, and no address was found for the name.",
        "It was told that the host cannot be reached.",
        "Look the name up on the gateway: its resolver is the one that counts.",
    ),
    _peer(
        "too-many-handshakes",
        f"A host has {limits.MAX_SOCKS_HANDSHAKES} connections that have not said yet what they"
        " want, or as many that wait for their turn as one may.",
        "The newest was reset.",
        _CLIENT,
    ),
    # FTP, the client's side
    _peer(
        "verb-carries-an-address",
        "The FTP command names an address, or hides a command, in a form that the gateway does not"
        " read: LPRT and LPSV, a protected command, or an unknown verb with an address.",
        _REFUSED,
        "Nothing, if the client goes on without it; PORT, EPRT, PASV and EPSV do the same.",
    ),
    _peer(
        "rule-is-read-only",
        "The rule lets clients read only, and the command or request may change something at the"
        " server.",
        "It was answered with an error in the server's place and not passed on.",
        "If the client may write, take read_only out of the settings of the rule.",
        "filters.ftp.read_only",
    ),
    _peer(
        "verb-is-denied",
        "The rule denies the command.",
        _REFUSED,
        "If the client may use it, take the verb out of deny in the settings of the rule.",
        "filters.ftp.deny",
    ),
    _peer(
        "tls-is-refused",
        "The client asked for TLS, and the rule wants commands that can be read: by tls, read_only"
        " or deny.",
        _REFUSED,
        'Let the client speak plain FTP; or write tls = "pass", without read_only and deny.',
        "filters.ftp.tls",
    ),
    _peer("bad-command", "The line is no FTP command.", _REFUSED, _CLIENT),
    _peer("bad-port-argument", "The argument of PORT is not six numbers.", _REFUSED, _CLIENT),
    _peer("bad-eprt-argument", "The argument of EPRT is no address and port.", _REFUSED, _CLIENT),
    _peer("bad-epsv-argument", "The argument of EPSV is no address family.", _REFUSED, _CLIENT),
    _peer("bad-pasv-argument", "PASV came with an argument.", _REFUSED, _CLIENT),
    _peer("bad-port", "A port is no number from 1 to 65535.", _REFUSED, _CLIENT),
    _peer("bad-address", "An address cannot be read.", _NOT_OPENED, _CLIENT),
    _peer("no-port", "The client named port 0, where nothing can listen.", _NOT_OPENED, _CLIENT),
    _peer(
        "unsupported-family",
        "The client named an address family that does not exist.",
        _REFUSED,
        _CLIENT,
    ),
    _peer(
        "not-the-family-of-the-connection",
        "The client asked for a data connection in another address family than that of its control"
        " connection.",
        _REFUSED,
        "Let the client use one family for both: most clients have a setting for it.",
    ),
    _peer(
        "epsv-all",
        "The client had promised by EPSV ALL to use EPSV alone.",
        _REFUSED,
        "Switch the client to extended passive mode, or to not sending EPSV ALL.",
    ),
    _peer(
        "unknown-mechanism",
        "AUTH asked for a mechanism other than TLS.",
        _REFUSED,
        "Let the client use TLS, or no AUTH: Kerberos and GSSAPI cannot be followed.",
    ),
    _peer(
        "partial-line",
        "The client began a line and did not end it within a minute.",
        "The connection was reset.",
        _CLIENT,
    ),
    _peer(
        "plain-text-after-auth",
        "Plain text came where TLS had been agreed.",
        "The connection was reset: a third party may insert commands.",
        "See whether something between client and server alters the stream.",
    ),
    _peer(
        "line-too-long",
        "A line is longer than the protocol's lines are.",
        "The line was discarded: FTP answers it with 500, a declared protocol may end with it.",
        _CLIENT,
    ),
    _peer("bare-cr", "A line has a CR without LF in it.", _REFUSED, _LINES),
    _peer("cr-nul", "A line has CR NUL in it.", _REFUSED, _LINES),
    _peer("nul", "A line has a NUL in it.", _REFUSED, _LINES),
    # FTP, the server's side
    _peer(
        "bad-227",
        "The server's reply to PASV names no address that can be read.",
        "The client was told that the passive connection cannot be opened.",
        _SERVER,
    ),
    _peer(
        "bad-229",
        "The server's reply to EPSV names no port that can be read.",
        "The client was told that the passive connection cannot be opened.",
        _SERVER,
    ),
    _peer(
        "passive-address-is-not-the-servers",
        "The server's reply to PASV names another host than the server.",
        "The client was told that the passive connection cannot be opened.",
        "If the server stands behind a NAT and names its inside address, write"
        ' trust_pasv_address = "replace"; or mend the server\'s setting (pasv_address,'
        " MasqueradeAddress).",
        "filters.ftp.trust_pasv_address",
    ),
    _peer(
        "greeting-refused",
        "The server's greeting said that it takes no clients now.",
        "The connection was closed after the client heard it.",
        _SERVER,
    ),
    _peer(
        "not-a-reply",
        "The server has sent hundreds of lines and no FTP greeting among them.",
        "The connection was closed: this is not an FTP server.",
        _SERVER,
    ),
    _peer(
        "reply-line-too-long",
        "The line in which the server names its passive address is too long to be one.",
        _NOT_PASSIVE,
        _SERVER,
    ),
    _peer(
        "reply-too-long",
        "The server's replies are more than can be held for the client.",
        _ENDED,
        _SERVER,
    ),
    _peer(
        "reply-within-a-reply",
        "The server names its passive address inside a reply that has perhaps not ended.",
        _NOT_PASSIVE,
        "Mend the server: the last line of a long reply begins with the code of the first one"
        " (RFC 959 section 4.2). Until then clients can use active mode.",
    ),
    _peer(
        "replaced-by-a-later-command",
        "The server answered PASV after the client had asked for another data connection.",
        _NOT_PASSIVE,
        "Nothing: the later command counts.",
    ),
    _peer(
        "server-answered-less",
        "The server has left commands unanswered.",
        "The dialogue goes on; later replies are matched to later commands.",
        "Nothing: servers swallow what is said during a transfer.",
    ),
    _peer(
        "perhaps-refused",
        "The server refused a command, and it cannot be known whether that was PORT.",
        "What PORT had opened is closed; the client may ask again.",
        "Nothing, if it is rare: the server answers more or less often than it is asked.",
    ),
    _peer(
        "no-reply-in-time",
        "The server owes a reply and has not given it for minutes.",
        "The client was told, by 421 or 425, and nothing is open.",
        _SERVER,
    ),
    # other protocols at a port of FTP or of a line protocol
    *(
        _peer(
            f"not-{protocol.lower()}-{found}",
            f"The connection to a port of {protocol} begins like {name}.",
            "The connection was reset: it could never ask for a data connection.",
            "Look for a browser, a scanner or a client with the wrong port.",
        )
        for protocol in ("FTP", "IRC")
        for found, name in (
            ("http", "HTTP"),
            ("tls", "TLS"),
            ("ssh", "SSH"),
            ("unknown", "no protocol that is known"),
        )
    ),
    *(
        _peer(
            f"foreign-{found}",
            f"The connection to the port of a declared protocol begins like {name}.",
            "The stream passes unread; nothing is opened for it.",
            "Look for a program with the wrong port.",
        )
        for found, name in (
            ("http", "HTTP"),
            ("tls", "TLS"),
            ("ssh", "SSH"),
            ("unknown", "no text"),
        )
    ),
    # TFTP
    _peer("not-a-request", "The datagram is no read or write request.", _DROPPED, _CLIENT),
    _peer("request-too-long", "The request is longer than a frame.", _DROPPED, _CLIENT),
    _peer("no-mode", "The request has no transfer mode.", _DROPPED, _CLIENT),
    _peer("unknown-mode", "The transfer mode is not one of RFC 1350.", _DROPPED, _CLIENT),
    _peer("bad-file-name", "The file name is empty.", _DROPPED, _CLIENT),
    _peer("no-terminator", "The request does not end in a NUL.", _ODD, _CLIENT),
    _peer("padding", "The request has more NULs than it needs.", _ODD, _CLIENT),
    _peer("longer-than-512-bytes", "The request is longer than RFC 2347 allows.", _ODD, _CLIENT),
    _peer("option-without-value", "An option has no value.", _ODD, _CLIENT),
    _peer("option-given-twice", "An option is given twice.", _ODD, _CLIENT),
    _peer(
        "multicast",
        "The client asked for a multicast transfer (RFC 2090).",
        _DROPPED,
        "Switch multicast off in the client: data for a group cannot be let in for one host.",
    ),
    _peer(
        "answer-outside-the-binding",
        "The server answered from its request port instead of a port of its own.",
        "The datagram was dropped.",
        "Look at the server: RFC 1350 section 4 has it choose a port for each transfer.",
    ),
    # IRC and declarative filters
    _peer("bad-dcc-grammar", "A DCC offer cannot be read.", _NOT_OPENED, _CLIENT),
    _peer("bad-dcc-address", "The address of a DCC offer cannot be read.", _NOT_OPENED, _CLIENT),
    _peer("bad-dcc-port", "The port of a DCC offer cannot be read.", _NOT_OPENED, _CLIENT),
    _peer(
        "not-an-aligned-run",
        "The client named several ports that do not follow each other as the protocol demands.",
        _NOT_OPENED,
        _CLIENT,
    ),
    # the kernel
    _peer("conntrack-report", "A report of conntrack cannot be read.", _KERNEL, _REPORT),
    _peer("conntrack-tuple", "An address in a report cannot be read.", _KERNEL, _REPORT),
    _peer("netlink-bad-length", "A netlink message has an impossible length.", _KERNEL, _REPORT),
    _peer("netlink-truncated", "A netlink message is cut short.", _KERNEL, _REPORT),
)
