"""FTP's verbs, by what they mean to a gateway.

A verb that we do not know passes: RFC 959 has a reply for it, and the server knows its own verbs.
Only what is known to carry an address, or to hide a command, is refused (attack F29).
"""

GREETING = b"(greeting)"
"""Stands for the command that the server's greeting answers."""

EMPTY_LINE = b"(empty line)"
"""Stands for the command of a line without one: some servers refuse it, some take no notice."""

ADDRESS_VERBS = frozenset(b"LPRT LPSV SPRT SPSV CPSV XPRT XPSV".split())
"""They name an address, or have the server name one, in a form we do not read (RFC 1639, and FXP
extensions). Passed on they would let an inside address out and open nothing."""

HIDING_VERBS = frozenset(b"ADAT CONF ENC MIC".split())
"""They wrap or prepare single protected commands that we could not follow (RFC 2228)."""

REFUSED_VERBS = ADDRESS_VERBS | HIDING_VERBS
"""What is refused is also taken out of the reply to FEAT."""

EPSV_ALL = b"EPSV ALL"
"""Stands for EPSV with the one argument that asks for no port, and so is another command."""

DATA_VERBS = frozenset({b"PORT", b"EPRT", b"PASV", b"EPSV"})
"""They agree on a data connection, and end the agreement before."""

PASSIVE_VERBS = frozenset({b"PASV", b"EPSV"})
"""Their reply names where to connect."""

PASSIVE_CODES = frozenset({227, 228, 229})
"""The replies that name an address: of PASV, LPSV and EPSV."""

TRANSFERS = frozenset({b"APPE", b"LIST", b"MLSD", b"NLST", b"RETR", b"STOR", b"STOU"})
"""They use the data connection that was agreed on."""

RESTARTS = frozenset({b"REIN", b"USER"})
"""They begin another login: nothing of the last one stays open (attack F31)."""

WITHDRAWING = DATA_VERBS | RESTARTS
"""They withdraw what was agreed on. All have four letters."""

BARRIERS = PASSIVE_VERBS | {GREETING, b"AUTH"}
"""What follows them waits for their reply.

PASV and EPSV, because a transfer that follows belongs to what their reply agrees on; AUTH, because
what follows in plain text must not be taken for ciphered (attack F30); the greeting, because
nothing comes before it (attack F14). PORT is none: its pinhole is open before the server knows it.
"""

KNOWN_VERBS = frozenset(
    b"ABOR ACCT ALLO APPE AUTH AVBL CCC CDUP CLNT COMB CSID CWD DELE DSIZ EPRT EPSV FEAT HASH HELP "
    b"HOST LANG LIST MDTM MFCT MFF MFMT MKD MLSD MLST MODE NLST NOOP OPTS PASS PASV PBSZ PORT PROT "
    b"PWD QUIT RANG REIN REST RETR RMD RMDA RNFR RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE "
    b"USER XCRC XCUP XCWD XMKD XPWD XRMD".split()
)
"""RFC 959, 1123, 2389, 2640, 3659, 4217, 7151 and what servers in use add: of these we know that
their argument is no address, and whether a transfer follows."""

SECRET_VERBS = frozenset({b"ACCT", b"PASS"})
"""Their argument is kept out of records."""

READING = frozenset(
    b"ABOR ACCT ALLO AUTH AVBL CCC CDUP CLNT CSID CWD DSIZ EPRT EPSV FEAT HASH HELP HOST LANG LIST "
    b"MD5 MDTM MLSD MLST MMD5 MODE NLST NOOP OPTS PASS PASV PBSZ PORT PROT PWD QUIT RANG REIN REST "
    b"RETR SIZE SMNT STAT STRU SYST TYPE USER XCRC XCUP XCWD XMD5 XPWD XSHA XSHA1 XSHA256 "
    b"XSHA512".split()
)
"""They change nothing at the server; MDTM does with a time before the name. Any other verb may,
SITE among them and those that we do not know."""

WRITING = KNOWN_VERBS - READING
"""They change something at the server."""

TAKING_NAMES = frozenset({b"APPE", b"RNTO", b"STOR", b"STOU"})
"""Their argument is the name that something will have."""

TAKING_PATHS = frozenset(
    b"CDUP CWD DELE LIST MDTM MFCT MFF MFMT MKD MLSD MLST NLST RETR RMD RMDA RNFR SIZE SMNT STAT "
    b"XCUP XCWD XMKD XRMD".split()
)
"""Their argument is the path of something that is there."""

TLS_VERBS = frozenset({b"AUTH", b"CCC", b"PBSZ", b"PROT"})
"""They mean nothing without TLS (RFC 4217)."""

TLS_MECHANISMS = frozenset({b"TLS", b"TLS-C", b"TLS-P", b"SSL"})
"""The mechanisms of AUTH after which the stream is opaque (RFC 4217; TLS-C and TLS-P are older)."""


def replies_to(code: int) -> frozenset[bytes] | None:
    """Return the verbs that alone are answered with `code`; None when it says too little.

    Servers answer some commands never and others twice. These codes say which command they answer,
    whatever was counted before.
    """
    return _ONLY_REPLY_TO.get(code)


_TRANSFERRING = TRANSFERS | {b"ABOR"}
_ONLY_REPLY_TO = {
    125: TRANSFERS,
    150: TRANSFERS,
    225: frozenset({b"ABOR"}),
    226: _TRANSFERRING,
    426: _TRANSFERRING,
    227: PASSIVE_VERBS,
    229: PASSIVE_VERBS,
    234: frozenset({b"AUTH"}),
    331: RESTARTS,
}

TRANSFER_ENDS = frozenset({225, 226, 250})
"""The codes with which a transfer that was begun ends well (RFC 959 section 5.4)."""
