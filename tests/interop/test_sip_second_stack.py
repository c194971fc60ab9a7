"""Calls of a telephone by another stack (Net::SIP) with one by baresip, through the gateway."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from tests.interop.media_ports import arrives_late, openings, wait_until_closed
from tests.interop.telephones import ENOUGH, MEDIA, Gateways, Places, places

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.net_sip import NetSipTelephone, why_no_net_sip
from sallyport.lab.network import Lab
from sallyport.lab.sip import Subscriber, Telephone, Transport, why_no_sip

pytestmark = [pytest.mark.netns, pytest.mark.interop]

Cell = tuple[str, Transport, int]
"""Data path, transport, IP version."""

CELLS: list[Cell] = [
    ("kernel", "udp", 4),
    ("kernel", "tcp", 6),
    ("user", "udp", 6),
    ("user", "tcp", 4),
]
LONG_CELLS: list[Cell] = [
    ("kernel", "udp", 6),
    ("kernel", "tcp", 4),
    ("user", "udp", 4),
    ("user", "tcp", 6),
]
PARAMETERS = [
    pytest.param(cell, id="-".join(map(str, cell)), marks=marks)
    for cells, marks in ((CELLS, ()), (LONG_CELLS, pytest.mark.soak))
    for cell in cells
]

_numbers = count()


@pytest.fixture(scope="module")
def there(lab: Lab) -> Iterator[Places]:
    """Run the providers."""
    if reason := why_no_sip() or why_no_net_sip():
        pytest.skip(reason)
    with places(lab) as standing:
        yield standing


@pytest.fixture(scope="module")
def gateways(there: Places) -> Iterator[Gateways]:
    """Hold the gateway that runs."""
    made = Gateways(there)
    yield made
    made.stop()


class Pair:
    """Kim inside, by Net::SIP, and Lee outside, by baresip, with one provider."""

    def __init__(
        self, there: Places, gateway: RunningGateway, transport: Transport, family: int
    ) -> None:
        self._stack = ExitStack()
        self._meters = there.meters
        self.gateway = gateway
        number = next(_numbers)
        provider = there.providers["plain"].host.address(family)
        self.kim_at = Subscriber(f"kim-{number}", provider, transport)
        self.lee_at = Subscriber(f"lee-{number}", provider, transport)
        folder = there.lab.folder / f"second-{number}"
        folder.mkdir()
        inside, outside = there.inside[0], there.outside[0]
        try:
            self.kim = NetSipTelephone(inside, folder / "kim", self.kim_at, ports=MEDIA)
            self._stack.callback(self.kim.stop)
            self.lee = Telephone(outside, folder / "lee", family, ports=MEDIA)
            self._stack.callback(self.lee.stop)
            self.lee.register(self.lee_at)
        except BaseException:
            self.close()
            raise

    def hear_each_other(self) -> None:
        """Return once both have heard enough."""
        for one in (self.kim, self.lee):
            self._meters[one.host].wait_for(ENOUGH)

    def nothing_is_left(self, where: list[tuple[str, int]]) -> bool:
        """Whether nothing is open, and nothing arrives that the far side sends to `where`."""
        wait_until_closed(self.gateway)
        source = self.lee.address, MEDIA[0]
        return not arrives_late(where, self.lee.host, source, self._meters[self.kim.host])

    def close(self) -> None:
        """Stop the telephones."""
        self._stack.close()


@pytest.fixture(params=PARAMETERS)
def pair(there: Places, gateways: Gateways, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Yield two telephones that are registered."""
    data_path, transport, family = request.param
    made = Pair(there, gateways.with_path(data_path), transport, family)
    yield made
    made.close()


def test_a_call_out_and_a_call_in_of_another_stack_are_heard_both_ways_until_they_end(
    pair: Pair,
) -> None:
    pair.kim.dial(pair.lee_at)
    pair.lee.answer()
    pair.kim.hears("established")
    pair.hear_each_other()
    where = openings(pair.gateway)
    pair.kim.hang_up()
    pair.lee.hears("CALL_CLOSED")
    assert where
    assert pair.nothing_is_left(where)

    pair.lee.dial(pair.kim_at)
    pair.kim.hears("established")
    pair.lee.hears("CALL_ESTABLISHED")
    pair.hear_each_other()
    where = openings(pair.gateway)
    pair.lee.hang_up()
    pair.kim.hears("closed")
    assert where
    assert pair.nothing_is_left(where)
