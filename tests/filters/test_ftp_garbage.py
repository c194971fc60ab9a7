"""What has ended is freed at once: a full collection beside many live bindings stops everything."""

import gc
from collections.abc import Callable, Iterator

import pytest
from tests.filters.talk import IPV4, OK, Family, agreed, both_families, forwarded, greeted

from sallyport import limits
from sallyport.core.model.binding import Binding
from sallyport.core.pinholes.registry import Opening
from sallyport.testing import Dialogue

TRANSFERS = 3


def living() -> int:
    """How many bindings and ports of them, and permissions, take memory since the test began."""
    return sum(isinstance(one, Binding | Opening) for one in gc.get_objects(generation=0))


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """Leave everything to reference counting; what lives already, of other tests, is not seen."""
    gc.collect(0)
    gc.disable()
    yield
    gc.enable()


def active(dialogue: Dialogue, family: Family) -> None:
    dialogue.client_says(family.ask).server_says(OK).client_hears(OK)
    (pinhole,) = dialogue.data_path.pinholes.values()
    dialogue.client_says(b"RETR a\r\n").connects(family.server, str(pinhole.listen))
    dialogue.server_says(b"150 Here.\r\n", b"226 Done.\r\n")
    dialogue.client_hears(b"150 Here.\r\n226 Done.\r\n").finishes(family.server)


def passive(dialogue: Dialogue, family: Family) -> None:
    forwarded(dialogue, family.ask_passive, family.reply_passive)
    dialogue.client_says(b"STOR a\r\n").connects(family.client, family.passive)
    dialogue.server_says(b"150 Send.\r\n", b"226 Got it.\r\n")
    dialogue.client_hears(b"150 Send.\r\n226 Got it.\r\n").finishes(family.client)


def unused(dialogue: Dialogue, family: Family) -> None:
    dialogue.client_says(family.ask).server_says(OK).client_hears(OK)
    dialogue.time_passes(limits.ACCEPT_TIMEOUT_SECONDS)


def refused(dialogue: Dialogue, family: Family) -> None:
    dialogue.client_says(family.ask).server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n")


@both_families
@pytest.mark.parametrize("transfer", [active, passive, unused, refused])
def test_nothing_of_an_ended_transfer_waits_for_the_garbage_collector(
    transfer: Callable[[Dialogue, Family], None], family: Family
) -> None:
    dialogue = greeted(family)
    for _ in range(TRANSFERS):
        transfer(dialogue, family)
        dialogue.server_end.heard.clear()

    assert not living()


def test_nothing_of_a_transfer_that_outlives_its_dialogue_waits_either() -> None:
    dialogue = agreed().connects(IPV4.server, IPV4.listen).server_closes()
    assert living() == 2
    dialogue.finishes(IPV4.server)

    assert not living()
