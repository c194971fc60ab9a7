"""What the tests of published servers share: three ways to be published, and a greeted dialogue."""

from dataclasses import dataclass

import pytest
from tests.filters.talk import READY

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import PublishingRule
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.testing import Dialogue

SERVER4, SERVER6 = Endpoint.parse("10.0.0.8:21"), Endpoint.parse("[fd00:a::8]:21")
GATEWAY4 = Endpoint.parse("203.0.113.1:21")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to publish: what is asked, heard and opened for one transfer of either kind."""

    rule: PublishingRule
    ask_passive: bytes
    reply_passive: bytes
    """The server's answer, naming its port 5001."""
    heard_passive: bytes
    passive: str
    """Where the client must connect."""
    passive_pinhole: str
    ask: bytes
    """The client's command, naming its port 1553."""
    heard: bytes
    active: str
    """Where the server must connect."""
    active_pinhole: str
    client: str
    """The client's data port."""
    server: str
    """The server's data port."""


NAT = Way(
    rule=PublishingRule("our ftp", "ftp-server", listen=GATEWAY4, server=SERVER4),
    ask_passive=b"PASV\r\n",
    reply_passive=b"227 Entering Passive Mode (10,0,0,8,19,137).\r\n",
    heard_passive=b"227 Entering Passive Mode (203,0,113,1,157,79).\r\n",
    passive="203.0.113.1:40271",
    passive_pinhole="203.0.113.1:40271 -> 10.0.0.8:5001 from 203.0.113.9",
    ask=b"PORT 203,0,113,9,6,17\r\n",
    heard=b"PORT 203,0,113,9,6,17\r\n",
    active="203.0.113.9:1553",
    active_pinhole="203.0.113.9:1553 -> 203.0.113.9:1553 from 10.0.0.8",
    client="203.0.113.9:50002",
    server="10.0.0.8:20",
)
PROXIED = Way(
    rule=PublishingRule("our ftp", "ftp-server", GATEWAY4, SERVER4, full_proxy=True),
    ask_passive=NAT.ask_passive,
    reply_passive=NAT.reply_passive,
    heard_passive=NAT.heard_passive,
    passive=NAT.passive,
    passive_pinhole=NAT.passive_pinhole,
    ask=NAT.ask,
    heard=b"PORT 10,0,0,1,157,79\r\n",
    active="10.0.0.1:40271",
    active_pinhole="10.0.0.1:40271 -> 203.0.113.9:1553 from 10.0.0.8",
    client=NAT.client,
    server=NAT.server,
)
ROUTED = Way(
    rule=PublishingRule("our ftp", "ftp-server", listen=SERVER6, server=SERVER6),
    ask_passive=b"EPSV\r\n",
    reply_passive=b"229 Entering Extended Passive Mode (|||5001|)\r\n",
    heard_passive=b"229 Entering Extended Passive Mode (|||5001|)\r\n",
    passive="[fd00:a::8]:5001",
    passive_pinhole="[fd00:a::8]:5001 -> [fd00:a::8]:5001 from 2001:db8::9",
    ask=b"EPRT |2|2001:db8::9|1553|\r\n",
    heard=b"EPRT |2|2001:db8::9|1553|\r\n",
    active="[2001:db8::9]:1553",
    active_pinhole="[2001:db8::9]:1553 -> [2001:db8::9]:1553 from fd00:a::8",
    client="[2001:db8::9]:50002",
    server="[fd00:a::8]:20",
)

every_way = pytest.mark.parametrize(
    "way", [NAT, PROXIED, ROUTED], ids=["behind NAT", "full proxy", "routed"]
)


def greeted(way: Way = NAT, settings: FtpSettings | None = None) -> Dialogue:
    """Return a dialogue of a client outside whose greeting is over."""
    dialogue = Dialogue(FtpFilter(settings), published=way.rule)
    return dialogue.server_says(READY).client_hears(READY)


def passive(way: Way, dialogue: Dialogue | None = None) -> Dialogue:
    """Return a dialogue in which the client has heard where to connect."""
    dialogue = dialogue or greeted(way)
    dialogue.client_says(way.ask_passive).server_hears(way.ask_passive).pinholes()
    return dialogue.server_says(way.reply_passive).client_hears(way.heard_passive)
