"""What the FTP tests share: both address families, and dialogues that have come to some point."""

from dataclasses import dataclass

import pytest

from sallyport.core.policy.rules import Policy
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.testing import Dialogue


@dataclass(frozen=True, slots=True)
class Family:
    """One address family with its relation: what is asked, heard and opened for one transfer."""

    version: int
    ask: bytes
    """The client's command, naming its port 1553."""
    heard: bytes
    """What the server must hear of it."""
    verb: bytes
    listen: str
    """Where the server must connect."""
    pinhole: str
    ask_passive: bytes
    reply_passive: bytes
    """The server's answer, naming its port 5001."""
    passive: str
    """Where the client must connect."""
    passive_pinhole: str
    client: str
    server: str
    """The server's data port."""


IPV4 = Family(
    version=4,
    ask=b"PORT 10,0,0,8,6,17\r\n",
    heard=b"PORT 203,0,113,1,157,79\r\n",
    verb=b"PORT",
    listen="203.0.113.1:40271",
    pinhole="203.0.113.1:40271 -> 10.0.0.8:1553 from 203.0.113.9",
    ask_passive=b"PASV\r\n",
    reply_passive=b"227 Entering Passive Mode (203,0,113,9,19,137).\r\n",
    passive="203.0.113.9:5001",
    passive_pinhole="203.0.113.9:5001 -> 203.0.113.9:5001 from 10.0.0.8",
    client="10.0.0.8:50002",
    server="203.0.113.9:20",
)
IPV6 = Family(
    version=6,
    ask=b"EPRT |2|fd00:a::8|1553|\r\n",
    heard=b"EPRT |2|fd00:a::8|1553|\r\n",
    verb=b"EPRT",
    listen="[fd00:a::8]:1553",
    pinhole="[fd00:a::8]:1553 -> [fd00:a::8]:1553 from 2001:db8::9",
    ask_passive=b"EPSV\r\n",
    reply_passive=b"229 Entering Extended Passive Mode (|||5001|)\r\n",
    passive="[2001:db8::9]:5001",
    passive_pinhole="[2001:db8::9]:5001 -> [2001:db8::9]:5001 from fd00:a::8",
    client="[fd00:a::8]:50002",
    server="[2001:db8::9]:20",
)

both_families = pytest.mark.parametrize(
    "family", [IPV4, IPV6], ids=["IPv4 behind NAT", "IPv6 routed"]
)

# What the server hears of the second command of an IPv4 dialogue, for the client's next port.
ASK_SECOND = b"PORT 10,0,0,8,6,18\r\n"
HEARD_SECOND = b"PORT 203,0,113,1,158,134\r\n"
PINHOLE_SECOND = "203.0.113.1:40582 -> 10.0.0.8:1554 from 203.0.113.9"

READY = b"220 ready\r\n"
OK = b"200 ok\r\n"


def greeted(
    family: Family = IPV4, settings: FtpSettings | None = None, policy: Policy | None = None
) -> Dialogue:
    """Return a dialogue whose greeting is over."""
    dialogue = Dialogue(FtpFilter(settings), version=family.version, policy=policy)
    return dialogue.server_says(READY).client_hears(READY)


def asked(family: Family = IPV4, dialogue: Dialogue | None = None) -> Dialogue:
    """Return a dialogue in which the server has heard the first PORT or EPRT and not answered."""
    dialogue = dialogue or greeted(family)
    dialogue.client_says(family.ask).server_hears(family.heard).nothing_more()
    return dialogue.pinholes(family.pinhole)


def agreed(family: Family = IPV4, dialogue: Dialogue | None = None) -> Dialogue:
    """Return a dialogue whose first pinhole is open."""
    return asked(family, dialogue).server_says(OK).client_hears(OK).pinholes(family.pinhole)


def refusals(dialogue: Dialogue) -> list[object]:
    """Return the reasons of all refusals in the log: each refusal is one record."""
    return [
        fields["reason"]
        for event, fields in dialogue.world.journal.records
        if event.endswith(".refused") and fields["level"] == "warning"
    ]


def refused(dialogue: Dialogue, line: bytes, code: int, reason: str) -> Dialogue:
    """Check that `line` is refused with `code` and `reason`, unheard by the server.

    Nothing opens, and the dialogue goes on.
    """
    before = len(refusals(dialogue))
    dialogue.client_says(line)
    assert refusals(dialogue)[before:] == [reason]
    assert dialogue.client_end.heard[:4] == b"%d " % code, bytes(dialogue.client_end.heard)
    dialogue.client_end.heard.clear()
    return dialogue.nothing_more().pinholes().still_open()


def forwarded(dialogue: Dialogue, command: bytes, reply: bytes = OK) -> Dialogue:
    """Check that a command reaches the server and its reply the client, byte by byte the same."""
    dialogue.client_says(command).server_hears(command)
    return dialogue.server_says(reply).client_hears(reply).nothing_more()
