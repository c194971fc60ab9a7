"""FTP's verbs, by what they mean to a gateway; the allow-list is here (attack F29)."""

GREETING = b"(greeting)"
"""Stands for the command nobody sends: the one that the server's greeting answers."""

# RFC 959, 1123, 2389, 2640, 3659, 4217, 7151 and what servers in use add. Everything else is
# refused here: what we do not know could carry an address (LPRT and LPSV of RFC 1639 do).
KNOWN_VERBS = frozenset(
    b"ABOR ACCT ALLO APPE AVBL CCC CDUP CLNT COMB CSID CWD DELE DSIZ FEAT HASH HELP HOST LANG LIST "
    b"MDTM MFCT MFF MFMT MKD MLSD MLST MODE NLST NOOP OPTS PASS PBSZ PROT PWD QUIT RANG REST RETR "
    b"RMD RMDA RNFR RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE XCRC XCUP XCWD XMKD XPWD "
    b"XRMD".split()
)

DATA_VERBS = frozenset({b"PORT", b"EPRT", b"PASV", b"EPSV"})
"""They agree on a data connection, and end the agreement before."""

TRANSFERS = frozenset({b"APPE", b"LIST", b"MLSD", b"NLST", b"RETR", b"STOR", b"STOU"})
"""They use the data connection that was agreed on."""

RESTARTS = frozenset({b"REIN", b"USER"})
"""They begin another login: nothing of the last one stays open (attack F31)."""

WITHDRAWING = DATA_VERBS | RESTARTS
"""They withdraw what was agreed on. All have four letters."""

BARRIERS = DATA_VERBS | {GREETING, b"AUTH"}
"""Whatever follows waits for their reply.

The data verbs, because the server may connect at once when a RETR follows, and so that one
agreement at most is pending; AUTH, because what follows in plain text must not be taken for
ciphered (attack F30); the greeting, because nothing comes before it (attack F14).
"""

TLS_MECHANISMS = frozenset({b"TLS", b"TLS-C", b"TLS-P", b"SSL"})
"""The mechanisms of AUTH after which the stream is opaque (RFC 4217; TLS-C and TLS-P are older)."""
