"""The IRC DCC filter of the examples: what it does not share with the one that ships.

What both do is in tests/filters/test_dcc_offers.py.
"""

from pathlib import Path

from examples.irc_dcc.irc_dcc import DccFilter, DccSettings
from tests.filters.dcc_talk import EXAMPLE, NOTICE, irc, offer

FILE = Path(__file__).parents[2] / "examples" / "irc_dcc" / "irc_dcc.py"


def test_it_has_less_than_150_lines() -> None:
    assert len(FILE.read_text(encoding="ascii").splitlines()) < 150


def test_any_peer_is_off_by_default() -> None:
    assert DccSettings().any_peer is False
    assert DccFilter().chosen == DccSettings()


def test_a_notice_waits_for_the_end_of_the_servers_line() -> None:
    dialogue = irc(EXAMPLE, any_peer=False).server_says(b":x PRIVMSG me :he").client_says(offer(4))
    dialogue.client_hears(b":x PRIVMSG me :he")

    dialogue.server_says(b"llo\r\nPI").client_hears(
        b"llo\r\n" + NOTICE % b"any-peer-is-off" + b"PI"
    )
