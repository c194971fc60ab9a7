"""Clients that speak first: which opening has what a client's port says."""

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.relay.bound_ports import Ears, OpenPinhole


class Speakers:
    """The openings whose clients are heard, by the client.

    Of several that lead to one port of a client the first has what it says.
    """

    def __init__(self, ears: Ears) -> None:
        self._ears = ears
        self._by_client: dict[Endpoint, OpenPinhole] = {}
        self._heard: dict[int, tuple[Endpoint, IpFilter | None]] = {}

    def find(self, client: Endpoint) -> OpenPinhole | None:
        """Return the opening that has what this port says."""
        return self._by_client.get(client)

    def settle(self, opening: OpenPinhole) -> None:
        """Follow what has become of an opening; raises KernelError only when more is to be heard.

        Then nothing of it is.
        """
        number = opening.pinhole.id
        wanted = _words_of(opening)
        held = self._heard.get(number)
        if held == wanted:
            return
        if held is not None:
            self._ears.ignore(held[0])
            del self._heard[number], self._by_client[held[0]]
        if wanted is not None and wanted[0] not in self._by_client:
            self._ears.hear(*wanted)
            self._heard[number] = wanted
            self._by_client[wanted[0]] = opening


def _words_of(opening: OpenPinhole) -> tuple[Endpoint, IpFilter | None] | None:
    """Return whose words to whom are the opening's; None when none are."""
    pinhole = opening.pinhole
    if (
        pinhole.target is None
        or pinhole.transport is not Transport.UDP
        or not (opening.is_open and pinhole.is_answered and pinhole.leads_inside)
        # In full proxy peers have no address, and a lent socket hears its client by itself.
        or pinhole.is_proxied
        or opening.take is not None
    ):
        return None
    return pinhole.target, pinhole.sources
